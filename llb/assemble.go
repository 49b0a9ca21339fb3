package llb

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"strings"

	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// StoredLayer is a layer as a registry has it.
type StoredLayer struct {
	ocispecs.Descriptor
	// DiffID is the digest of the unpacked layer.
	DiffID digest.Digest
}

// Assembled is an image that [Image.Assemble] made of stored layers, without a builder.
type Assembled struct {
	// Result is what a build of the image gives, but without steps.
	Result *Result
	// Docs are the manifest and the config by digest.
	Docs map[digest.Digest][]byte
}

// Assemble writes the manifest and the config of an image whose layers exist already. layers has one
// for each of BaseLayers and Layers, in that order. The bytes are those that BuildKit writes for the
// same layers (exporter/containerimage/writer.go of v0.34). So the image has the same digest as if a
// builder had made it.
func (i Image) Assemble(ctx context.Context, layers []StoredLayer, annotations map[string]string) (*Assembled, error) {
	return i.assemble(ctx, layers, annotations, nil)
}

// assemble is Assemble with further keys of the config.
func (i Image) assemble(ctx context.Context, layers []StoredLayer, annotations map[string]string,
	more map[string]json.RawMessage) (*Assembled, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	dt, names, err := i.config()
	if err != nil {
		return nil, err
	}
	if len(names) != len(layers) {
		return nil, fmt.Errorf("assemble image: %d layers for a graph of %d", len(layers), len(names))
	}
	rootfs := ocispecs.RootFS{Type: "layers"}
	m := ocispecs.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageManifest,
		Annotations: annotations}
	for _, l := range layers {
		rootfs.DiffIDs = append(rootfs.DiffIDs, l.DiffID)
		d := ocispecs.Descriptor{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size,
			Annotations: outsideAnnotations(l.Annotations)}
		m.Layers = append(m.Layers, d)
	}
	config := map[string]json.RawMessage{}
	if err := json.Unmarshal(dt, &config); err != nil {
		return nil, fmt.Errorf("assemble image: %w", err)
	}
	if config["rootfs"], err = json.Marshal(rootfs); err != nil {
		return nil, fmt.Errorf("assemble image: %w", err)
	}
	maps.Copy(config, more)
	if dt, err = json.Marshal(config); err != nil {
		return nil, fmt.Errorf("assemble image: %w", err)
	}
	m.Config = ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageConfig, Digest: digest.FromBytes(dt),
		Size: int64(len(dt))}
	manifest, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("assemble image: %w", err)
	}
	out := &Assembled{Docs: map[digest.Digest][]byte{m.Config.Digest: dt, digest.FromBytes(manifest): manifest}}
	r := ImageResult{Platform: i.Platform, Manifest: digest.FromBytes(manifest), Config: m.Config.Digest, names: names}
	if err := r.layers(m); err != nil {
		return nil, err
	}
	out.Result = &Result{Digest: r.Manifest, Images: []ImageResult{r}}
	return out, nil
}

// outsideAnnotations are the annotations of a layer without those that only a builder uses.
func outsideAnnotations(in map[string]string) map[string]string {
	out := maps.Clone(in)
	maps.DeleteFunc(out, func(k, _ string) bool {
		return k == "containerd.io/uncompressed" || k == "buildkit/createdat" ||
			strings.HasPrefix(k, "containerd.io/distribution.source.")
	})
	if len(out) == 0 {
		return nil
	}
	return out
}

// Layers gives the layers of an image of one platform, with their diff IDs. If the builder serves no
// content, the error is os.ErrNotExist.
func (p *Content) Layers() ([]StoredLayer, error) {
	if len(p.Result.Images) != 1 {
		return nil, fmt.Errorf("read layers of image %s: it has %d platforms, not one", p.Result.Digest,
			len(p.Result.Images))
	}
	i := p.Result.Images[0]
	var m ocispecs.Manifest
	var config ocispecs.Image
	for d, into := range map[digest.Digest]any{i.Manifest: &m, i.Config: &config} {
		if p.docs[d] == nil {
			return nil, fmt.Errorf("read blob %s: %w", d, os.ErrNotExist)
		}
		if err := json.Unmarshal(p.docs[d], into); err != nil {
			return nil, fmt.Errorf("read blob %s: %w", d, err)
		}
	}
	if len(config.RootFS.DiffIDs) != len(m.Layers) {
		return nil, fmt.Errorf("read image %s: its config has %d layers, its manifest %d", p.Result.Digest,
			len(config.RootFS.DiffIDs), len(m.Layers))
	}
	out := make([]StoredLayer, len(m.Layers))
	for n, l := range m.Layers {
		out[n] = StoredLayer{l, config.RootFS.DiffIDs[n]}
	}
	return out, nil
}
