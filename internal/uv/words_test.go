package uv_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/uv"
)

// TestWordsOfConflicts: these are the words of uv's that layers reads to say what to do next. Each explanation is
// whole: it names the package, who asked for it and the cause, in few lines.
func TestWordsOfConflicts(t *testing.T) {
	i := newIndex(t)
	i.wheel(t, "a", "1", "b<2")
	i.wheel(t, "b", "1")
	i.wheel(t, "b", "2")
	i.wheel(t, "chain", "1", "mid")
	i.wheel(t, "mid", "1", "b>=2")
	i.wheel(t, "lacks", "1", "not-there>=1")
	i.add("", "winonly-1-cp311-cp311-win_amd64.whl", wheelBytes(t, "winonly", "1"), nil)
	i.add("", "old-1-cp38-cp38-manylinux2014_x86_64.whl", wheelBytes(t, "old", "1"), nil)
	i.add("", "glibc-1-cp311-cp311-manylinux_2_39_x86_64.whl", wheelBytes(t, "glibc", "1"), nil)
	i.add("", "newpy-1-py3-none-any.whl", wheelBytes(t, "newpy", "1"), map[string]any{"requires-python": ">=3.12"})
	i.add("", "gone-1-py3-none-any.whl", wheelBytes(t, "gone", "1"), map[string]any{"yanked": "security"})
	i.add("", "broken-1-py3-none-any.whl", []byte("not a zip"), nil)
	r := i.resolver(t, t.TempDir())
	for _, c := range []struct {
		kind     string
		asks     []string
		want     []string
		installs bool // setuptools is there
	}{
		{"two requirements", []string{"a", "b>=2"}, []string{"a depend on b<2", "you require b>=2",
			"your requirements are unsatisfiable"}, false},
		{"of packages of packages", []string{"chain", "a"}, []string{"mid depend on b>=2", "a depend on b<2",
			"chain depend on mid"}, false},
		{"no such name", []string{"nowhere"}, []string{"Because nowhere was not found in the package registry"}, false},
		{"no such name, asked for by another", []string{"lacks"}, []string{
			"Because not-there was not found in the package registry", "lacks depend on not-there>=1"}, false},
		{"no such version", []string{"b==9"}, []string{"there is no version of b==9"}, false},
		{"another system", []string{"winonly"}, []string{
			"Wheels are available for `winonly` (v1) on the following platform: `win_amd64`"}, false},
		{"a newer glibc", []string{"glibc"}, []string{
			"Wheels are available for `glibc` (v1) on the following platform: `manylinux_2_39_x86_64`"}, false},
		{"another Python's files", []string{"old"}, []string{"You require CPython 3.11 (`cp311`)",
			"wheels for `old` (v1) with the following Python ABI tag: `cp38`"}, false},
		{"a newer Python", []string{"newpy"}, []string{"does not satisfy Python>=3.12 and newpy==1 depends on"}, false},
		{"withdrawn", []string{"gone"}, []string{"gone==1 was yanked (reason: security)"}, false},
		{"what conda brought", []string{"setuptools<60"}, []string{"you require setuptools<60",
			"the environment has setuptools 80.9.0"}, true},
		{"a file that is no wheel", []string{"broken"}, []string{"broken-1-py3-none-any.whl", "not a valid zip file"},
			false},
	} {
		q := uv.Question{Requirements: c.asks}
		if c.installs {
			q.Installed = []uv.Installed{{Name: "setuptools", Version: "80.9.0"}}
		}
		_, err := ask(t, r, q)
		none, ok := errors.AsType[*uv.NoSolutionError](err)
		if err == nil || !ok && c.kind != "a file that is no wheel" {
			t.Errorf("%s: got %v", c.kind, err)
			continue
		}
		text := err.Error()
		if ok {
			text = none.Error()
		}
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: uv does not say %q:\n%s", c.kind, want, text)
			}
		}
		if n := strings.Count(text, "\n"); n > 12 {
			t.Errorf("%s: %d lines", c.kind, n)
		}
	}
}
