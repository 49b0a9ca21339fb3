//go:build unix

// Package diskspace says how much room a disk has.
package diskspace

import "golang.org/x/sys/unix"

// Free is what an unprivileged process can still write under dir; -1 when the system does not say.
func Free(dir string) int64 {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return -1
	}
	return int64(st.Bavail) * int64(st.Bsize) //nolint:unconvert // the types differ between systems
}
