package registry

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Pinned is a reference resolved to digests, for one platform.
type Pinned struct {
	Ref       string            // full and pinned: "docker.io/library/ubuntu:22.04@sha256:…"
	Digest    digest.Digest     // of what the reference names: an index, or the platform's manifest itself
	MediaType string            // of what the reference names
	Manifest  digest.Digest     // of the platform's manifest
	Platform  ocispecs.Platform // the platform as the registry spells it
	Config    []byte            // the image config, as JSON
	Layers    []digest.Digest   // of the platform's layers as stored, oldest first
}

// Resolve pins ref for platform p. If the image has no such platform, the error lists those it has.
func (c *Client) Resolve(ctx context.Context, ref string, p ocispecs.Platform) (Pinned, error) {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	parsed, named, err := c.parse(ref)
	if err != nil {
		return Pinned{}, err
	}
	host := parsed.Context().RegistryStr()
	desc, err := c.get(ctx, parsed, named, true)
	if err != nil {
		return Pinned{}, c.fail("pin", ref, host, err)
	}
	pinned, err := c.pin(desc, p)
	if err != nil {
		return Pinned{}, c.fail("pin", ref, host, err)
	}
	full, err := withDigest(named, pinned.Digest)
	if err != nil {
		return Pinned{}, fmt.Errorf("pin %q: %w", ref, err)
	}
	pinned.Ref = full
	return pinned, nil
}

func (c *Client) pin(desc *remote.Descriptor, p ocispecs.Platform) (Pinned, error) {
	images, err := platformImages(desc)
	if err != nil {
		return Pinned{}, err
	}
	wanted := platforms.OnlyStrict(platforms.Normalize(p))
	var has []string
	for _, image := range images {
		if !wanted.Match(image.platform) {
			has = append(has, platforms.Format(image.platform))
			continue
		}
		config, err := image.image.RawConfigFile()
		if err != nil {
			return Pinned{}, err
		}
		manifest, err := image.image.Manifest()
		if err != nil {
			return Pinned{}, err
		}
		var layers []digest.Digest
		for _, l := range manifest.Layers {
			layers = append(layers, digest.Digest(l.Digest.String()))
		}
		return Pinned{
			Layers:    layers,
			Digest:    digest.Digest(desc.Digest.String()),
			MediaType: string(desc.MediaType),
			Manifest:  image.digest,
			Platform:  image.platform,
			Config:    config,
		}, nil
	}
	return Pinned{}, &platformError{Platform: platforms.Format(p), Has: has}
}

// platformError says that an image does not exist for a platform.
type platformError struct {
	Platform string   // what was asked for: "linux/arm64"
	Has      []string // what there is
}

func (e *platformError) Error() string {
	return fmt.Sprintf("no image for platform %s: it has %s", e.Platform, strings.Join(e.Has, ", "))
}

// platformImage is one image that a reference names.
type platformImage struct {
	platform ocispecs.Platform
	digest   digest.Digest
	image    v1.Image
}

// platformImages lists the images under a descriptor: those of an index, in its order and without
// attestations, or the one.
func platformImages(desc *remote.Descriptor) ([]platformImage, error) {
	if !desc.MediaType.IsIndex() {
		image, err := desc.Image()
		if err != nil {
			return nil, err
		}
		one, err := describeImage(image, desc.Digest, nil)
		return []platformImage{one}, err
	}
	index, err := desc.ImageIndex()
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var all []platformImage
	for _, child := range manifest.Manifests {
		// BuildKit's attestations are children of platform unknown/unknown.
		if !child.MediaType.IsImage() || child.Platform != nil && child.Platform.OS == "unknown" {
			continue
		}
		image, err := index.Image(child.Digest)
		if err != nil {
			return nil, err
		}
		one, err := describeImage(image, child.Digest, child.Platform)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// describeImage finds an image's platform: in its index entry, else in its config.
func describeImage(image v1.Image, hash v1.Hash, p *v1.Platform) (platformImage, error) {
	if p == nil {
		config, err := image.ConfigFile()
		if err != nil {
			return platformImage{}, err
		}
		p = config.Platform()
		if p == nil {
			p = &v1.Platform{}
		}
	}
	return platformImage{
		platform: platforms.Normalize(ocispecs.Platform{
			OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion,
		}),
		digest: digest.Digest(hash.String()),
		image:  image,
	}, nil
}

// withDigest writes name[:tag]@digest in full.
func withDigest(named reference.Named, d digest.Digest) (string, error) {
	if canonical, ok := named.(reference.Canonical); ok {
		return canonical.String(), nil
	}
	canonical, err := reference.WithDigest(named, d)
	if err != nil {
		return "", err
	}
	return canonical.String(), nil
}
