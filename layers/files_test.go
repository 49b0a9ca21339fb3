package layers

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func testTree(t *testing.T, mode os.FileMode) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"app/a.txt": "a", "app/sub/run.sh": "#!/bin/sh\n"} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "app/sub/run.sh"), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func pack(t *testing.T, dir string, c FileCopy) (LocalFile, error) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return packFiles(root, c, "ray")
}

func TestTwoClonesWithAnotherUmaskAreOneArchive(t *testing.T) {
	t.Parallel()
	a, err := pack(t, testTree(t, 0o600), FileCopy{From: "app", To: "/home/ray/app"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := pack(t, testTree(t, 0o664), FileCopy{From: "app", To: "/home/ray/app"})
	if err != nil {
		t.Fatal(err)
	}
	if a.Digest != b.Digest {
		t.Errorf("digests differ: %s and %s", a.Digest, b.Digest)
	}
	r, err := a.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	modes := map[string]string{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		modes[h.Name] = h.FileInfo().Mode().String() +
			map[string]string{"1000:100": " ray", "1000:0": " ray, group 0"}[fmt.Sprintf("%d:%d", h.Uid, h.Gid)]
	}
	want := map[string]string{
		"home/": "drwxr-xr-x", "home/ray/": "drwxrwxr-x ray, group 0", "home/ray/app/": "drwxrwxr-x ray, group 0",
		"home/ray/app/a.txt": "-rw-r--r-- ray", "home/ray/app/sub/": "drwxrwxr-x ray, group 0",
		"home/ray/app/sub/run.sh": "-rwxr-xr-x ray",
	}
	if len(modes) != len(want) {
		t.Errorf("the archive has %v, want %v", modes, want)
	}
	for name, mode := range want {
		if modes[name] != mode {
			t.Errorf("%s is %q, want %q", name, modes[name], mode)
		}
	}
}

func TestEachByteModeAndNameIsInTheDigest(t *testing.T) {
	t.Parallel()
	c := FileCopy{From: "app", To: "/app"}
	base, err := pack(t, testTree(t, 0o644), c)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(dir string) error{
		"a byte": func(dir string) error { return os.WriteFile(filepath.Join(dir, "app/a.txt"), []byte("b"), 0o644) },
		"a mode": func(dir string) error { return os.Chmod(filepath.Join(dir, "app/a.txt"), 0o755) },
		"a name": func(dir string) error {
			return os.Rename(filepath.Join(dir, "app/a.txt"), filepath.Join(dir, "app/b.txt"))
		},
		"a new empty directory": func(dir string) error { return os.Mkdir(filepath.Join(dir, "app/d"), 0o755) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := testTree(t, 0o644)
			if err := change(dir); err != nil {
				t.Fatal(err)
			}
			got, err := pack(t, dir, c)
			if err != nil {
				t.Fatal(err)
			}
			if got.Digest == base.Digest {
				t.Error("the digest did not change")
			}
		})
	}
}

func TestWhatCannotBeCopiedIsRefused(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		link, want string
	}{
		"a link to an absolute path": {"/etc/passwd", "outside of what is copied"},
		"a link out of the recipe":   {"../../../etc/passwd", "outside of what is copied"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := testTree(t, 0o644)
			if err := os.Symlink(tt.link, filepath.Join(dir, "app/link")); err != nil {
				t.Fatal(err)
			}
			if _, err := pack(t, dir, FileCopy{From: "app", To: "/app"}); err == nil ||
				!strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want one with %q", err, tt.want)
			}
		})
	}
	if _, err := pack(t, testTree(t, 0o644), FileCopy{From: "nowhere", To: "/app"}); err == nil ||
		!strings.Contains(err.Error(), "there is no file \"nowhere\" beside the recipe") {
		t.Errorf("a missing file gives %v", err)
	}
}
