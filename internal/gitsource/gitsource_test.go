package gitsource_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/gitsource"
	"github.com/raybuild/raybuild/internal/gittest"
)

func TestRevision(t *testing.T) {
	t.Parallel()
	s := gittest.New(t, true)
	g := s.Repository(t, "o/r")
	first := g.Commit(map[string]string{"a": "1"})
	g.Git("tag", "v1")
	g.Git("tag", "-a", "v1.0", "-m", "annotated")
	second := g.Commit(map[string]string{"a": "2"})
	g.Git("branch", "feature/x", first)
	r := gitsource.Repository{URL: g.URL, Client: s.Client()}
	for rev, want := range map[string]gitsource.Revision{
		"":          {Commit: second},
		"main":      {Commit: second},
		"feature/x": {Commit: first, Tag: "v1.0"},
		"v1":        {Commit: first, Tag: "v1"},
		"v1.0":      {Commit: first, Tag: "v1.0"},
		first:       {Commit: first, Tag: "v1.0"},
		second:      {Commit: second},
	} {
		if got, err := r.Revision(t.Context(), rev); err != nil || got != want {
			t.Errorf("%q is %+v (%v), want %+v", rev, got, err, want)
		}
	}
	for _, rev := range []string{"gone", first[:10]} {
		if _, err := r.Revision(t.Context(), rev); err == nil || !strings.Contains(err.Error(), "all its 40 digits") {
			t.Errorf("%q: %v", rev, err)
		}
	}
	s.Let(gittest.Login("joe", "x"))
	if _, err := r.Revision(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "~/.netrc") {
		t.Errorf("without a login: %v", err)
	}
	r.URL = s.URL + "/o/none"
	s.Let(func(http.ResponseWriter, *http.Request) bool { return true })
	if _, err := r.Revision(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "/o/none") {
		t.Errorf("no repository: %v", err)
	}
}

// read gives an archive's files: what they are by name.
func read(t *testing.T, r gitsource.Repository, a gitsource.Archive) (files map[string]string, data []byte) {
	t.Helper()
	var b bytes.Buffer
	if err := r.Archive(t.Context(), a, &b); err != nil {
		t.Fatal(err)
	}
	data = b.Bytes()
	files = map[string]string{}
	for tr := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files, data
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := files[h.Name]; twice {
			t.Errorf("%s is there twice", h.Name)
		}
		files[h.Name] = fmt.Sprintf("%o %s%s", h.Mode, text, h.Linkname)
		if h.Typeflag == tar.TypeDir {
			files[h.Name] = "directory"
		}
	}
}

// What a commit has is in its archive, whether the server gives any commit or only what its branches lead to.
func TestArchive(t *testing.T) {
	t.Parallel()
	s := gittest.New(t, true)
	g := s.Repository(t, "r")
	if err := os.WriteFile(filepath.Join(g.Dir, "run"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../a", filepath.Join(g.Dir, "run.link")); err != nil {
		t.Fatal(err)
	}
	commit := g.Commit(map[string]string{"a": "1\n", "d/e/b": "2", ".git_archival.txt": "node: $Format:%H$\n"})
	g.Commit(map[string]string{"a": "later"})
	r := gitsource.Repository{URL: g.URL, Client: s.Client()}
	want := map[string]string{
		"x/": "directory", "x/a": "644 1\n", "x/d/": "directory", "x/d/e/": "directory", "x/d/e/b": "644 2",
		"x/run": "755 #!/bin/sh\n", "x/run.link": "777 ../a",
		"x/.git_archival.txt": "644 node: " + commit + "\nnode-date: 2026-01-02T03:04:05Z\n" +
			"describe-name: v1\nref-names: tag: v1\n",
	}
	a := gitsource.Archive{Commit: commit, Top: "x", Tag: "v1"}
	files, below := read(t, r, a)
	if !maps.Equal(files, want) {
		t.Errorf("got %q, want %q", files, want)
	}
	g.Git("config", "uploadpack.allowReachableSHA1InWant", "true")
	if files, alone := read(t, r, a); !bytes.Equal(alone, below) {
		t.Errorf("another archive of the same commit: %q", files)
	}
	a.Commit = strings.Repeat("0", 39) + "1"
	for _, allowed := range []string{"false", "true"} {
		g.Git("config", "uploadpack.allowReachableSHA1InWant", allowed)
		if err := r.Archive(t.Context(), a, io.Discard); err == nil || !strings.Contains(err.Error(), a.Commit) {
			t.Errorf("a commit that is not there: %v", err)
		}
	}
}

// A file of the commit about git stays if nothing in it is for git archive to fill.
func TestArchiveKeepsWhatACommitSaysOfItself(t *testing.T) {
	t.Parallel()
	s := gittest.New(t, false)
	g := s.Repository(t, "r")
	commit := g.Commit(map[string]string{".git_archival.txt": "own\n"})
	files, _ := read(t, gitsource.Repository{URL: g.URL, Client: s.Client()},
		gitsource.Archive{Commit: commit, Top: "x"})
	if files["x/.git_archival.txt"] != "644 own\n" {
		t.Errorf("got %q", files)
	}
}

// Submodules are part of the commit: by the names of their own commits.
func TestArchiveHasSubmodules(t *testing.T) {
	t.Parallel()
	s := gittest.New(t, true)
	deep, sub, g := s.Repository(t, "o/deep"), s.Repository(t, "o/sub"), s.Repository(t, "o/r")
	module := func(into *gittest.Repository, name, url, commit string) {
		into.Git("config", "-f", ".gitmodules", "submodule."+name+".path", "third/"+name)
		into.Git("config", "-f", ".gitmodules", "submodule."+name+".url", url)
		into.Git("update-index", "--add", "--cacheinfo", "160000,"+commit+",third/"+name)
		into.Git("add", ".gitmodules")
		into.Git("commit", "-q", "-m", name)
	}
	module(sub, "deep", deep.URL, deep.Commit(map[string]string{"c": "3"}))
	module(g, "sub", "../sub", sub.Git("rev-parse", "HEAD"))
	r := gitsource.Repository{URL: g.URL, Client: s.Client()}
	files, _ := read(t, r, gitsource.Archive{Commit: g.Git("rev-parse", "HEAD"), Top: "x"})
	if files["x/third/sub/third/deep/c"] != "644 3" {
		t.Errorf("got %q", files)
	}
	module(g, "far", "git@h.example:o/far.git", deep.Git("rev-parse", "HEAD"))
	err := r.Archive(t.Context(), gitsource.Archive{Commit: g.Git("rev-parse", "HEAD"), Top: "x"}, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "third/far") || !strings.Contains(err.Error(), "pip.wheels") {
		t.Errorf("a submodule by ssh: %v", err)
	}
}
