package llb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// inlineCacheKey is the part of a config that BuildKit's inline cache adds. It changes nothing that a
// container starts with.
const inlineCacheKey = "moby.buildkit.cache.v0"

// Verify returns an error if manifest and config are not those of this image, byte for byte. It takes the
// layers as the manifest lists them, and their diff IDs from the config. So it shows what the image starts
// with and how many layers it has, but not what is in the layers. An inline cache in the config is left out.
func (i Image) Verify(ctx context.Context, manifest, config []byte, annotations map[string]string) error {
	var m ocispecs.Manifest
	var c ocispecs.Image
	if err := json.Unmarshal(manifest, &m); err != nil {
		return fmt.Errorf("read its manifest: %w", err)
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return fmt.Errorf("read its config: %w", err)
	}
	if len(m.Layers) != len(c.RootFS.DiffIDs) {
		return fmt.Errorf("its config has %d layers, its manifest %d", len(c.RootFS.DiffIDs), len(m.Layers))
	}
	if _, names, err := i.config(); err != nil {
		return err
	} else if len(names) != len(m.Layers) {
		return fmt.Errorf("it has %d layers, and this graph makes %d", len(m.Layers), len(names))
	}
	if !maps.Equal(m.Annotations, annotations) {
		return errors.New("its annotations are not those of this graph")
	}
	layers := make([]StoredLayer, len(m.Layers))
	for n, l := range m.Layers {
		layers[n] = StoredLayer{l, c.RootFS.DiffIDs[n]}
	}
	cache, err := inlineCache(config)
	if err != nil {
		return err
	}
	want, err := i.assemble(ctx, layers, annotations, cache)
	if err != nil {
		return err
	}
	switch {
	case want.Result.Images[0].Config != digest.FromBytes(config):
		return errors.New("its config is not that of this graph")
	case want.Result.Digest != digest.FromBytes(manifest):
		return errors.New("its manifest is not that of this graph")
	}
	return nil
}

// VerifyIndex returns an error if index is not that of the images, byte for byte. manifests has the manifest
// of each image.
func VerifyIndex(index []byte, images []Image, manifests [][]byte, annotations map[string]string) error {
	want := ocispecs.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageIndex,
		Annotations: annotations}
	for n, m := range manifests {
		want.Manifests = append(want.Manifests, ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageManifest,
			Digest: digest.FromBytes(m), Size: int64(len(m)), Platform: &images[n].Platform})
	}
	data, err := json.MarshalIndent(want, "", "  ")
	if err != nil {
		return fmt.Errorf("write its index: %w", err)
	}
	if !bytes.Equal(data, index) {
		return errors.New("its index is not that of this graph")
	}
	return nil
}

// inlineCache returns the part of a config that an inline cache adds, if there is one.
func inlineCache(config []byte) (map[string]json.RawMessage, error) {
	all := map[string]json.RawMessage{}
	if err := json.Unmarshal(config, &all); err != nil {
		return nil, fmt.Errorf("read its config: %w", err)
	}
	if cache, ok := all[inlineCacheKey]; ok {
		return map[string]json.RawMessage{inlineCacheKey: cache}, nil
	}
	return nil, nil
}

// WithoutInlineCache returns an image config without the part that an inline cache adds.
func WithoutInlineCache(config []byte) ([]byte, error) {
	all := map[string]json.RawMessage{}
	if err := json.Unmarshal(config, &all); err != nil {
		return nil, fmt.Errorf("read image config: %w", err)
	}
	delete(all, inlineCacheKey)
	plain, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("write image config: %w", err)
	}
	return plain, nil
}
