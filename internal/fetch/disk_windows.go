package fetch

import (
	"errors"

	"golang.org/x/sys/windows"
)

const errNoSpace = windows.ERROR_DISK_FULL

func isDiskFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}

// freeBytes is what this user can still write under dir; -1 when the system does not say.
func freeBytes(dir string) int64 {
	p, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return -1
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(p, &free, nil, nil); err != nil {
		return -1
	}
	return int64(free)
}

// syncDir does nothing: NTFS logs renames.
func syncDir(string) error { return nil }
