//go:build unix

package raybuild

import (
	"fmt"
	"os"
	"syscall"
)

// checkHome refuses a directory that other users may change: what is built is taken from it.
func checkHome(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("look at raybuild's directory: %w", err)
	}
	const instead = "name one of your own in RAYBUILD_HOME"
	if info.Mode().Perm()&0o002 != 0 {
		return fmt.Errorf("use raybuild's directory %q: everybody may write there, and so into what is built: chmod "+
			"o-w it, or %s", dir, instead)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if me := os.Geteuid(); ok && owner.Uid != 0 && int64(owner.Uid) != int64(me) && me != 0 {
		return fmt.Errorf("use raybuild's directory %q: user %d owns it, and may change what is built: %s", dir,
			owner.Uid, instead)
	}
	return nil
}
