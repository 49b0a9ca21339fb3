package raybuild

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/internal/bundle"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/signing"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// bundledImage is an image that a bundle gets.
type bundledImage struct {
	bundle.Image
	from  string                   // where its blobs are: a reference by digest
	blobs []ocispecs.Descriptor    // manifests, configs and layers, each once
	docs  map[digest.Digest][]byte // its manifests and indexes
}

// findImages reads the manifests of all images of the bundle.
func (b *bundling) findImages(ctx context.Context) ([]bundledImage, error) {
	var all []bundledImage
	seen := map[string]bool{}
	for _, name := range b.p.platform {
		locked := b.p.locked()[name]
		if locked == nil {
			continue
		}
		platform, err := llb.ParsePlatform(name)
		if err != nil {
			return nil, err
		}
		for _, base := range []layers.LockImage{locked.Base, locked.Tool} {
			key := base.Reference + "@" + base.Digest.String()
			if seen[key] {
				continue
			}
			seen[key] = true
			ref, err := registry.Pin(base.Reference, base.Digest.String())
			if err != nil {
				return nil, err
			}
			image, err := b.p.readBundled(ctx, base.Reference, ref, bundle.RoleBase)
			if err != nil {
				return nil, err
			}
			image.Manifest.Platform = &platform
			all = append(all, image)
		}
	}
	if b.p.bundled == "" {
		return all, nil
	}
	finished, err := b.p.finishedImages(ctx)
	return append(all, finished...), err
}

// readBundled reads the manifests of an image. name is how the bundle calls it, and ref is by digest.
func (p *Project) readBundled(ctx context.Context, name, ref, role string) (bundledImage, error) {
	full, err := registry.FullName(name)
	if err != nil {
		return bundledImage{}, err
	}
	root, err := registry.DigestOf(ref)
	if err != nil {
		return bundledImage{}, err
	}
	i := bundledImage{Image: bundle.Image{Ref: full, Role: role}, from: ref, docs: map[digest.Digest][]byte{}}
	i.Manifest, err = p.collect(ctx, &i, root)
	return i, err
}

// collect notes a manifest or index and all below it.
func (p *Project) collect(ctx context.Context, i *bundledImage, d digest.Digest) (ocispecs.Descriptor, error) {
	ref, err := registry.Pin(i.from, d.String())
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	found, ok, err := p.registry.Manifest(ctx, ref)
	if err == nil && !ok {
		err = os.ErrNotExist
	}
	if err != nil {
		return ocispecs.Descriptor{}, fmt.Errorf("read manifest %q: %w", ref, err)
	}
	var m struct {
		ArtifactType string                `json:"artifactType"`
		Manifests    []ocispecs.Descriptor `json:"manifests"`
		Config       *ocispecs.Descriptor  `json:"config"`
		Layers       []ocispecs.Descriptor `json:"layers"`
	}
	if err := json.Unmarshal(found.Data, &m); err != nil {
		return ocispecs.Descriptor{}, fmt.Errorf("read manifest %q: %w", ref, err)
	}
	at := descriptorOf(found.MediaType, found.Data)
	at.ArtifactType = m.ArtifactType
	if at.Digest != d {
		return at, fmt.Errorf("read manifest %q: its bytes have digest %s", ref, at.Digest)
	}
	i.docs[d] = found.Data
	i.add(at)
	for _, child := range m.Manifests {
		if i.docs[child.Digest] != nil {
			continue
		}
		if _, err := p.collect(ctx, i, child.Digest); err != nil {
			return at, err
		}
	}
	if m.Config != nil {
		i.add(*m.Config)
	}
	for _, l := range m.Layers {
		i.add(l)
	}
	return at, nil
}

func (i *bundledImage) add(d ocispecs.Descriptor) {
	for _, have := range i.blobs {
		if have.Digest == d.Digest {
			return
		}
	}
	i.blobs = append(i.blobs, d)
}

// finishedImages are the image that the bundle is made for, with what is attached to it, and what cosign keeps about it
// by tags.
func (p *Project) finishedImages(ctx context.Context) ([]bundledImage, error) {
	image, err := p.readBundled(ctx, p.bundled, p.ofImage.Ref, bundle.RoleImage)
	if err != nil {
		return nil, err
	}
	var manifests []digest.Digest
	for _, d := range image.blobs {
		if image.docs[d.Digest] != nil {
			manifests = append(manifests, d.Digest)
		}
	}
	var signatures []bundledImage
	for _, d := range manifests {
		if err := p.collectAttached(ctx, &image, d); err != nil {
			return nil, err
		}
		signed, err := p.signaturesOf(ctx, d)
		if err != nil {
			return nil, err
		}
		signatures = append(signatures, signed...)
	}
	return append([]bundledImage{image}, signatures...), nil
}

// signaturesOf are what cosign keeps by tags about a manifest of the bundle's image.
func (p *Project) signaturesOf(ctx context.Context, d digest.Digest) (all []bundledImage, err error) {
	ref, err := registry.Pin(p.bundled, d.String())
	if err != nil {
		return nil, err
	}
	tags, err := signing.Tags(ref)
	if err != nil {
		return nil, err
	}
	for _, tag := range tags {
		found, ok, err := p.registry.Manifest(ctx, tag)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		signature, err := p.readBundled(ctx, tag, found.Ref, bundle.RoleImage)
		if err != nil {
			return nil, err
		}
		all = append(all, signature)
	}
	return all, nil
}

// collectAttached notes what is attached to a manifest of an image.
func (p *Project) collectAttached(ctx context.Context, i *bundledImage, subject digest.Digest) error {
	ref, err := registry.Pin(i.from, subject.String())
	if err != nil {
		return err
	}
	found, err := p.registry.Referrers(ctx, ref, "")
	if err != nil {
		return err
	}
	for _, d := range found {
		if i.docs[d.Digest] != nil {
			continue
		}
		at, err := p.collect(ctx, i, d.Digest)
		if err != nil {
			return err
		}
		at.ArtifactType = d.ArtifactType
		i.Attached = append(i.Attached, at)
	}
	return nil
}

// openBundled opens a blob of an image.
func (p *Project) openBundled(ctx context.Context, i bundledImage, d ocispecs.Descriptor) (io.ReadCloser, error) {
	if data, ok := i.docs[d.Digest]; ok {
		return io.NopCloser(bytes.NewReader(data)), nil
	}
	return p.registry.OpenBlob(ctx, i.from, d.Digest, 0)
}
