//go:build unix

package convert

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/testneeds"
)

// A layer's tree has what the layer's tar file says: names, content, modes, owners and times. It is made beside the
// layer, or of a layer that was made before.
func TestTreeIsItsLayer(t *testing.T) {
	testneeds.Root(t)
	s := &shelf{files: map[digest.Digest][]byte{}}
	a, b := s.wheel(t, "a", strings.Repeat("text ", 100_000)), s.wheel(t, "b", "", [2]string{"b/run.sh", "#!/bin/sh\n"})
	l := layerOf("both", a, b)
	dir := t.TempDir()
	for _, how := range []string{"beside the layer", "of the layer"} {
		c, opened := open(t, dir, s, Options{Trees: true}, l), s.opens
		if how == "beside the layer" {
			c.Start([]digest.Digest{l.Key})
		}
		tree, err := c.Tree(t.Context(), l.Key)
		if err != nil {
			t.Fatalf("%s: %v", how, err)
		}
		if how == "of the layer" && s.opens != opened {
			t.Errorf("%s: %d wheels were opened", how, s.opens-opened)
		}
		made, err := c.Layer(t.Context(), l.Key, true)
		if err != nil {
			t.Fatal(err)
		}
		want, got := inTar(t, c.bytes(t, made.Digest, made.Size)), inDir(t, tree)
		if len(want) < 8 || !slices.Equal(got, want) {
			t.Errorf("%s: the tree has\n%s\nand the layer\n%s", how, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if left := names(t, filepath.Join(dir, TreesDir)); len(left) != 1 {
			t.Errorf("%s: there are the trees %q, want one", how, left)
		}
		c.Close()
		if err := os.RemoveAll(tree); err != nil {
			t.Fatal(err)
		}
	}
}

// Without a tree a layer is made all the same, and who asks for the tree gets an error.
func TestLayerWithoutTree(t *testing.T) {
	s := &shelf{files: map[digest.Digest][]byte{}}
	l := layerOf("a", s.wheel(t, "a", "text"))
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, TreesDir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := open(t, dir, s, Options{Trees: true}, l)
	if _, err := c.Layer(t.Context(), l.Key, false); err != nil {
		t.Errorf("the layer: %v", err)
	}
	if tree, err := c.Tree(t.Context(), l.Key); err == nil {
		t.Errorf("the tree is %q", tree)
	}
	c = open(t, t.TempDir(), s, Options{}, l)
	if _, err := c.Tree(t.Context(), l.Key); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a converter that makes no trees: %v", err)
	}
}

// Trees go that nobody used for long, that a killed process has left, or that are of an earlier start of the machine;
// and on a full disk those that were used least, but none that may be in use.
func TestTreesAreSwept(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name string
		full int // how often the disk is full
		left []string
	}{
		{"room", 0, []string{"day.boot", "new.boot", "new-1", "old.boot"}},
		{"no room for one", 1, []string{"day.boot", "new.boot", "new-1"}},
		{"no room", 9, []string{"new.boot", "new-1"}},
	} {
		tr := trees{t.TempDir(), "boot"}
		for name, age := range map[string]time.Duration{"new.boot": time.Minute, "day.boot": 24 * time.Hour,
			"old.boot": 48 * time.Hour, "unused.boot": 15 * 24 * time.Hour, "day.before": 24 * time.Hour,
			"new-1": time.Minute, "new-2": 24 * time.Hour} {
			dir := filepath.Join(tr.dir, name)
			err := errors.Join(os.MkdirAll(filepath.Join(dir, "sub"), 0o755), os.Chtimes(dir, now, now.Add(-age)))
			if err != nil {
				t.Fatal(err)
			}
		}
		n := 0
		tr.sweep(now, func() bool { n++; return n <= c.full })
		slices.Sort(c.left)
		if got := names(t, tr.dir); !slices.Equal(got, c.left) {
			t.Errorf("%s: %q are left, want %q", c.name, got, c.left)
		}
	}
}

// Only directories and regular files inside the tree are laid out.
func TestLayOutRefuses(t *testing.T) {
	testneeds.Root(t)
	for name, h := range map[string]tar.Header{
		"a path that leads out": {Name: "../out", Typeflag: tar.TypeReg},
		"an absolute path":      {Name: "/out", Typeflag: tar.TypeReg},
		"a symbolic link":       {Name: "link", Linkname: "/etc", Typeflag: tar.TypeSymlink},
		"a device":              {Name: "device", Typeflag: tar.TypeChar},
	} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if err := errors.Join(w.WriteHeader(&h), w.Close()); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := layOut(filepath.Join(dir, "tree"), &b); err == nil {
			t.Errorf("%s was laid out", name)
		}
		if got := names(t, dir); len(got) != 0 {
			t.Errorf("%s: %q was made", name, got)
		}
	}
}

func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// inTar lists a layer, a line for each file.
func inTar(t *testing.T, layer []byte) (all []string) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(layer))
	if err != nil {
		t.Fatal(err)
	}
	in := tar.NewReader(z)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			slices.Sort(all)
			return all
		}
		data, err2 := io.ReadAll(in)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		all = append(all, line(filepath.Clean(h.Name), h.FileInfo(), h.Uid, h.Gid, data))
	}
}

// inDir lists a directory in the same way.
func inDir(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		var data []byte
		if info.Mode().IsRegular() {
			if data, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		name, err := filepath.Rel(dir, path)
		owner, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return fmt.Errorf("%q has no owner", path)
		}
		all = append(all, line(name, info, int(owner.Uid), int(owner.Gid), data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

func line(name string, info fs.FileInfo, uid, gid int, data []byte) string {
	return fmt.Sprintf("%s %v %d:%d %v %s", name, info.Mode(), uid, gid, info.ModTime().UTC(), digest.FromBytes(data))
}
