package llb_test

import (
	"fmt"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/llb"
)

// A layer whose step has run is a blob before the step of another one ends; the image has that
// blob. A build that runs nothing packs nothing by itself.
func TestLayersArePackedWhileOthersAreBuilt(t *testing.T) {
	w, b := newWorld(t), connect(t)
	base := llb.From(w.base)
	layer := func(name, script string) llb.Layer {
		made := base.Make(sh(name, "make", script), llb.Output{Path: "/out", On: llb.Scratch()})
		return llb.Layer{Name: name, Title: "[" + name + "] make", Stage: made}
	}
	unique := fmt.Sprint(time.Now().UnixNano())
	image := llb.Image{Platform: amd64, Base: base.Run(sh("user", "add user", "echo "+unique+" > /etc/user")),
		BaseLayers: []string{"base 1", "base 2", "[user] add user"}, Layers: []llb.Layer{
			layer("quick", "echo "+unique+" > /out/quick"), layer("slow", "sleep 4; echo "+unique+" > /out/slow"),
		}}
	build := func() (*llb.Result, map[string]time.Time, map[string]digest.Digest) {
		at, blobs := map[string]time.Time{}, map[string]digest.Digest{}
		o := llb.BuildOptions{Names: []string{"localhost:1/packed:1"}, Push: true, PackEarly: true}
		build, ctx, err := b.Start(t.Context(), []llb.Image{image}, llb.Session{}, o)
		if err != nil {
			t.Fatal(err)
		}
		for one := range build.Ready() {
			for _, l := range one.Result.Images[0].Layers {
				if l.Name != "" {
					at[l.Name], blobs[l.Name] = time.Now(), l.Digest
				}
			}
		}
		res, err := build.End(ctx, nil)
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
	for _, name := range []string{"quick", "user"} {
		if quick, ok := at[name]; !ok || slow.IsZero() || quick.After(slow) {
			t.Errorf("the layer %s was packed at %v, want a time before the slow step's end, %v", name, quick, slow)
		}
	}
	for _, l := range res.Images[0].Layers {
		if d, ok := blobs[l.Name]; ok && d != l.Digest {
			t.Errorf("layer %s was packed as %s, the image has %s", l.Name, d, l.Digest)
		}
	}
	if _, at, _ := build(); len(at) > 0 {
		t.Errorf("a build that ran nothing packed %v", at)
	}
}
