package layers_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/internal/fakebuilder"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// emptyBase is the base image of a builder that runs nothing. It has one layer without files.
func emptyBase(context.Context, string, v1.Platform) (v1.Image, error) {
	noFiles := static.NewLayer(make([]byte, 1024), types.OCIUncompressedLayer) // the end of a tar archive
	return mutate.AppendLayers(empty.Image, noFiles)
}

// namedLayers gives layers that have only their keys.
type namedLayers map[digest.Digest][]byte

// Layer implements llb.LayerSource.
func (n namedLayers) Layer(_ context.Context, key digest.Digest, _ bool) (llb.StoredLayer, error) {
	var unpacked, packed bytes.Buffer
	w := tar.NewWriter(&unpacked)
	z, err := gzip.NewWriterLevel(&packed, gzip.NoCompression)
	err = errors.Join(err, w.WriteHeader(&tar.Header{Name: key.Encoded(), Mode: 0o644}), w.Close())
	if err != nil {
		return llb.StoredLayer{}, err
	}
	_, err = z.Write(unpacked.Bytes())
	d := llb.StoredLayer{DiffID: digest.FromBytes(unpacked.Bytes())}
	err = errors.Join(err, z.Close())
	d.Descriptor = ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageLayerGzip,
		Digest: digest.FromBytes(packed.Bytes()), Size: int64(packed.Len())}
	n[d.Digest] = packed.Bytes()
	return d, err
}

// OpenLayer implements llb.LayerSource.
func (n namedLayers) OpenLayer(d digest.Digest) (llb.LayerReader, error) {
	return struct {
		io.ReaderAt
		io.Closer
	}{bytes.NewReader(n[d]), io.NopCloser(nil)}, nil
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
	result, err := b.Build(t.Context(), graph.Images, llb.Session{Layers: namedLayers{}},
		llb.BuildOptions{Compression: graph.Compression, Annotations: graph.Annotations})
	if err != nil {
		t.Fatal(err)
	}
	const want = "sha256:a4c760ecf9d0705f7e761c2be0516cd5816012478e4cc165219a52eaa6f66308"
	if result.Digest != want {
		t.Errorf("the example's image has the digest %s, and had %s", result.Digest, want)
	}
}
