package layers

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestNoteYanked(t *testing.T) {
	t.Parallel()
	const text = "WARNING: The candidate selected for download or install is a yanked version: 'My_Pkg' candidate " +
		"(version 1.0 at http://files.pythonhosted.org/packages/a/b/My_Pkg-1.0-py3-none-any.whl#sha256=00 (from " +
		"http://pypi.org/simple/my-pkg/) (requires-python:>=3.8))\n" +
		"Reason for being yanked:  broken   metadata \nWARNING: other\n" +
		"WARNING: The candidate selected for download or install is a yanked version: 'two' candidate (version 2 at " +
		"http://x)\nReason for being yanked: <none given>\n"
	var said []string
	r := &Resolver{}
	r.in.Log = func(format string, args ...any) { said = append(said, format) }
	artifacts := []Artifact{
		{Name: "my-pkg", Version: "1.0", For: map[string]string{"build": "x"}}, {Name: "my-pkg", Version: "2.0"},
		{Name: "two", Version: "2"}, {Name: "three", Version: "2"},
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
	for in, want := range map[string]string{"": "no reason given", "a\x00b": "no reason given", "a\n b": "a b",
		strings.Repeat("é", 300): strings.Repeat("é", 200) + "…"} {
		if got := yankedReason(in); got != want {
			t.Errorf("the reason %q becomes %q, want %q", in, got, want)
		}
	}
}

// pageClient answers every request with one page.
type pageClient string

func (p pageClient) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(string(p)))}, nil
}

// pageSources is Sources that has one page and nothing else.
type pageSources struct {
	Sources
	page string
}

func (o pageSources) Client() *http.Client { return &http.Client{Transport: pageClient(o.page)} }

func TestYankedHint(t *testing.T) {
	t.Parallel()
	const page = `<a href="x" data-requires-python="&gt;=3.8" data-yanked="bad">my_pkg-1.0-py3-none-any.whl</a><a data-yanked href="y">my_pkg-1.1.tar.gz</a><a href="z">my_pkg-1.2-py3-none-any.whl</a>`
	const old = "ERROR: Could not find a version that satisfies the requirement my-pkg>=1 (from versions: 1.0, 1.1, " +
		"1.2)\nERROR: No matching distribution found for my-pkg>=1\n"
	for _, tt := range []struct{ name, text, page, want string }{
		{"pip says so", "ERROR: Ignored the following yanked versions: 1.0, 2.0\n" +
			"ERROR: No matching distribution found for x", "", "pins them: 1.0, 2.0;"},
		{"an older pip does not, and the page does", old, page, "pins them: 1.0, 1.1;"},
		{"nothing was yanked", old, `<a href="z">my_pkg-1.2-py3-none-any.whl</a>`, ""},
		{"something else is wrong", "ERROR: ResolutionImpossible", page, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &Resolver{}
			r.in.Sources = pageSources{page: tt.page}
			got := r.yankedHint(t.Context(), python{}, tt.text)
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("the hint is %q, want %q in it", got, tt.want)
			}
		})
	}
}
