//go:build unix

package fetch

import (
	"errors"

	"golang.org/x/sys/unix"
)

const errNoSpace = unix.ENOSPC

func isDiskFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}
