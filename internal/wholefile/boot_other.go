//go:build !linux

package wholefile

import (
	"errors"
	"fmt"
)

// Boot names this start of the machine. A file that was written during another one, and was not brought to the disk,
// may lack its bytes. It is an error where the system does not tell.
func Boot() (string, error) {
	return "", fmt.Errorf("read the kernel's boot id: %w", errors.ErrUnsupported)
}
