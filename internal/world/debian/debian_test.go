package debian

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/hostconf"
)

func TestMirrorOf(t *testing.T) {
	value := func(s string) hostconf.Value { return hostconf.Value{Text: s} }
	for name, c := range map[string]struct {
		config hostconf.Config
		want   Mirror
	}{
		"both": {hostconf.Config{Debian: value("http://m.test/debian"),
			DebianSecurity: value("http://s.test/debian-security")},
			Mirror{"http://m.test/debian", "http://s.test/debian-security"}},
		"the archive alone": {hostconf.Config{Debian: value("https://a.test/x/debian")},
			Mirror{"https://a.test/x/debian", "https://a.test/x/debian-security"}},
		"no Debian (Ubuntu)": {hostconf.Config{Ubuntu: value("http://archive.ubuntu.com/ubuntu")},
			Mirror{CanonicalArchive, CanonicalSecurity}},
		"a security one alone": {hostconf.Config{DebianSecurity: value("http://s.test/debian-security")},
			Mirror{CanonicalArchive, CanonicalSecurity}},
	} {
		if got := MirrorOf(c.config); got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

func TestRootfsIsCleanedAndPatched(t *testing.T) {
	dir := t.TempDir()
	status := "Package: a\nVersion: 1\n\nPackage: libdebconfclient0\nStatus: install ok installed\nVersion: 0.270\n" +
		"Depends: libc6\n\nPackage: z\nVersion: 3\n"
	in := map[string]string{
		"./etc/shadow": "root:*:20000:0:99999:7:::\n", "./etc/resolv.conf": "nameserver 10.0.0.1\n",
		"./var/log/dpkg.log":    "x",
		"./var/lib/dpkg/status": status, "./usr/lib/x/libdebconfclient.so.0.0.0": "ELF",
		"./etc/apt/sources.list": "deb http://own.test x main",
	}
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for name, data := range in {
		if err := tw.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Mode: 0o644,
			Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.WriteHeader(&tar.Header{Name: "./dev/null", Typeflag: tar.TypeChar}); err != nil {
		t.Fatal(err)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	from := filepath.Join(dir, "base.tar")
	if err := os.WriteFile(from, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, patched := range []bool{false, true} {
		to := filepath.Join(dir, "out.tar")
		if err := writeRootfs(from, to, patched); err != nil {
			t.Fatal(err)
		}
		got := readTar(t, to)
		if len(got) != 4 || got["etc/shadow"] != "root:*:20089:0:99999:7:::\n" ||
			!strings.Contains(got["etc/apt/sources.list.d/debian.sources"], CanonicalArchive) {
			t.Errorf("patched %t: %q", patched, got)
		}
		changed := got["var/lib/dpkg/status"] == strings.Replace(status, "0.270", "0.270+deb12u99", 1) &&
			strings.HasPrefix(got["usr/lib/x/libdebconfclient.so.0.0.0"], "ELFpatched")
		same := got["var/lib/dpkg/status"] == status && got["usr/lib/x/libdebconfclient.so.0.0.0"] == "ELF"
		if patched && !changed || !patched && !same {
			t.Errorf("patched %t: %q", patched, got)
		}
	}
}

func readTar(t *testing.T, file string) map[string]string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	out := map[string]string{}
	for tr := tar.NewReader(f); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		out[h.Name] = string(data)
	}
}
