package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// Image is what a registry knows about a reference. No byte of a layer is read for it.
type Image struct {
	Ref         string            `json:"ref"`                   // pinned: "host/ray@sha256:…"
	Digest      digest.Digest     `json:"digest"`                // of the manifest or index
	MediaType   string            `json:"media_type"`            // of the manifest or index
	Annotations map[string]string `json:"annotations,omitempty"` // of the manifest or index
	Platforms   []PlatformImage   `json:"platforms"`             // one for each platform, in the index's order
	Raw         []byte            `json:"-"`                     // the manifest or index as it is stored

	Attached map[string][]Attachment `json:"-"` // of the types that were asked for, each in the registry's order
}

// PlatformImage is the image of one platform.
type PlatformImage struct {
	Platform ocispecs.Platform `json:"platform"`
	Digest   digest.Digest     `json:"digest"` // of its manifest
	// of config and layers as stored, in bytes: what an empty node pulls
	Size        int64                `json:"size"`
	Created     *time.Time           `json:"created,omitempty"`
	BaseName    string               `json:"base_name,omitempty"`   // annotation org.opencontainers.image.base.name
	BaseDigest  string               `json:"base_digest,omitempty"` // annotation org.opencontainers.image.base.digest
	Annotations map[string]string    `json:"annotations,omitempty"`
	Config      ocispecs.ImageConfig `json:"config"`
	Layers      []Layer              `json:"layers"`

	RawManifest, RawConfig []byte `json:"-"` // as they are stored
}

// Layer is one layer of an image, oldest first.
type Layer struct {
	Digest    digest.Digest `json:"digest"` // of the blob, as stored
	DiffID    digest.Digest `json:"diff_id"`
	MediaType string        `json:"media_type"`
	Size      int64         `json:"size"`              // of the blob, in bytes
	History   string        `json:"history,omitempty"` // what the image's history says made it

	Annotations map[string]string `json:"annotations,omitempty"` // of its descriptor
}

// Inspect reads what ref names: the manifests and configs of all its platforms, and what is attached to it
// of the given artifact types.
func (c *Client) Inspect(ctx context.Context, ref string, artifactTypes ...string) (Image, error) {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	parsed, named, err := c.parse(ref)
	if err != nil {
		return Image{}, err
	}
	host := parsed.Context().RegistryStr()
	desc, err := c.get(ctx, parsed, named, false)
	if err != nil {
		return Image{}, c.fail("inspect", ref, host, err)
	}
	found, err := describe(ref, desc)
	if err != nil {
		return Image{}, err
	}
	all := Image{Ref: found.Ref, Digest: found.Digest, MediaType: found.MediaType, Annotations: found.Annotations,
		Raw: desc.Manifest}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		all.Platforms, err = inspectPlatforms(desc)
		return c.fail("inspect", ref, host, err)
	})
	if len(artifactTypes) > 0 {
		g.Go(func() (err error) {
			all.Attached, err = c.attached(gctx, parsed.Context().Digest(desc.Digest.String()), artifactTypes...)
			return c.fail("read attachments of", ref, host, err)
		})
	}
	if err := g.Wait(); err != nil {
		return Image{}, err
	}
	return all, nil
}

func inspectPlatforms(desc *remote.Descriptor) ([]PlatformImage, error) {
	images, err := platformImages(desc)
	if err != nil {
		return nil, err
	}
	var all []PlatformImage
	for _, image := range images {
		one, err := inspectImage(image)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

func inspectImage(image platformImage) (PlatformImage, error) {
	manifest, err := image.image.Manifest()
	if err != nil {
		return PlatformImage{}, err
	}
	raw, err := image.image.RawConfigFile()
	if err != nil {
		return PlatformImage{}, err
	}
	stored, err := image.image.RawManifest()
	if err != nil {
		return PlatformImage{}, err
	}
	var config ocispecs.Image
	if err := json.Unmarshal(raw, &config); err != nil {
		return PlatformImage{}, fmt.Errorf("read image config %s: %w", manifest.Config.Digest, err)
	}
	one := PlatformImage{
		Platform:    image.platform,
		Digest:      image.digest,
		Size:        manifest.Config.Size,
		Created:     config.Created,
		BaseName:    manifest.Annotations[ocispecs.AnnotationBaseImageName],
		BaseDigest:  manifest.Annotations[ocispecs.AnnotationBaseImageDigest],
		Annotations: manifest.Annotations,
		Config:      config.Config,
		Layers:      layersOf(manifest, config),
		RawManifest: stored,
		RawConfig:   raw,
	}
	for _, layer := range one.Layers {
		one.Size += layer.Size
	}
	return one, nil
}

// layersOf joins a manifest's layers with the config's diff IDs and those entries of its history that made a layer.
func layersOf(manifest *v1.Manifest, config ocispecs.Image) []Layer {
	var history []string
	for _, h := range config.History {
		if !h.EmptyLayer {
			history = append(history, h.CreatedBy)
		}
	}
	layers := make([]Layer, 0, len(manifest.Layers))
	for i, l := range manifest.Layers {
		layer := Layer{Digest: digest.Digest(l.Digest.String()), MediaType: string(l.MediaType), Size: l.Size,
			Annotations: l.Annotations}
		if i < len(config.RootFS.DiffIDs) {
			layer.DiffID = config.RootFS.DiffIDs[i]
		}
		if i < len(history) {
			layer.History = history[i]
		}
		layers = append(layers, layer)
	}
	return layers
}
