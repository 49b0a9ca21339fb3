package layers

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// condaPackage is a .conda file of files.
func condaPackage(tb testing.TB, files map[string]string) []byte {
	tb.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	w, err := z.CreateHeader(&zip.FileHeader{Name: "pkg-x-1-0.tar.zst"})
	if err != nil {
		tb.Fatal(err)
	}
	packed, err := zstd.NewWriter(w)
	if err != nil {
		tb.Fatal(err)
	}
	archive := tar.NewWriter(packed)
	for name, text := range files {
		err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(text))})
		if err == nil {
			_, err = archive.Write([]byte(text))
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	for _, c := range []interface{ Close() error }{archive, packed, z} {
		if err := c.Close(); err != nil {
			tb.Fatal(err)
		}
	}
	return out.Bytes()
}

// A conda package says by its files which Python distributions it brings.
func TestDistributionsOfCondaPackages(t *testing.T) {
	t.Parallel()
	const text = "Metadata-Version: 2.1\nName: Setup.Tools\nVersion: 80.9.0\n\nName: other\n"
	for name, want := range map[string]string{
		"site-packages/setuptools-80.9.0.dist-info/METADATA":                "Setup.Tools==80.9.0",
		"lib/python3.11/site-packages/setuptools-80.9.0.dist-info/METADATA": "Setup.Tools==80.9.0",
		"lib/python3.11/site-packages/x-1.egg-info/PKG-INFO":                "Setup.Tools==80.9.0",
		"lib/python3.11/site-packages/x/vendor/y-1.dist-info/METADATA":      "",
		"share/METADATA": "",
	} {
		data := condaPackage(t, map[string]string{name: text})
		found, _, err := distsOf("x-1-0.conda", bytes.NewReader(data), int64(len(data)))
		got := ""
		for _, d := range found {
			got += d.Name + "==" + d.Version
		}
		if err != nil || got != want {
			t.Errorf("%s: %q (%v), want %q", name, got, err, want)
		}
	}
	named := distsNamed("a==1 b-c==2.0 none")
	if len(named) != 2 || named[1].Name != "b-c" || named[1].Version != "2.0" {
		t.Errorf("a lock's names are read as %+v", named)
	}
}

func FuzzCondaPackage(f *testing.F) {
	f.Add(condaPackage(f, map[string]string{"site-packages/a-1.dist-info/METADATA": "Name: a\nVersion: 1\n"}), true)
	f.Add([]byte("BZh9"), false)
	f.Fuzz(func(t *testing.T, data []byte, conda bool) {
		name := "x-1-0.tar.bz2"
		if conda {
			name = "x-1-0.conda"
		}
		found, _, err := distsOf(name, bytes.NewReader(data), int64(len(data)))
		for _, d := range found {
			if err == nil && (d.Name == "" || d.Version == "" || len(d.Metadata) > maxMetadata) {
				t.Errorf("a distribution without name or version: %q %q", d.Name, d.Version)
			}
		}
	})
}
