package gitsource

import (
	"strings"
	"testing"
)

// A bomb ends at a limit, not when the disk is full.
func TestArchiveIsBounded(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	b := &bounded{to: &out, left: 5}
	if _, err := b.Write([]byte("12345")); err != nil || out.String() != "12345" {
		t.Errorf("what fits was not written: %q, %v", out.String(), err)
	}
	if _, err := b.Write([]byte("6")); err == nil || !strings.Contains(err.Error(), "too large") || out.Len() != 5 {
		t.Errorf("what is too large was written: %q, %v", out.String(), err)
	}
}
