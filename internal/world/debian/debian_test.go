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
)

func TestFindMirror(t *testing.T) {
	const canonical822 = "Types: deb\n# a comment\nURIs: http://m.test/debian/\nSuites: bookworm bookworm-updates\nComponents: main\n\nTypes: deb\nURIs: http://s.test/debian-security\nSuites: bookworm-security\nComponents: main\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  Mirror
	}{
		"one-line form with options": {map[string]string{"sources.list": "# x\ndeb-src http://no.test/debian s main\ndeb [arch=amd64 trusted=yes] https://a.test/debian bookworm main contrib\n"}, Mirror{"https://a.test/debian", "https://a.test/debian-security"}},
		"deb822 form":                {map[string]string{"sources.list.d/debian.sources": canonical822}, Mirror{"http://m.test/debian", "http://s.test/debian-security"}},
		"others' archives are passed over": {map[string]string{"sources.list": "deb http://x.test/apt stable main\ndeb cdrom:[x]/ bookworm main\n", "sources.list.d/debian.sources": canonical822},
			Mirror{"http://m.test/debian", "http://s.test/debian-security"}},
		"a disabled stanza":       {map[string]string{"sources.list.d/a.sources": "Enabled: no\n" + canonical822[:strings.Index(canonical822, "\n\n")+1]}, Mirror{CanonicalArchive, CanonicalSecurity}},
		"no Debian here (Ubuntu)": {map[string]string{"sources.list": "deb http://archive.ubuntu.com/ubuntu jammy main\n"}, Mirror{CanonicalArchive, CanonicalSecurity}},
		"nothing":                 {nil, Mirror{CanonicalArchive, CanonicalSecurity}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for f, text := range c.files {
				f = filepath.Join(dir, f)
				if err := os.MkdirAll(filepath.Dir(f), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(f, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, err := FindMirror(dir)
			if err != nil || got != c.want {
				t.Errorf("got %+v, %v, want %+v", got, err, c.want)
			}
		})
	}
}

func TestRootfsIsCleanedAndPatched(t *testing.T) {
	dir := t.TempDir()
	status := "Package: a\nVersion: 1\n\nPackage: libdebconfclient0\nStatus: install ok installed\nVersion: 0.270\nDepends: libc6\n\nPackage: z\nVersion: 3\n"
	in := map[string]string{
		"./etc/shadow": "root:*:20000:0:99999:7:::\n", "./etc/resolv.conf": "nameserver 10.0.0.1\n", "./var/log/dpkg.log": "x",
		"./var/lib/dpkg/status": status, "./usr/lib/x/libdebconfclient.so.0.0.0": "ELF", "./etc/apt/sources.list": "deb http://own.test x main",
	}
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for name, data := range in {
		if err := tw.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Mode: 0o644, Typeflag: tar.TypeReg}); err != nil {
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
		if len(got) != 4 || got["etc/shadow"] != "root:*:20089:0:99999:7:::\n" || !strings.Contains(got["etc/apt/sources.list.d/debian.sources"], CanonicalArchive) {
			t.Errorf("patched %t: %q", patched, got)
		}
		changed := got["var/lib/dpkg/status"] == strings.Replace(status, "0.270", "0.270+deb12u99", 1) && strings.HasPrefix(got["usr/lib/x/libdebconfclient.so.0.0.0"], "ELFpatched")
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
