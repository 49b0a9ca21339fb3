package raybuild

import (
	"archive/tar"
	"bytes"
	"strings"
	"testing"
)

// FuzzReadFiles: reading a layer ends, soon, and gives each file of it once.
func FuzzReadFiles(f *testing.F) {
	layer := func(record string, names ...string) []byte {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		for _, n := range names {
			if err := w.WriteHeader(&tar.Header{Name: n, Mode: 0o644, Size: int64(len(record))}); err != nil {
				f.Fatal(err)
			}
			if _, err := w.Write([]byte(record)); err != nil {
				f.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			f.Fatal(err)
		}
		return out.Bytes()
	}
	f.Add(layer("a/__init__.py,,\n../../../x,,\n", "s/a-1.dist-info/RECORD", "s/a/__init__.py"))
	f.Add(layer("", "x", "x", "/x", "../x", "x (again)"))
	f.Fuzz(func(t *testing.T, data []byte) {
		files, err := readFiles(bytes.NewReader(data))
		if err != nil {
			return
		}
		for name := range files.files {
			if strings.HasPrefix(name, "/") {
				t.Fatalf("%q is no path of a layer", name)
			}
		}
		for name, owner := range files.packages {
			if strings.HasPrefix(name, "/") || strings.HasPrefix(name, "../") || strings.ContainsAny(owner, "\x1b\n") {
				t.Fatalf("%q belongs to %q", name, owner)
			}
		}
	})
}

// A layer may have one path as often as it likes. Each time more costs no more than the time before.
func TestAPathManyTimesInALayer(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	const n = 20_000
	for range n {
		if err := w.WriteHeader(&tar.Header{Name: "x", Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := readFiles(&out)
	if err != nil || len(files.files) != n {
		t.Fatalf("%d files, %v", len(files.files), err)
	}
	long := 0
	for name := range files.files {
		long = max(long, len(name))
	}
	if long > 40 {
		t.Errorf("a name has %d characters: the names grow with each file", long)
	}
}
