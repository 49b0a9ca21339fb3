package gitsource

import (
	"archive/tar"
	"io"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
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

// No file of a commit lies outside of its archive, or looks like git's own.
func TestArchiveRefusesNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", ".", "..", "a/b", "/etc", `a\b`, "a\x00", ".git", ".GIT"} {
		w := &writer{tar: tar.NewWriter(io.Discard)}
		tree := &object.Tree{Entries: []object.TreeEntry{{Name: name, Mode: filemode.Regular}}}
		err := w.tree(t.Context(), module{}, tree, "", maxDepth)
		if err == nil || !strings.Contains(err.Error(), "it has a file with the name") {
			t.Errorf("%q: got %v", name, err)
		}
	}
}
