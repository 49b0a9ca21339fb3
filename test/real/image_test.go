package real

import (
	"testing"
)

// TestImage builds real Ray at all.
func TestImage(t *testing.T) {
	t.Log(realImage(t))
}
