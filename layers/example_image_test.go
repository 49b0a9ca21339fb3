package layers_test

import (
	"context"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/raybuild/raybuild/internal/fakebuilder"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// emptyBase is the base image of a builder that runs nothing. It has one layer without files.
func emptyBase(context.Context, string, v1.Platform) (v1.Image, error) {
	noFiles := static.NewLayer(make([]byte, 1024), types.OCIUncompressedLayer) // the end of a tar archive
	return mutate.AppendLayers(empty.Image, noFiles)
}

// TestExampleImage pins the digest of a manifest: of the config, the history and the annotations that raybuild writes,
// and of layers that have only the digests of the operations that make them.
func TestExampleImage(t *testing.T) {
	t.Parallel()
	b, err := llb.Connect(t.Context(), fakebuilder.Start(t, fakebuilder.Options{Pull: emptyBase}).Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	recipe, lock := load()
	graph, err := layers.NewGraph(t.Context(), recipe, lock, layers.GraphOptions{})
	if err != nil {
		t.Fatal(err)
	}
	result, err := b.Build(t.Context(), graph.Images, llb.Session{},
		llb.BuildOptions{Compression: graph.Compression, Annotations: graph.Annotations})
	if err != nil {
		t.Fatal(err)
	}
	const want = "sha256:6da39eb765b0420452714185b71c274036047479970a16ecdd68e3192f10d89b"
	if result.Digest != want {
		t.Errorf("the example's image has the digest %s, and had %s", result.Digest, want)
	}
}
