package raybuild

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/fakesite"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// A rebase takes the new base's layers, and all others from the image.
func TestRebaseTakesTheNewBase(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first, _ := s.build(BuildOptions{})
	s.PushBase("patched")
	s.Builder.Forget()
	s.Builder.Ran()
	res, err := Rebase(t.Context(), s.Ref("ray:1"), s.options(), RebaseOptions{BuildOptions: BuildOptions{Push: true}})
	if err != nil {
		t.Fatal(err)
	}
	if !res.Rebased || res.Image == res.From || res.From != s.Ref("ray@"+first.Digest) {
		t.Errorf("the rebase came to %+v", res)
	}
	if ran := withoutSmoke(s.Builder.Ran()); len(ran) > 1 {
		t.Errorf("a rebase ran %q", ran)
	}
	again, err := Rebase(t.Context(), s.Ref("ray:1"), s.options(),
		RebaseOptions{BuildOptions: BuildOptions{Push: true}})
	if err != nil || again.Rebased || again.Image != res.Image {
		t.Errorf("the second rebase came to %+v, %v", again, err)
	}
}

// An addition is one more layer, and the image that a build of the recipe with it gives.
func TestAddPutsALayerOnTop(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first, _ := s.build(BuildOptions{})
	url := "https://files.pythonhosted.org/packages/ei/einops-0.8.0-py3-none-any.whl"
	sum := digest.FromBytes(fakesite.Wheel("einops", "0.8.0")).Encoded()
	s.Leaves["[add-1] resolve"] = map[string]string{"report.json": fmt.Sprintf(
		`{"install": [{"download_info": {"url": %q, "archive_info": {"hashes": {"sha256": "%s"}}}, "metadata": {"name": "einops", "version": "0.8.0"}}]}`, url, sum)}
	s.Builder.Ran()
	res, err := Add(t.Context(), s.Ref("ray:1"), []string{"einops"}, s.options(), BuildOptions{Push: true})
	if err != nil {
		t.Fatal(err)
	}
	if !res.Added || len(res.Changes) != 1 || res.Changes[0].Name != "einops" {
		t.Errorf("the addition came to %+v", res)
	}
	if n := len(res.Build.Layers); n != len(first.Layers)+1 {
		t.Errorf("the image has %d layers on %d", n, len(first.Layers))
	}
	again, err := Add(t.Context(), s.Ref("ray:1"), []string{"einops"}, s.options(), BuildOptions{Push: true})
	if err != nil || again.Added {
		t.Errorf("what is there was added again: %+v, %v", again, err)
	}
}

// program is a layer of one's own that is made of a file.
type program struct{ version string }

func (program) Name() string            { return "program" }
func (program) Needs() []string         { return nil }
func (p program) Inputs() digest.Digest { return digest.FromString(p.version) }

func (p program) Resolve(context.Context, *layers.Resolver) ([]layers.Artifact, error) {
	return []layers.Artifact{{
		Kind: layers.KindFile, Name: "program", Version: p.version, Origin: "https://files.example.org",
		Path:   "program-" + p.version,
		SHA256: digest.FromString(p.version).Encoded(), Size: 1000,
	}}, nil
}

func (program) Apply(on layers.Stack, locked []layers.Artifact) (layers.Stack, error) {
	if len(locked) != 1 {
		return on, fmt.Errorf("the program is made of %d files", len(locked))
	}
	file := llb.Artifact(llb.Blob{Digest: locked[0].Digest(), Name: "program"})
	return on.Add("program", "program", "[program] add", file), nil
}

// named is a program under another name.
type named struct {
	program
	name string
}

func (n named) Name() string { return n.name }

// A layer of one's own is resolved once, and again when it asks for something else. What it is made of is in the lock.
func TestOwnLayerIsLocked(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	build := func(version string) *Result {
		t.Helper()
		o := s.options()
		o.Layers = []layers.Layer{program{version}}
		p, err := Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		res, err := p.Build(t.Context(), BuildOptions{Names: []string{s.Ref("ray:1")}, Push: true})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	first := build("1")
	if last := first.Layers[len(first.Layers)-1]; last.Name != "program" {
		t.Errorf("the last layer is %+v", last)
	}
	lock, err := os.ReadFile(filepath.Join(s.Dir, "raybuild.lock"))
	if err != nil || !strings.Contains(string(lock), digest.FromString("1").Encoded()) {
		t.Errorf("the lock does not have the program, %v:\n%s", err, lock)
	}
	if again := build("1"); !again.UpToDate {
		t.Errorf("the same program was built again: %+v", again)
	}
	second := build("2")
	if got := sent(second); !slices.Equal(got, []string{"program"}) {
		t.Errorf("layers %q were sent", got)
	}
	s.PushBase("patched")
	o := s.options()
	o.Layers = []layers.Layer{program{"2"}}
	rebased, err := Rebase(t.Context(), s.Ref("ray:1"), o, RebaseOptions{BuildOptions: BuildOptions{Push: true}})
	if err != nil {
		t.Fatal(err)
	}
	if got := sent(rebased.Build); slices.Contains(got, "program") || !rebased.Rebased {
		t.Errorf("a rebase sent layers %q", got)
	}
	if _, err := Rebase(t.Context(), s.Ref("ray:1"), s.options(), RebaseOptions{}); err == nil ||
		!strings.Contains(err.Error(), `a layer "program" that its recipe does not`) {
		t.Errorf("a rebase without the layer: %v", err)
	}
	// A layer of the recipe's name would stand for it.
	for _, same := range []layers.Layer{named{program{"2"}, "apt"}, named{program{"2"}, "ray"}} {
		o.Layers = []layers.Layer{same}
		if p, err := Open(t.Context(), o); err != nil {
			t.Fatal(err)
		} else if _, err = p.Build(t.Context(), BuildOptions{}); err == nil ||
			!strings.Contains(err.Error(), "give it a name of its own") {
			t.Errorf("a layer of the name %q: %v", same.Name(), err)
		}
	}
	// The command knows nothing of the layer, and what it resolves leaves the lock's part of it alone.
	p, err := Open(s.t.Context(), s.options())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Build(t.Context(), BuildOptions{Names: []string{s.Ref("other:1")}, Push: true}); err != nil {
		t.Fatal(err)
	}
}
