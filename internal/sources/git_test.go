package sources_test

import (
	"io"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/gittest"
	"github.com/raybuild/raybuild/internal/hostconf"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/sources"
	"github.com/raybuild/raybuild/layers"
)

// A commit that a lock names is made into the same archive on a machine that has nothing of it, and nothing else is
// handed out in its place.
func TestGitArtifacts(t *testing.T) {
	s := gittest.New(t, false)
	g := s.Repository(t, "o/r")
	commit := g.Commit(map[string]string{"setup.py": "1"})
	g.Git("tag", "v1")
	open := func() *sources.Sources {
		t.Setenv("NETRC", "/dev/null")
		out, err := sources.New(sources.Options{Store: t.TempDir(), Registry: registry.New(registry.Options{}),
			Recipe: &layers.Recipe{}, Host: hostconf.Config{}})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	here := open()
	found, tag, err := here.Revision(t.Context(), g.URL, "main")
	if err != nil || found != commit || tag != "v1" {
		t.Fatalf("%s %s, %v", found, tag, err)
	}
	a := layers.Artifact{Kind: layers.KindSdist, Name: "r", Version: "1", Origin: "git+" + g.URL,
		Path: commit + "/r.tar", For: map[string]string{"tag": tag}}
	if err := here.Pack(t.Context(), &a); err != nil {
		t.Fatal(err)
	}
	elsewhere := open()
	elsewhere.Know([]layers.Artifact{a}, nil)
	file, size, err := elsewhere.Open(t.Context(), a.Digest())
	if err != nil || size != a.Size || size == 0 {
		t.Fatalf("%d bytes, %v", size, err)
	}
	if data, err := io.ReadAll(file); err != nil || !strings.Contains(string(data), "describe-name: v1") {
		t.Errorf("%q, %v", data, err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if places := elsewhere.Places([]layers.Artifact{a}); len(places) > 0 {
		t.Errorf("a builder is sent to %v", places)
	}
	asked := s.Asked.Load()
	a.For["tag"] = "v2" // is in the archive, which is another one then
	elsewhere = open()
	elsewhere.Know([]layers.Artifact{a}, nil)
	if _, _, err := elsewhere.Open(t.Context(), a.Digest()); err == nil || !strings.Contains(err.Error(), "r.tar") {
		t.Errorf("another archive: %v", err)
	}
	if s.Asked.Load() == asked {
		t.Error("the repository was not asked")
	}
}
