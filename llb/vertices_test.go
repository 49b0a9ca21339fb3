package llb_test

import (
	"slices"
	"testing"

	digest "github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/llb"
)

func TestVertices(t *testing.T) {
	t.Parallel()
	base := llb.From("docker.io/library/ubuntu:22.04@sha256:" + digest.FromString("x").Encoded())
	ran := base.Run(llb.Exec{Title: "[apt] install", Args: []string{"true"}})
	p, err := llb.ParsePlatform("linux/amd64")
	if err != nil {
		t.Fatal(err)
	}
	def, err := llb.Image{Platform: p, Base: base, BaseLayers: []string{"base"},
		Layers: []llb.Layer{{Name: "apt", Stage: llb.Diff("[apt] layer", base, ran)}}}.Marshal(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	all, err := def.Vertices()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[digest.Digest]bool{}
	var kinds []string
	for _, v := range all {
		kinds = append(kinds, v.Kind)
		for _, in := range v.Inputs {
			if !seen[in] {
				t.Errorf("%s %q comes before its input %s", v.Kind, v.Name, in)
			}
		}
		seen[v.Digest] = true
		if v.Kind == "run" && (v.Layer != "apt" || v.Name != "install") {
			t.Errorf("run is %q of layer %q", v.Name, v.Layer)
		}
	}
	slices.Sort(kinds)
	if want := []string{"diff", "merge", "run", "source"}; !slices.Equal(kinds, want) {
		t.Errorf("kinds %v, want %v", kinds, want)
	}
}
