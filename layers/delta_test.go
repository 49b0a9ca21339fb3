package layers

import (
	"context"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
)

// What an image lacks of a graph is what changed, in the graph's order; everything else is taken
// from where the image has it.
func TestRestIsWhatChanged(t *testing.T) {
	t.Parallel()
	subjectGraph := func(t *testing.T, change func(*subject)) (*Graph, *BuildRecord) {
		t.Helper()
		s := newSubject(t)
		change(s)
		g, err := NewGraph(context.Background(), s.recipe, s.lock, s.o)
		if err != nil {
			t.Fatal(err)
		}
		in, err := g.Record(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return g, in
	}
	_, old := subjectGraph(t, func(*subject) {})
	for name, c := range map[string]struct {
		change func(*subject)
		front  bool     // what is bound to the base is built, all of it
		left   []string // the other layers that are built
		none   bool     // nothing can be taken
	}{
		"nothing": {change: func(*subject) {}},
		"a label": {change: func(s *subject) { s.recipe.Image.Labels["team"] = "b" }},
		"ray": {change: func(s *subject) { artifact(s.lock, "ray", "ray").SHA256 = sum("ray2") },
			left: []string{"warm"}},
		"a package of apt": {change: func(s *subject) { artifact(s.lock, "apt", "wget").SHA256 = sum("wget2") },
			front: true, left: []string{"fonts"}},
		"the base": {change: func(s *subject) { s.lock.Platforms[amd64].Base.Digest = digest.FromString("patched") },
			front: true, left: []string{"fonts"}},
		"the base and its number of layers": {change: func(s *subject) {
			s.lock.Platforms[amd64].Base.Digest = digest.FromString("patched")
			s.lock.Platforms[amd64].Base.Layers += 2
		}, front: true, left: []string{"fonts"}},
		"all but the base": {change: func(s *subject) {
			s.lock.Platforms[amd64].Tool.Digest = digest.FromString("tool")
			artifact(s.lock, "apt", "wget").SHA256 = sum("wget2")
			s.recipe.Mirrors.Image = nil
			s.recipe.Files = nil
			s.recipe.Env.Name = "other"
		}, none: true},
		"the compression": {change: func(s *subject) { s.o.Compression = "zstd" }, none: true},
	} {
		t.Run(name, func(t *testing.T) {
			g, now := subjectGraph(t, c.change)
			r := g.Missing(now, old, false)
			if c.none || r == nil {
				if !c.none || r != nil {
					t.Fatalf("the rest is %+v, want none: %v", r, c.none)
				}
				return
			}
			left := r.Graph.Images[0]
			var names []string
			for _, l := range left.Layers {
				names = append(names, l.Name)
			}
			if !slices.Equal(names, c.left) || (len(left.BaseLayers) > 0) != c.front ||
				r.Nothing() != (len(c.left) == 0 && !c.front) {
				t.Errorf("left are %v on a front of %d layers (nothing: %v), want %v, front %v", names,
					len(left.BaseLayers), r.Nothing(), c.left, c.front)
			}
			whole := g.Images[0]
			if len(r.Kept) != len(whole.BaseLayers)+len(whole.Layers) {
				t.Fatalf("%d places for %d layers", len(r.Kept), len(whole.BaseLayers)+len(whole.Layers))
			}
			built := 0
			for n, at := range r.Kept {
				if at < 0 {
					built += at + 2 // 1 for BuiltLayer, 0 for MadeLayer
					continue
				}
				was, is := nameAt(old, at), nameAt(now, n)
				if was != is {
					t.Errorf("layer %d, %q, is taken from the place of %q", n, is, was)
				}
			}
			if want := len(left.BaseLayers) + len(left.Layers); built != want {
				t.Errorf("%d layers come from a build of %d", built, want)
			}
		})
	}
	g, now := subjectGraph(t, func(*subject) {})
	line := *old
	line.Linear = true
	two := *old
	two.Platforms = slices.Concat(old.Platforms, old.Platforms)
	for what, in := range map[string]*BuildRecord{"no record": nil, "an image in a line": &line,
		"an image of two platforms": &two} {
		if r := g.Missing(now, in, false); r != nil {
			t.Errorf("from %s something is taken: %v", what, r.Kept)
		}
	}
}

// nameAt is the name of the layer at a place of the image.
func nameAt(in *BuildRecord, at int) string {
	for _, l := range in.Platforms[0].Layers {
		if at < l.Count {
			return l.Name
		}
		at -= l.Count
	}
	return ""
}
