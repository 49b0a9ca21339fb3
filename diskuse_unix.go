//go:build unix

package raybuild

import (
	"io/fs"
	"syscall"
)

// onDisk returns a file's identity and the bytes that it takes on disk.
func onDisk(info fs.FileInfo) (fileID, int64) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fileID{}, info.Size()
	}
	//nolint:unconvert // the types differ between systems
	return fileID{uint64(stat.Dev), uint64(stat.Ino)}, stat.Blocks * 512
}
