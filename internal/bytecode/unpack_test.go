package bytecode

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/raybuild/raybuild/internal/testneeds"
)

// tarred is a file of a package.
type tarred struct {
	tar.Header
	data []byte
}

// condaPackage writes a .conda package, and gives its name and digest.
func condaPackage(t *testing.T, files ...tarred) (name, sum string) {
	t.Helper()
	var out, packed bytes.Buffer
	z, err := zstd.NewWriter(&packed, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	for _, f := range files {
		f.Size = int64(len(f.data))
		if f.Mode == 0 {
			f.Mode = 0o644
		}
		if err := w.WriteHeader(&f.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.data); err != nil {
			t.Fatal(err)
		}
	}
	a := zip.NewWriter(&out)
	in, err := a.CreateHeader(&zip.FileHeader{Name: "pkg-python-3.tar.zst"})
	for _, step := range []func() error{func() error { return err }, w.Close, z.Close,
		func() error { _, err := in.Write(packed.Bytes()); return err }, a.Close} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	return packageFile(t, out.Bytes(), "python.conda")
}

func packageFile(t *testing.T, data []byte, base string) (name, sum string) {
	t.Helper()
	name = filepath.Join(t.TempDir(), base)
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name, fmt.Sprintf("sha256:%x", sha256.Sum256(data))
}

// ownPython are the files of the machine's own Python as a conda package has them. No channel of conda's is asked.
func ownPython(t *testing.T) (files []tarred) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), pythons(t)[0], "-c", `import os, sys
print(os.path.realpath(sys.executable)); print(os.path.dirname(os.__file__)); print("python%d.%d" % sys.version_info[:2])`,
	).Output()
	if err != nil {
		t.Fatal(err)
	}
	about := strings.Fields(string(out))
	add := func(from, to string, mode int64) {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, tarred{tar.Header{Name: to, Mode: mode}, data})
	}
	add(about[0], "bin/"+about[2], 0o755)
	files = append(files, tarred{Header: tar.Header{Name: "bin/python3", Typeflag: tar.TypeSymlink,
		Linkname: about[2]}})
	err = filepath.WalkDir(about[1], func(p string, d fs.DirEntry, err error) error {
		rel := strings.TrimPrefix(p, about[1]+"/")
		if err == nil && d.IsDir() && (strings.HasSuffix(rel, "-packages") || d.Name() == "test") {
			return fs.SkipDir
		}
		if err == nil && d.Type().IsRegular() && strings.HasSuffix(rel, ".py") {
			add(p, "lib/"+about[2]+"/"+rel, 0o644)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return append(files,
		tarred{Header: tar.Header{Name: "lib/libx.so", Typeflag: tar.TypeSymlink, Linkname: "libx.so.1"}},
		tarred{Header: tar.Header{Name: "lib/libx.so.1"}, data: []byte("a library")},
		tarred{Header: tar.Header{Name: "lib/libx.so.1.0", Typeflag: tar.TypeLink, Linkname: "lib/libx.so.1"}},
		tarred{Header: tar.Header{Name: "lib/" + about[2] + "/test/test_x.py"}, data: []byte("a test")},
		tarred{Header: tar.Header{Name: "lib/" + about[2] + "/site-packages/x.py"}, data: []byte("a package")},
		tarred{Header: tar.Header{Name: "share/doc.txt"}, data: []byte("a text")})
}

func TestUnpackedPythonCompiles(t *testing.T) {
	t.Parallel()
	testneeds.Long(t)
	name, sum := condaPackage(t, ownPython(t)...)
	cache := filepath.Join(t.TempDir(), "a", "cache")
	p, err := Unpack(t.Context(), cache, name, sum)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Start(t.Context(), p, Options{Processes: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	all := []source{{"/opt/x/a.py", []byte("# coding: koi8-r\ndef f(): return {1, None} | {'a'}\n")}}
	code, err := c.Compile(t.Context(), all[0].path, all[0].data)
	if want := compileAll(t, pythons(t)[0], 1, all)[all[0].path]; err != nil || !bytes.Equal(code, want) {
		t.Errorf("it compiles to %d bytes (%v), not as from where it was", len(code), err)
	}
	for place, want := range map[string]bool{"lib/libx.so": true, "lib/libx.so.1.0": true, "share": false,
		"bin/python3": false, "lib/" + filepath.Base(p.Path) + "/test": false,
		"lib/" + filepath.Base(p.Path) + "/site-packages": false} {
		if _, err := os.Stat(filepath.Join(p.Home, place)); (err == nil) != want {
			t.Errorf("%s: %v, want it there: %v", place, err, want)
		}
	}
	// A second time nothing is unpacked.
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if again, err := Unpack(t.Context(), cache, name, sum); err != nil || again != p {
		t.Errorf("a second time: %v, %v", again, err)
	}
	if left, err := os.ReadDir(cache); err != nil || len(left) != 1 {
		t.Errorf("the cache has %v, %v", left, err)
	}
}

// TestPackagesThatAreNone has packages that are refused, each with a word of the reason, and leave nothing.
func TestPackagesThatAreNone(t *testing.T) {
	t.Parallel()
	program := tarred{tar.Header{Name: "bin/python3.11", Mode: 0o755}, []byte("\x7fELF of another machine")}
	link := func(name, to string, kind byte) tarred {
		return tarred{Header: tar.Header{Name: name, Linkname: to, Typeflag: kind}}
	}
	for want, files := range map[string][]tarred{
		"no bin/python3.X":           {{tar.Header{Name: "bin/perl"}, nil}},
		"cannot run on this machine": {program},
		"leads out of the package":   {program, {tar.Header{Name: "../lib/x.so"}, nil}},
		"not beside it":              {program, link("lib/x.so", "../../etc/passwd", tar.TypeSymlink)},
		"which is not there":         {program, link("lib/x.so", "/etc/passwd", tar.TypeLink)},
		"do not have":                {program, link("lib/x.so", "", tar.TypeFifo)},
		"file exists": {program, link("lib/x.so", "x.so.1", tar.TypeSymlink),
			{tar.Header{Name: "lib/x.so"}, nil}},
	} {
		name, sum := condaPackage(t, files...)
		refused(t, name, sum, want)
	}
	name, sum := packageFile(t, []byte("no package at all"), "python.tar.bz2")
	refused(t, name, sum, "no conda package")
	refused(t, name, "sha256:"+strings.Repeat("0", 64), "its digest is "+sum)
	refused(t, name, "md5:1", "must be sha256")
	name, sum = packageFile(t, []byte("BZh9 damaged"), "python.tar.bz2")
	refused(t, name, sum, "bzip2")
}

func refused(t *testing.T, name, sum, want string) {
	t.Helper()
	cache := t.TempDir()
	if _, err := Unpack(t.Context(), cache, name, sum); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the error is %v, want %q", err, want)
	}
	if left, err := os.ReadDir(cache); err != nil || len(left) > 0 {
		t.Errorf("%s: left: %v, %v", want, left, err)
	}
}

// TestUnpackTarBz2 unpacks the older kind of package, which needs bzip2 to be made.
func TestUnpackTarBz2(t *testing.T) {
	t.Parallel()
	testneeds.Programs(t, "bzip2")
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	hello := "#!/bin/sh\nprintf '\\000\\030\\000\\000\\0003.11.7 168627623 cpython'\nexec cat >/dev/null\n"
	if err := w.WriteHeader(&tar.Header{Name: "bin/python3.11", Mode: 0o755, Size: int64(len(hello))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(hello)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bzip2")
	cmd.Stdin = &out
	data, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	name, sum := packageFile(t, data, "python.tar.bz2")
	if p, err := Unpack(t.Context(), t.TempDir(), name, sum); err != nil || filepath.Base(p.Path) != "python3.11" {
		t.Errorf("%v, %v", p, err)
	}
}

// FuzzUnpack: whatever a package's archive has, its files lie below the directory, and no link leads out of it.
func FuzzUnpack(f *testing.F) {
	packed := func(all ...tar.Header) []byte {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		for _, h := range all {
			h.Mode = 0o755
			if err := w.WriteHeader(&h); err != nil {
				f.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			f.Fatal(err)
		}
		return out.Bytes()
	}
	f.Add(packed(tar.Header{Name: "bin/python3.12"}, tar.Header{Name: "lib/libz.so", Typeflag: tar.TypeSymlink,
		Linkname: "libz.so.1"}, tar.Header{Name: "lib/python3.12/os.py"}))
	f.Add(packed(tar.Header{Name: "lib/x.so", Typeflag: tar.TypeSymlink, Linkname: ".."},
		tar.Header{Name: "lib/x.so/y.so"}, tar.Header{Name: "../lib/a.so"}))
	f.Add(packed(tar.Header{Name: "lib/a.so", Typeflag: tar.TypeLink, Linkname: "../../etc/passwd"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		home := filepath.Join(dir, "home")
		if err := os.Mkdir(home, 0o700); err != nil {
			t.Fatal(err)
		}
		_ = (&unpacker{ctx: t.Context().Err, dir: home}).tar(bytes.NewReader(data))
		if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
			t.Fatalf("files outside: %v, %v", all, err)
		}
		err := filepath.WalkDir(home, func(name string, d fs.DirEntry, err error) error {
			if err == nil && d.Type()&fs.ModeSymlink != 0 {
				to, err := os.Readlink(name)
				if err != nil || to == ".." || strings.Contains(to, "/") {
					t.Errorf("%s leads to %q (%v)", name, to, err)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
