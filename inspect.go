package raybuild

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/layers"
)

// Inspection describes an image in a registry. Its JSON is that of "raybuild inspect --json".
type Inspection struct {
	Ref         string            `json:"ref"`                   // by digest: "host/ray@sha256:…"
	Digest      digest.Digest     `json:"digest"`                // of the manifest or index
	MediaType   string            `json:"media_type"`            // of the manifest or index
	Annotations map[string]string `json:"annotations,omitempty"` // of the manifest or index
	Platforms   []ImagePlatform   `json:"platforms"`             // in the index's order
	Graph       string            `json:"graph,omitempty"`       // digest of the graph that the image was built from
	Lock        string            `json:"lock,omitempty"`        // the image's lock, as text
	// the recipe that the image carries, in JSON with defaults written out
	Recipe json.RawMessage `json:"recipe,omitempty"`
}

// ImagePlatform is the image of one platform.
type ImagePlatform struct {
	Platform ocispecs.Platform `json:"platform"`
	Digest   digest.Digest     `json:"digest"` // of the platform's manifest
	// Size is that of config and layers as stored, in bytes: what an empty node pulls.
	Size        int64                `json:"size"`
	Created     *time.Time           `json:"created,omitempty"`
	BaseName    string               `json:"base_name,omitempty"`   // annotation org.opencontainers.image.base.name
	BaseDigest  string               `json:"base_digest,omitempty"` // annotation org.opencontainers.image.base.digest
	Annotations map[string]string    `json:"annotations,omitempty"`
	Config      ocispecs.ImageConfig `json:"config"`
	Layers      []ImageLayer         `json:"layers"` // oldest first
}

// ImageLayer is one layer of an image.
type ImageLayer struct {
	Digest    digest.Digest `json:"digest"` // of the blob, as stored
	DiffID    digest.Digest `json:"diff_id"`
	MediaType string        `json:"media_type"`
	Size      int64         `json:"size"`              // of the blob, in bytes
	History   string        `json:"history,omitempty"` // the layer's text in the image's history

	Annotations map[string]string `json:"annotations,omitempty"` // of its descriptor
}

// Inspect reads what a registry knows of an image. It pulls no layer.
func Inspect(ctx context.Context, ref string, o Options) (_ *Inspection, err error) {
	defer public(ctx, &err)
	e := newEnv(o)
	c := e.client()
	image, err := c.Inspect(ctx, ref)
	if err != nil {
		return nil, err
	}
	locks, err := attachedTo(ctx, c, &image, lockType, layers.LockAnnotation)
	if errors.Is(err, errOtherDocument) {
		e.warn("the lock of %s is not shown: %v", image.Ref, err)
	} else if err != nil {
		return nil, err
	}
	out := &Inspection{Ref: image.Ref, Digest: image.Digest, MediaType: image.MediaType,
		Annotations: image.Annotations, Graph: image.Annotations[layers.GraphAnnotation]}
	if len(locks) > 0 {
		out.Lock = string(locks[len(locks)-1].Data)
	}
	source, err := sourceOf(ctx, c, &image)
	if errors.Is(err, errOtherDocument) {
		e.warn("the recipe of %s is not shown: %v", image.Ref, err)
	} else if err != nil {
		return nil, err
	}
	if source != nil {
		out.Recipe = source.Recipe
	}
	for _, p := range image.Platforms {
		platform := ImagePlatform{Platform: p.Platform, Digest: p.Digest, Size: p.Size, Created: p.Created,
			BaseName: p.BaseName, BaseDigest: p.BaseDigest, Annotations: p.Annotations, Config: p.Config,
			Layers: []ImageLayer{}}
		for _, l := range p.Layers {
			platform.Layers = append(platform.Layers, ImageLayer(l))
		}
		out.Platforms = append(out.Platforms, platform)
	}
	return out, nil
}
