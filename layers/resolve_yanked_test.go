package layers

import (
	"strings"
	"testing"
)

func TestNoteYanked(t *testing.T) {
	const text = "WARNING: The candidate selected for download or install is a yanked version: 'My_Pkg' candidate (version 1.0 at http://files.pythonhosted.org/packages/a/b/My_Pkg-1.0-py3-none-any.whl#sha256=00 (from http://pypi.org/simple/my-pkg/) (requires-python:>=3.8))\n" +
		"Reason for being yanked:  broken   metadata \nWARNING: other\n" +
		"WARNING: The candidate selected for download or install is a yanked version: 'two' candidate (version 2 at http://x)\nReason for being yanked: <none given>\n"
	var said []string
	r := &Resolver{}
	r.in.Log = func(format string, args ...any) { said = append(said, format) }
	artifacts := []Artifact{
		{Name: "my-pkg", Version: "1.0", For: map[string]string{"build": "x"}}, {Name: "my-pkg", Version: "2.0"}, {Name: "two", Version: "2"}, {Name: "three", Version: "2"},
	}
	r.noteYanked(artifacts, text)
	for i, want := range []string{"broken metadata", "", "<none given>", ""} {
		if got := artifacts[i].For["yanked"]; got != want {
			t.Errorf("%s %s is yanked because of %q, want %q", artifacts[i].Name, artifacts[i].Version, got, want)
		}
	}
	if artifacts[0].For["build"] != "x" || len(said) != 2 || !strings.HasPrefix(said[0], "warning: ") {
		t.Errorf("facts %v, said %q: want what was known before, and two warnings", artifacts[0].For, said)
	}
	for in, want := range map[string]string{"": "no reason given", "a\x00b": "no reason given", "a\n b": "a b", strings.Repeat("é", 300): strings.Repeat("é", 200) + "…"} {
		if got := yankedReason(in); got != want {
			t.Errorf("the reason %q becomes %q, want %q", in, got, want)
		}
	}
	if got := yankedHint("ERROR: Ignored the following yanked versions: 1.0"); !strings.Contains(got, "==") {
		t.Errorf("the hint is %q, want one on ==", got)
	}
}
