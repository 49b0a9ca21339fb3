package wholefile

import (
	"fmt"
	"os"
	"strings"
)

// Boot names this start of the machine. A file that was written during another one, and was not brought to the disk,
// may lack its bytes. It is an error where the system does not tell.
func Boot() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id") // random(4)
	if err != nil {
		return "", fmt.Errorf("read the kernel's boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
