package uv_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/uv"
)

// lockedIndex has app, which needs lib in a new version and tool with an extra, and returns a lock of old ones.
func lockedIndex(t *testing.T) (*index, []uv.Held) {
	t.Helper()
	i := newIndex(t)
	i.wheel(t, "app", "1", "lib>=2", "tool[more]")
	i.wheel(t, "dep", "1")
	i.wheel(t, "lib", "2")
	i.wheel(t, "tool", "2")
	sum := i.add("", "tool-1-py3-none-any.whl", wheelExtra(t, "tool", "1", "more", "dep"), nil)
	lib := i.wheel(t, "lib", "1")
	at := func(name string) string {
		for path := range i.files {
			if strings.HasSuffix(path, "/"+name) {
				return "https://files.pythonhosted.org" + path
			}
		}
		t.Fatalf("no %s", name)
		return ""
	}
	return i, []uv.Held{
		{Name: "Tool", Version: "1", URL: at("tool-1-py3-none-any.whl"), SHA256: sum},
		{Name: "lib", Version: "1", URL: at("lib-1-py3-none-any.whl"), SHA256: lib},
	}
}

// wheelExtra is a wheel with an extra that needs a package.
func wheelExtra(t *testing.T, name, version, extra, need string) []byte {
	t.Helper()
	return wheelBytes(t, name, version, need+` ; extra == "`+extra+`"`+"\nProvides-Extra: "+extra)
}

func TestResolveTakesALockAsItIs(t *testing.T) {
	i, locked := lockedIndex(t)
	r := i.resolver(t, t.TempDir())
	a, err := ask(t, r, uv.Question{Requirements: []string{"tool"}, Locked: locked})
	if err != nil || found(a) != "lib 1, tool 1" || len(a.Overruled) > 0 {
		t.Fatalf("%s, %v, %+v", found(a), err, a)
	}
	for _, path := range i.requests() {
		if strings.HasPrefix(path, "/simple/") {
			t.Errorf("asked for %s, and the lock says all", path)
		}
	}
	// app refuses lib 1, and the extra of tool is not locked: it comes on top.
	a, err = ask(t, r, uv.Question{Requirements: []string{"app"}, Locked: locked})
	if err != nil || found(a) != "app 1, dep 1, lib 1, tool 1" {
		t.Fatalf("%s, %v", found(a), err)
	}
	if !slices.Equal(a.Overruled, []string{"lib"}) || !strings.Contains(a.Refusal, "lib>=2") {
		t.Errorf("%+v", a)
	}
	for _, path := range i.requests() {
		if path == "/simple/lib/" || path == "/simple/tool/" {
			t.Errorf("asked for %s, and the lock has it", path)
		}
	}
}

func TestResolveTellsWhatNoLockMends(t *testing.T) {
	i, locked := lockedIndex(t)
	i.wheel(t, "bad", "1", "dep>=5")
	r := i.resolver(t, t.TempDir())
	_, err := ask(t, r, uv.Question{Requirements: []string{"bad", "app"}, Locked: locked})
	none, ok := errors.AsType[*uv.NoSolutionError](err)
	if !ok || !strings.Contains(none.Error(), "dep>=5") {
		t.Errorf("%v", err)
	}
	twice := append(locked, locked[0])
	if _, err := ask(t, r, uv.Question{Locked: twice}); err == nil || !strings.Contains(err.Error(), "locked twice") {
		t.Errorf("%v", err)
	}
}

// A lock without URLs, as Poetry's, names versions and hashes.
func TestResolveFindsLockedFilesOnTheIndex(t *testing.T) {
	i, locked := lockedIndex(t)
	r := i.resolver(t, t.TempDir())
	q := uv.Question{Hashes: map[string][]string{}}
	for _, l := range locked {
		q.Hashes[l.Name] = []string{l.SHA256}
		q.Locked = append(q.Locked, uv.Held{Name: l.Name, Version: l.Version})
	}
	a, err := ask(t, r, q)
	if err != nil || found(a) != "lib 1, tool 1" || a.Packages[0].SHA256 != locked[1].SHA256 {
		t.Fatalf("%s, %v", found(a), err)
	}
	q.Hashes["lib"] = []string{strings.Repeat("0", 64)}
	if _, err := ask(t, r, q); err == nil || !strings.Contains(err.Error(), "check the hashes of lib 1") {
		t.Errorf("%v", err)
	}
}
