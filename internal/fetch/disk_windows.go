package fetch

import (
	"errors"

	"golang.org/x/sys/windows"
)

const errNoSpace = windows.ERROR_DISK_FULL

func isDiskFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}
