package llb_test

import (
	"io"
	"path/filepath"
	"testing"

	"github.com/raybuild/raybuild/llb"
)

func build(t *testing.T, b *llb.Builder, w *world, img llb.Image, o llb.BuildOptions) *llb.Result {
	t.Helper()
	var res *llb.Result
	for range 3 { // without a name, the builder may delete a manifest before it is read
		var err error
		if res, err = b.Build(t.Context(), []llb.Image{img}, llb.Session{Artifacts: w}, o); err != nil {
			t.Fatal(err)
		}
		if len(res.Images[0].Layers) > 0 || len(img.Layers) == 0 {
			break
		}
	}
	return res
}

// ran are the steps that were not cached, as "layer: step".
func ran(r *llb.Result) map[string]bool {
	out := map[string]bool{}
	for _, s := range r.Steps {
		if !s.Cached {
			out[s.Layer+": "+s.Name] = true
		}
	}
	return out
}

func TestTwoEnginesMakeOneDigest(t *testing.T) {
	w := newWorld(t)
	one := build(t, connect(t), w, rayImage(t, w, w.base, "2.52.0"), llb.BuildOptions{})
	two := build(t, connect(t), w, rayImage(t, w, w.base, "2.52.0"), llb.BuildOptions{})
	if one.Digest != two.Digest || one.Digest == "" {
		t.Errorf("digests %s and %s", one.Digest, two.Digest)
		for i, l := range one.Images[0].Layers {
			if o := two.Images[0].Layers[i]; o.Digest != l.Digest {
				t.Errorf("layer %d (%s) differs: %s, %s", i, l.Name, l.Digest, o.Digest)
			}
		}
	}
	if len(ran(one)) != len(one.Steps) || len(one.Steps) != 6 {
		t.Errorf("first build: %+v", one.Steps)
	}
}

func TestSecondBuildRunsNothing(t *testing.T) {
	w, b := newWorld(t), connect(t)
	img := rayImage(t, w, w.base, "2.52.0")
	first := build(t, b, w, img, llb.BuildOptions{})
	again := build(t, b, w, img, llb.BuildOptions{})
	if r := ran(again); len(r) != 0 || len(again.Steps) != len(first.Steps) || again.Digest != first.Digest {
		t.Errorf("second build ran %v and made %s, first %s", r, again.Digest, first.Digest)
	}
	fresh := build(t, b, w, img, llb.BuildOptions{SolveOptions: llb.SolveOptions{NoCache: true}})
	if len(ran(fresh)) != len(first.Steps) || fresh.Digest != first.Digest {
		t.Errorf("build without cache: ran %v, %s, first %s", ran(fresh), fresh.Digest, first.Digest)
	}
	if fresh.Images[0].Graph != first.Images[0].Graph {
		t.Error("NoCache changed the digest of the graph")
	}
}

func TestEditsRunOnlyWhatNeedsThem(t *testing.T) {
	w, b := newWorld(t), connect(t)
	first := build(t, b, w, rayImage(t, w, w.base, "2.52.0"), llb.BuildOptions{})

	ray := build(t, b, w, rayImage(t, w, w.base, "2.53.0"), llb.BuildOptions{})
	if r := ran(ray); len(r) != 1 || !r["ray: install ray 2.53.0"] {
		t.Errorf("another ray ran %v", r)
	}
	patched := build(t, b, w, rayImage(t, w, w.push(t, "base:2", "patched"), "2.52.0"), llb.BuildOptions{})
	if r := ran(patched); len(r) != 1 || !r["user: add user"] {
		t.Errorf("another base ran %v", r)
	}
	for i, l := range first.Images[0].Layers {
		same := patched.Images[0].Layers[i].Digest == l.Digest
		if want := i != 1; same != want {
			t.Errorf("layer %d (%s) is the same on another base: %v, want %v", i, l.Name, same, want)
		}
	}
}

func TestReadOnlyMountsAreKeyedByContent(t *testing.T) {
	w, b := newWorld(t), connect(t)
	tool := llb.From(w.base)
	img := func(comment string) llb.Image {
		in := tool.Run(sh("in", "make input",
			`mkdir -p /data; echo same > /data/f; touch -d @315532800 /data/f /data; : `+comment))
		e := sh("use", "use input", `cat /in/f > /out/f; touch -d @315532800 /out/f`)
		e.Mounts = []llb.Mount{{Path: "/in", Stage: in, From: "/data"}}
		out := tool.Make(e, llb.Output{Path: "/out", On: llb.Scratch()})
		return llb.Image{Platform: amd64, Layers: []llb.Layer{{Name: "use", Stage: out}}}
	}
	first := build(t, b, w, img("one"), llb.BuildOptions{})
	again := build(t, b, w, img("two"), llb.BuildOptions{})
	if r := ran(again); len(r) != 1 || !r["in: make input"] || again.Digest != first.Digest {
		t.Errorf("the same input, built anew, ran %v", r)
	}
}

func TestArtifactsAreFetchedOnce(t *testing.T) {
	w, b := newWorld(t), connect(t)
	blob := w.add("a.whl", "once")
	img := llb.Image{Platform: amd64, Layers: []llb.Layer{{Name: "a", Stage: llb.Artifact(blob)}}}
	build(t, b, w, img, llb.BuildOptions{})
	build(t, b, w, img, llb.BuildOptions{})
	if n := w.opened(blob.Digest); n != 1 {
		t.Errorf("opened %d times, want once", n)
	}
}

func TestFreshStepsAlwaysRun(t *testing.T) {
	w, b := newWorld(t), connect(t)
	e := sh("r", "ask", `date +%s%N > /answer; cat /proc/sys/kernel/random/uuid >> /answer`)
	e.Fresh = true
	st := llb.From(w.base).Run(e)
	var got [2]string
	for i := range got {
		files, err := b.ReadFiles(t.Context(), st, amd64, []string{"/answer"}, llb.Session{})
		if err != nil {
			t.Fatal(err)
		}
		got[i] = string(files["/answer"])
	}
	if got[0] == got[1] || got[0] == "" {
		t.Errorf("answers %q", got)
	}
}

// What a changed step needs is pulled from the cache, which is not to have made it again.
func TestStepsWhoseLayersArePulledDidNotRun(t *testing.T) {
	w, s := newWorld(t), newCacheServer(t, embeddedRegistry(t))
	tool := llb.From(w.base)
	img := func(text string) llb.Image {
		in := tool.Run(sh("in", "make input",
			`mkdir -p /data; echo input > /data/f; touch -d @315532800 /data/f /data`))
		e := sh("use", "use input", `cat /in/f > /out/f; echo `+text+` >> /out/f; touch -d @315532800 /out/f`)
		e.Mounts = []llb.Mount{{Path: "/in", Stage: in, From: "/data"}}
		return llb.Image{
			Platform: amd64,
			Layers:   []llb.Layer{{Name: "use", Stage: tool.Make(e, llb.Output{Path: "/out", On: llb.Scratch()})}},
		}
	}
	build(t, connect(t), w, img("one"), llb.BuildOptions{SolveOptions: llb.SolveOptions{CacheTo: registryCache(s)}})
	edited := build(t, connect(t), w, img("two"),
		llb.BuildOptions{SolveOptions: llb.SolveOptions{CacheFrom: registryCache(s)}})
	if r := ran(edited); len(r) != 1 || !r["use: use input"] {
		t.Errorf("an edit of the last step ran %v", r)
	}
}

func TestCacheMovesToAnotherBuilder(t *testing.T) {
	w := newWorld(t)
	dir := filepath.Join(t.TempDir(), "cache")
	img := rayImage(t, w, w.base, "2.52.0")
	to := []llb.CacheEntry{{Type: "local", Attrs: map[string]string{"dest": dir, "mode": "max"}}}
	from := []llb.CacheEntry{{Type: "local", Attrs: map[string]string{"src": dir}}}
	first := build(t, connect(t), w, img, llb.BuildOptions{SolveOptions: llb.SolveOptions{CacheTo: to,
		ProgressTo: io.Discard}})
	second := build(t, connect(t), w, img, llb.BuildOptions{SolveOptions: llb.SolveOptions{CacheFrom: from}})
	if r := ran(second); len(r) != 0 || second.Digest != first.Digest {
		t.Errorf("with the cache of another builder: ran %v, made %s, want %s", r, second.Digest, first.Digest)
	}
	if _, written := from[0].Attrs["digest"]; written {
		t.Error("the caller's attributes were written into")
	}
}
