package llb_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/llb"
)

// A layer whose step has run is a blob before the step of another one ends; the image has that blob. A build that runs nothing
// packs nothing by itself.
func TestLayersArePackedWhileOthersAreBuilt(t *testing.T) {
	w, b := newWorld(t), connect(t)
	base := llb.From(w.base)
	layer := func(name, script string) llb.Layer {
		made := base.Make(sh(name, "make", script), llb.Output{Path: "/out", On: llb.Scratch()})
		return llb.Layer{Name: name, Title: "[" + name + "] make", Stage: made}
	}
	unique := fmt.Sprint(time.Now().UnixNano())
	image := llb.Image{Platform: amd64, Layers: []llb.Layer{
		layer("quick", "echo "+unique+" > /out/quick"), layer("slow", "sleep 4; echo "+unique+" > /out/slow"),
	}}
	build := func() (*llb.Result, map[string]time.Time, map[string]digest.Digest) {
		var mu sync.Mutex
		at, blobs := map[string]time.Time{}, map[string]digest.Digest{}
		o := llb.BuildOptions{Names: []string{"localhost:1/packed:1"}, Push: true}
		o.Pusher = func(context.Context, *llb.Pushing) error { return nil }
		o.Packed = func(_ context.Context, p *llb.Pushing) {
			l := p.Result.Images[0].Layers[0]
			mu.Lock()
			defer mu.Unlock()
			at[l.Name], blobs[l.Name] = time.Now(), l.Digest
		}
		res, err := b.Build(t.Context(), []llb.Image{image}, llb.Session{}, o)
		if err != nil {
			t.Fatal(err)
		}
		return res, at, blobs
	}
	res, at, blobs := build()
	var slow time.Time
	for _, s := range res.Steps {
		if s.Layer == "slow" {
			slow = s.Completed
		}
	}
	if quick, ok := at["quick"]; !ok || slow.IsZero() || quick.After(slow) {
		t.Errorf("the quick layer was packed at %v, want a time before the slow step's end, %v", quick, slow)
	}
	for i, name := range []string{"quick", "slow"} {
		if d, ok := blobs[name]; ok && d != res.Images[0].Layers[i].Digest {
			t.Errorf("layer %s was packed as %s, the image has %s", name, d, res.Images[0].Layers[i].Digest)
		}
	}
	if _, at, _ := build(); len(at) > 0 {
		t.Errorf("a build that ran nothing packed %v", at)
	}
}
