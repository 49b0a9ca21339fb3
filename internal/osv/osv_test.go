package osv

import (
	"archive/zip"
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// advisories of all the forms that are read.
var advisories = map[string]string{
	"GHSA-1": `{"id": "GHSA-1", "aliases": ["CVE-2026-1"], "summary": "requests leaks", "affected": [{"package":
		{"ecosystem": "PyPI", "name": "Requests"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"},
		{"fixed": "2.31.0"}, {"introduced": "2.32.0rc1"}, {"fixed": "2.32.4"}]}, {"type": "GIT", "events":
		[{"introduced": "0"}]}]}]}`,
	"PYSEC-1": `{"id": "PYSEC-1", "aliases": ["CVE-2026-1"], "details": "another text\nmore", "affected": [{"package":
		{"ecosystem": "PyPI", "name": "requests"}, "versions": ["2.32"]}]}`,
	"GHSA-2": `{"id": "GHSA-2", "withdrawn": "2026-01-01T00:00:00Z", "affected": [{"package": {"ecosystem": "PyPI",
		"name": "requests"}, "versions": ["2.32.0"]}]}`,
	"GHSA-3": `{"id": "GHSA-3", "affected": [{"package": {"ecosystem": "PyPI", "name": "ray"}, "ranges": [{"type":
		"ECOSYSTEM", "events": [{"introduced": "2.0"}, {"last_affected": "2.60.0"}]}]}]}`,
	"GHSA-4": `{"id": "GHSA-4", "affected": [{"package": {"ecosystem": "npm", "name": "ray"}, "versions": ["2.60.0"]}]}`,
	"GHSA-5": `{"id": "GHSA-5", "affected": [{"package": {"ecosystem": "PyPI", "name": "ray"}, "ranges": [{"type":
		"SEMVER", "events": [{"introduced": "2.60.1"}]}]}]}`,
	"DEBIAN-CVE-2": `{"id": "DEBIAN-CVE-2", "upstream": ["CVE-2"], "affected": [{"package": {"ecosystem": "Debian:12",
		"name": "openssl"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed":
		"3.0.15-1~deb12u1"}]}]}, {"package": {"ecosystem": "Debian:13", "name": "openssl"}, "ranges": [{"type":
		"ECOSYSTEM", "events": [{"introduced": "0"}]}]}]}`,
	"UBUNTU-CVE-3": `{"id": "UBUNTU-CVE-3", "affected": [{"package": {"ecosystem": "Ubuntu:22.04:LTS", "name": "bash"},
		"versions": ["5.1-6ubuntu1"]}, {"package": {"ecosystem": "Ubuntu:Pro:22.04:LTS", "name": "zsh"}, "versions":
		["1"]}]}`,
}

func packages() []Package {
	return []Package{
		{"PyPI", "requests", "2.32.0"}, {"PyPI", "ray", "2.60.0"}, {"Debian:12", "openssl", "3.0.14-1~deb12u2"},
		{"Ubuntu:22.04", "bash", "5.1-6ubuntu1"}, {"Ubuntu:22.04", "zsh", "1"},
	}
}

func ids(all []Finding) (out []string) {
	for _, f := range all {
		out = append(out, f.Name+" "+f.ID+" "+strings.Join(f.Aliases, ",")+" "+f.Fixed)
	}
	return out
}

var found = []string{"openssl CVE-2 DEBIAN-CVE-2 3.0.15-1~deb12u1", "ray GHSA-3  ",
	"requests CVE-2026-1 GHSA-1,PYSEC-1 2.32.4", "bash UBUNTU-CVE-3  "}

func TestAdvisoriesAreMatched(t *testing.T) {
	t.Parallel()
	m := NewMatcher(packages())
	for id, text := range advisories {
		if err := m.Add([]byte(text)); err != nil {
			t.Fatalf("%s: %v", id, err)
		}
	}
	all := m.Findings()
	if got := ids(all); !slices.Equal(got, found) {
		t.Errorf("%q, want %q", got, found)
	}
	if s := all[2].Summary; s != "requests leaks" && s != "another text" {
		t.Errorf("summary %q", s)
	}
	if got := ids(m.Findings("PYSEC-1", "CVE-2")); !slices.Equal(got, []string{found[1], found[3]}) {
		t.Errorf("with ids that are ignored: %q", got)
	}
	if got := m.Ecosystems(); !slices.Equal(got, []string{"Debian", "PyPI", "Ubuntu"}) {
		t.Errorf("ecosystems %q", got)
	}
}

func TestVersionsOfRanges(t *testing.T) {
	t.Parallel()
	r := versionRange{Type: "ECOSYSTEM", Events: []event{{Fixed: "2.0"}, {Introduced: "1.0"}, {Introduced: "3.0.dev1"},
		{LastAffected: "3.5"}}}
	for version, want := range map[string]bool{"0.9": false, "1.0rc1": false, "1.0": true, "1.9.post1": true,
		"2.0": false, "3.0a1": true, "3.5": true, "3.5.1": false, "2.0.dev1": true, "no version": false} {
		if got := r.has(Package{"PyPI", "x", version}); got != want {
			t.Errorf("%s: %v, want %v", version, got, want)
		}
	}
	deb := versionRange{Type: "ECOSYSTEM", Events: []event{{Introduced: "0"}, {Fixed: "1:1.2-3"}}}
	for version, want := range map[string]bool{"1.9-1": true, "1:1.2-3~deb12u1": true, "1:1.2-3": false, "2:0": false} {
		if got := deb.has(Package{"Debian:12", "x", version}); got != want {
			t.Errorf("%s: %v, want %v", version, got, want)
		}
	}
	git := affected{Ranges: []versionRange{{Type: "GIT", Events: []event{{Introduced: "0"}}}}}
	if hit, _ := git.hits(Package{"PyPI", "x", "1"}); hit {
		t.Error("a range of commits is taken for one of versions")
	}
}

// export writes a zip of all advisories.
func export(t *testing.T, file string) {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for id, text := range advisories {
		f, err := w.Create(id + ".json")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestDatabasesAreRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, ecosystem := range []string{"PyPI", "Debian", "Ubuntu"} {
		export(t, filepath.Join(dir, "mirror", ecosystem, "all.zip"))
	}
	files := filepath.Join(dir, "files")
	if err := os.MkdirAll(files, 0o755); err != nil {
		t.Fatal(err)
	}
	for id, text := range advisories {
		if err := os.WriteFile(filepath.Join(files, id+".json"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewServer(http.FileServer(http.Dir(filepath.Join(dir, "mirror"))))
	t.Cleanup(server.Close)
	for _, db := range []string{files, filepath.Join(dir, "mirror"), filepath.Join(dir, "mirror/PyPI/all.zip"),
		server.URL, server.URL + "/Debian/all.zip"} {
		m := NewMatcher(packages())
		if err := m.Read(t.Context(), db, ReadOptions{Temp: dir}); err != nil {
			t.Fatal(err)
		}
		if got := ids(m.Findings()); !reflect.DeepEqual(got, found) {
			t.Errorf("%s: %q, want %q", db, got, found)
		}
	}
	bad := filepath.Join(dir, "bad")
	if err := os.MkdirAll(bad, 0o755); err != nil {
		t.Fatal(err)
	}
	secret := strings.Replace(server.URL, "http://", "http://user:secret@", 1)
	for _, db := range []string{bad, filepath.Join(dir, "not-there"), secret + "/nothing.zip",
		"http://u:secret@127.0.0.1:1/x.zip"} {
		err := NewMatcher(packages()).Read(t.Context(), db, ReadOptions{Temp: dir})
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", Redacted(db), err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, "raybuild-osv-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

func FuzzAdd(f *testing.F) {
	for _, text := range advisories {
		f.Add([]byte(text))
	}
	f.Fuzz(func(_ *testing.T, data []byte) {
		m := NewMatcher(packages())
		if m.Add(data) == nil {
			m.Findings()
		}
	})
}

// FuzzVersions: the versions of an ecosystem have one order.
func FuzzVersions(f *testing.F) {
	f.Add("1.0rc1", "1.0.post1", "1!0.dev0+local.1")
	f.Add("1:2.31-0ubuntu9", "2.31~rc1-1", "2.31+deb12u1")
	f.Add("1.0.0-alpha.1", "1.0.0", "0")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		for _, kind := range []string{"ECOSYSTEM", "SEMVER"} {
			for _, ecosystem := range []string{"PyPI", "Debian:12"} {
				order := func(a, b string) (int, bool) { return compareIn(kind, ecosystem, a, b) }
				ab, ok := order(a, b)
				if !ok {
					continue
				}
				if same, _ := order(a, a); same != 0 {
					t.Fatalf("%s: %q is not itself", ecosystem, a)
				}
				if ba, ok := order(b, a); !ok || sign(ba) != -sign(ab) {
					t.Fatalf("%s: %q and %q: %d and %d", ecosystem, a, b, ab, ba)
				}
				bc, ok := order(b, c)
				if ac, _ := order(a, c); ok && ab <= 0 && bc <= 0 && ac > 0 {
					t.Fatalf("%s: %q <= %q <= %q, and not the first <= the last", ecosystem, a, b, c)
				}
			}
		}
	})
}

func sign(n int) int { return min(max(n, -1), 1) }
