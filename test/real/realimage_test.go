// Package real tests raybuild with real Ray, from PyPI.
package real

import (
	"os"
	"testing"
)

// realImage is an image that raybuild has built of real Ray, with rsync and ssh in it.
func realImage(t *testing.T) string {
	t.Helper()
	image := os.Getenv("RAYBUILD_TEST_REAL_IMAGE")
	if image == "" {
		t.Skip("RAYBUILD_TEST_REAL_IMAGE names no image of real Ray")
	}
	return image
}
