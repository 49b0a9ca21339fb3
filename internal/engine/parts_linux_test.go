package engine

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParseSubIDs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		want       idRange
	}{
		{"by name", "a:1:2\nray:100000:65536\n", idRange{100000, 65536}},
		{"by number", "1000:200000:65536", idRange{200000, 65536}},
		{"the largest of several", "ray:1:5\nray:300000:70000\n1000:9:9", idRange{300000, 70000}},
		{"of nobody else", "rays:100000:65536\nra:1:2", idRange{}},
		{"no file", "", idRange{}},
		{"broken lines are left out", "ray\nray:x:1\nray:1\nray:-5:99\nray:7:8:9\n ray:10:11 \n", idRange{10, 11}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := parseSubIDs(c.text, "ray", 1000); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func FuzzParseSubIDs(f *testing.F) {
	f.Add("ray:100000:65536\n1000:1:2")
	f.Fuzz(func(t *testing.T, text string) {
		if r := parseSubIDs(text, "ray", 1000); r.count < 0 || r.count > 0 && r.start <= 0 {
			t.Errorf("%q gave %v", text, r)
		}
	})
}

func TestFindRuntime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program := func(name string, mode os.FileMode) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	program("runc", 0o644)
	if p, err := findRuntime(dir); !errors.Is(err, ErrNoRuntime) {
		t.Errorf("a file that cannot be executed: got %q, %v", p, err)
	}
	crun := program("crun", 0o755)
	if p, _ := findRuntime("relative:" + dir); p != crun {
		t.Errorf("only crun is there: got %q", p)
	}
	if err := os.Chmod(filepath.Join(dir, "runc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if p, _ := findRuntime(dir); filepath.Base(p) != "runc" {
		t.Errorf("runc comes before crun: got %q", p)
	}
	if p, err := findRuntime(""); !errors.Is(err, ErrNoRuntime) {
		t.Errorf("empty PATH: got %q, %v", p, err)
	}
}

func TestSearchPathAddsWhereRuncLies(t *testing.T) {
	t.Parallel()
	if got := searchPath("/usr/bin:/mine"); !strings.HasPrefix(got, "/usr/bin:/mine:") ||
		!strings.Contains(got, ":/usr/sbin") || strings.Count(got, "/usr/bin") != 1 {
		t.Errorf("got %q", got)
	}
	if got := searchPath(""); got != "" {
		t.Errorf("an empty PATH became %q", got)
	}
}

func TestRoomAndLimit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, err := diskOf(filepath.Join(dir, "not/yet/there"))
	if err != nil || d.total <= 0 || d.free > d.total {
		t.Fatalf("got %+v, %v", d, err)
	}
	if err := room(dir, 1); err != nil {
		t.Errorf("one byte: %v", err)
	}
	if err := room(dir, d.total+1); !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), dir) {
		t.Errorf("more than the disk has: %v", err)
	}
	if got := cacheLimit(7, dir); got != 7 {
		t.Errorf("asked for 7, got %d", got)
	}
	if got := cacheLimit(0, dir); got != min(defaultCacheLimit, d.total/2) {
		t.Errorf("default limit %d on a disk of %d", got, d.total)
	}
}

func TestListenReadsWhatTheEngineReports(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		say  func(*reporter)
		want error
	}{
		{"ready", func(r *reporter) { r.note("moved"); r.ready() }, nil},
		{"a cause with a cure", func(r *reporter) { r.fail(&Error{Kind: ErrNoSpace, Detail: "d", Fix: "f"}) },
			ErrNoSpace},
		{"another error", func(r *reporter) { r.fail(errors.New("boom")) }, ErrStart},
		{"nothing", func(r *reporter) { r.close() }, io.ErrUnexpectedEOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			pr, pw, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer pr.Close()
			c.say(&reporter{w: pw})
			var notes []string
			err = listen(pr, func(s string) { notes = append(notes, s) })
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if c.want == nil && (len(notes) != 1 || notes[0] != "moved") {
				t.Errorf("notes %q", notes)
			}
		})
	}
}

func TestTrackerCountsConnections(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	tr := newTracker(l, &syncer{})
	defer tr.Close()
	client, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := tr.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if ok, _ := tr.closeIdle(0); ok {
		t.Error("ended with a client")
	}
	if tr.closeWithin(10 * time.Millisecond) {
		t.Error("ended within 10 ms with a client")
	}
	server.Close()
	server.Close() // counts once
	if ok, wait := tr.closeIdle(time.Hour); ok || wait <= 0 || wait > time.Hour {
		t.Errorf("ended at once: %v, %v", ok, wait)
	}
	if !tr.closeWithin(time.Second) {
		t.Error("did not end without clients")
	}
	late, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	go func() { _, _ = tr.Accept() }()
	if _, err := late.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("a client after the end got %v, want EOF", err)
	}
}

func TestPrivateRefusesWhatOthersOwnOrRedirect(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := private(dir); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("/tmp", link); err != nil {
		t.Fatal(err)
	}
	if private(link) == nil {
		t.Error("a symbolic link was taken for a directory")
	}
	if os.Geteuid() == 0 {
		other := filepath.Join(dir, "other")
		if err := os.Mkdir(other, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(other, 12345, 12345); err != nil {
			t.Fatal(err)
		}
		if err := private(other); !errors.Is(err, ErrInUse) {
			t.Errorf("another user's directory: %v", err)
		}
	}
}

func TestOlderThan(t *testing.T) {
	t.Parallel()
	for release, want := range map[string]bool{"5.10.0-8-amd64": true, "5.11.0": false, "4.19": true, "6.1.0": false,
		"strange": false} {
		if got := olderThan(release, 5, 11); got != want {
			t.Errorf("%s: %v, want %v", release, got, want)
		}
	}
}

func TestCheckFindsEachThingOnce(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, f := range Check(t.Context(), Options{Home: filepath.Join(t.TempDir(), "not/there")}) {
		if seen[f.Name] || f.Name == "" || f.Detail == "" {
			t.Errorf("finding %+v", f)
		}
		if !f.OK && f.Fix == "" {
			t.Errorf("%s is not well and has no fix: %s", f.Name, f.Detail)
		}
		seen[f.Name] = true
		t.Logf("%+v", f)
	}
	for _, n := range []string{"runtime", "privilege", "kernel", "overlayfs", "cgroups", "disk"} {
		if !seen[n] {
			t.Errorf("nothing was said about %s", n)
		}
	}
}

func TestCheckWithoutRuntime(t *testing.T) {
	t.Setenv("PATH", "")
	for _, f := range Check(t.Context(), Options{Home: t.TempDir()}) {
		if f.Name == "runtime" && (f.OK || !strings.Contains(f.Fix, "install")) {
			t.Errorf("finding %+v", f)
		}
	}
}

// The engine reads the certificates that Docker's directory has for a registry whenever it asks that registry.
func TestRegistriesCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	hosts := registryHosts([]string{"plain.example"}, []string{filepath.Join(dir, "none"), dir})
	for _, host := range []string{"own.example:5000", "plain.example"} {
		if _, err := hosts(host); err != nil {
			t.Errorf("%s, without a directory: %v", host, err)
		}
		if err := os.Mkdir(filepath.Join(dir, host), 0o700); err != nil {
			t.Fatal(err)
		}
		// a certificate without its key, so that reading it shows
		if err := os.WriteFile(filepath.Join(dir, host, "client.cert"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := hosts("own.example:5000"); err == nil || !strings.Contains(err.Error(), "client.cert") {
		t.Errorf("the directory of a registry is not read: error %v", err)
	}
	for _, host := range []string{"other.example", "plain.example"} {
		if got, err := hosts(host); err != nil || len(got) != 1 {
			t.Errorf("%s has nothing to read: %+v, error %v", host, got, err)
		}
	}
}
