package sbom

import (
	"net/url"
	"reflect"
	"strings"
	"testing"
)

func TestReadDpkgStatus(t *testing.T) {
	t.Parallel()
	const status = `Package: libssl3
Status: install ok installed
Architecture: amd64
Source: openssl
Version: 3.0.15-1~deb12u1
Description: library
 Package: not-one
 .
 more

Package: libgcc-s1
Status: install ok installed
Architecture: amd64
Source: gcc-12 (12.2.0-14)
Version: 12.2.0-14+b1

Package: gone
Status: deinstall ok config-files
Version: 1

Package: half
Status: install reinstreq half-installed
Version: 1

Package: tini
Architecture: amd64
Version: 0.19.0-1
Source: tini`
	got, err := ReadDpkgStatus([]byte(status))
	want := []Part{
		{Kind: Deb, Name: "libssl3", Version: "3.0.15-1~deb12u1", Arch: "amd64", Source: "openssl"},
		{Kind: Deb, Name: "libgcc-s1", Version: "12.2.0-14+b1", Arch: "amd64", Source: "gcc-12",
			SourceVersion: "12.2.0-14"},
		{Kind: Deb, Name: "tini", Version: "0.19.0-1", Arch: "amd64"},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n%+v\nwant\n%+v", err, got, want)
	}
}

const dep5 = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: x\n\n"

func TestReadCopyright(t *testing.T) {
	t.Parallel()
	for name, c := range map[string][2]string{
		"prose": {"This is X.\nLicense: GPL\n", ""},
		"one":   {dep5 + "Files: *\nCopyright: me\nLicense: Expat\n text of it\n", "Expat"},
		"several": {dep5 + "Files: *\nLicense: GPL-2+\n\nFiles: a\nLicense: MIT or BSD-3-clause\n\nFiles: b\n" +
			"License: GPL-2+\n", "GPL-2+ AND (MIT or BSD-3-clause)"},
		"debian": {dep5 + "Files: *\nLicense: Zlib\n\nFiles: debian/*\nLicense: GPL-3\n", "Zlib"},
		"text":   {dep5 + "Files: *\nLicense: Zlib\n\nLicense: Other\n text\n", "Zlib"},
	} {
		if got := ReadCopyright([]byte(c[0])); got != c[1] {
			t.Errorf("%s: %q, want %q", name, got, c[1])
		}
	}
}

func TestReadMetadata(t *testing.T) {
	t.Parallel()
	const head = "Metadata-Version: 2.1\nName: PyYAML\nVersion: 6.0.2\n"
	for name, c := range map[string]struct{ text, license string }{
		"expression": {head + "License: see file\nLicense-Expression: MIT OR Apache-2.0\n", "MIT OR Apache-2.0"},
		"licence": {head + "License: Apache 2.0\nClassifier: License :: OSI Approved :: MIT License\n",
			"Apache 2.0"},
		"text": {head + "License: MIT License\n\n        Copyright me\n" +
			"Classifier: License :: OSI Approved :: MIT License\n", "MIT License"},
		"folded text": {head + "License: MIT License\n        Copyright me\n        Permission is\n" +
			"Classifier: License :: OSI Approved :: ISC License (ISCL)\n", "ISC"},
		"unknown": {head + "License: UNKNOWN\n", ""},
		"classifiers": {head + "Classifier: License :: OSI Approved\nClassifier: License :: OSI Approved :: BSD " +
			"License\nClassifier: License :: OSI Approved :: MIT License\n", "BSD License AND MIT"},
		"description": {head + "\nLicense: GPL\n", ""},
	} {
		got, err := ReadMetadata([]byte(c.text))
		if err != nil || got.Name != "PyYAML" || got.Version != "6.0.2" || got.License != c.license {
			t.Errorf("%s: %+v, %v, want licence %q", name, got, err, c.license)
		}
	}
	for _, bad := range []string{"", "Name: x\n", "\nName: x\nVersion: 1\n"} {
		if got, err := ReadMetadata([]byte(bad)); err == nil {
			t.Errorf("%q gives %+v", bad, got)
		}
	}
}

func TestReadCondaMeta(t *testing.T) {
	t.Parallel()
	const text = `{"name": "numpy", "version": "2.1.0", "build": "py311_0", "subdir": "linux-64",
		"channel": "https://user:secret@conda.example/t/tk-1/conda-forge/linux-64", "license": "BSD-3-Clause",
		"url": "https://user:secret@conda.example/t/tk-1/conda-forge/linux-64/numpy-2.1.0-py311_0.conda?x=secret",
		"sha256": "` + "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" + `", "files": ["lib/a"]}`
	got, files, err := ReadCondaMeta([]byte(text))
	want := Part{Kind: Conda, Name: "numpy", Version: "2.1.0", Build: "py311_0", Subdir: "linux-64",
		Channel: "conda-forge", License: "BSD-3-Clause", SHA256: strings.Repeat("0123456789abcdef", 4),
		URL: "https://conda.example/conda-forge/linux-64/numpy-2.1.0-py311_0.conda"}
	if err != nil || got != want || len(files) != 1 {
		t.Errorf("%v %v\n%+v\nwant\n%+v", err, files, got, want)
	}
	if got, _, err := ReadCondaMeta([]byte(`{"name": "x", "version": "1", "license": ["a"], "sha256": "no",
		"url": "file:///home/me/x.conda", "channel": "conda-forge"}`)); err != nil ||
		got != (Part{Kind: Conda, Name: "x", Version: "1", Channel: "conda-forge"}) {
		t.Errorf("%+v %v", got, err)
	}
}

func TestPlainKeepsTerminalsSafe(t *testing.T) {
	t.Parallel()
	if got := plain("a\x1b[31mb\u202ec\n\xff" + strings.Repeat("é", 600)); strings.ContainsAny(got, "\x1b\u202e\n") ||
		len(got) > maxName || !strings.HasPrefix(got, "a[31mbcé") {
		t.Errorf("%q", got)
	}
}

func TestReadOSRelease(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"NAME=x\nID=ubuntu\nVERSION_ID=\"22.04\"\n": "ubuntu-22.04", "ID=debian\nVERSION_ID='12'": "debian-12",
		"ID=arch\n": "arch", "": "",
	} {
		if got := ReadOSRelease([]byte(text)); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestLicences(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"MIT": "MIT", "mit": "MIT", "Apache License, Version 2.0": "Apache-2.0", "GPL-2+": "GPL-2.0-or-later",
		"LGPL-2.1": "LGPL-2.1-only", "GPL-3.0": "GPL-3.0-only",
		"Expat and (BSD-3-clause or GPLv3)":   "MIT AND (BSD-3-Clause OR GPL-3.0-only)",
		"GPL-3.0-only WITH GCC-exception-3.1": "GPL-3.0-only WITH GCC-exception-3.1",
		"BSD License":                         "Ref(BSD License)", "MIT AND Foo Bar": "MIT AND Ref(Foo Bar)",
		"MIT OR": "Ref(MIT OR)", "(MIT": "Ref((MIT)", "MIT (Expat)": "Ref(MIT (Expat))", "AND": "Ref(AND)",
		"": "", "LicenseRef-Own": "Ref(Own)",
	} {
		l, ok := readLicence(text)
		got := l.ofSPDX(func(name string) string { return "Ref(" + name + ")" })
		if got != want || ok != (text != "") {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
		if !ok {
			continue
		}
		again, _ := readLicence(l.String())
		if again.String() != l.String() || again.known != l.known {
			t.Errorf("%q: %q is read again as %q", text, l, again)
		}
	}
}

func FuzzReadDpkgStatus(f *testing.F) {
	f.Add([]byte("Package: a\nVersion: 1\nStatus: install ok installed\nSource: b (2)\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, _ := ReadDpkgStatus(data)
		for _, p := range all {
			isPlain(t, p)
		}
		ReadCopyright(data)
	})
}

func FuzzReadMetadata(f *testing.F) {
	f.Add([]byte("Name: a\nVersion: 1\nLicense: MIT\nClassifier: License :: OSI Approved :: MIT License\n\nx"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if p, err := ReadMetadata(data); err == nil {
			isPlain(t, p)
		}
	})
}

func FuzzReadCondaMeta(f *testing.F) {
	f.Add([]byte(`{"name": "a", "version": "1", "url": "https://u:p@h/t/x/c/noarch/a.conda", "channel": "https://h/c"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if p, _, err := ReadCondaMeta(data); err == nil {
			isPlain(t, p)
			if u, err := url.Parse(p.URL); err != nil || u.User != nil || u.RawQuery != "" {
				t.Errorf("%q is not public: %v", p.URL, err)
			}
		}
	})
}

func FuzzLicence(f *testing.F) {
	f.Add("GPL-2+ and (MIT or Foo)")
	f.Fuzz(func(t *testing.T, text string) {
		l, ok := readLicence(text)
		if !ok {
			return
		}
		if again, ok := readLicence(l.String()); !ok || again.String() != l.String() {
			t.Errorf("%q: %q is read again as %q", text, l, again)
		}
	})
}

func isPlain(t *testing.T, p Part) {
	t.Helper()
	for _, s := range []string{p.Name, p.Version, p.Arch, p.Source, p.SourceVersion, p.License, p.Channel, p.Build} {
		if plain(s) != s {
			t.Errorf("%q is not safe to show", s)
		}
	}
	p.PURL()
}
