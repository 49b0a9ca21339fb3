//go:build unix

package wholefile

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// SyncDir waits until the names of files in dir are on the disk.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("bring directory to the disk: %w", err)
	}
	err = d.Sync()
	if errors.Is(err, unix.EINVAL) { // some network file systems cannot, and need not
		err = nil
	}
	if err = errors.Join(err, d.Close()); err != nil {
		return fmt.Errorf("bring directory to the disk: %w", err)
	}
	return nil
}
