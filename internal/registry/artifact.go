package registry

import (
	"context"
	"fmt"
	"net/http"

	"github.com/distribution/reference"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Stored is a manifest or index as it is stored.
type Stored struct {
	Ref       string // the name that was asked for, pinned: "host/ray@sha256:…"
	Digest    digest.Digest
	MediaType string
	Data      []byte
}

// Manifest reads the manifest or index that ref names. The bool is false if the registry has no such tag or
// repository.
func (c *Client) Manifest(ctx context.Context, ref string) (Stored, bool, error) {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	parsed, named, err := c.parse(ref)
	if err != nil {
		return Stored{}, false, err
	}
	desc, err := c.get(ctx, parsed, named, false)
	if statusOf(err) == http.StatusNotFound {
		return Stored{}, false, nil
	}
	if err != nil {
		return Stored{}, false, c.fail("look up", ref, parsed.Context().RegistryStr(), err)
	}
	pinned, err := Pin(ref, desc.Digest.String())
	return Stored{Ref: pinned, Digest: digest.Digest(desc.Digest.String()), MediaType: string(desc.MediaType),
		Data: desc.Manifest}, err == nil, err
}

// SmallBlob reads a blob of the repository of ref, and checks its digest. It is an error if the blob's size is
// more than most, in bytes.
func (c *Client) SmallBlob(ctx context.Context, ref string, d ocispecs.Descriptor, most int64) ([]byte, error) {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	parsed, _, err := c.parse(ref)
	if err != nil {
		return nil, err
	}
	if d.Size > most {
		return nil, fmt.Errorf("read blob %s of %q: it has %d bytes, more than the %d that are read", d.Digest, ref,
			d.Size, most)
	}
	hash, err := v1.NewHash(d.Digest.String())
	if err != nil {
		return nil, fmt.Errorf("read blob of %q: %w", ref, err)
	}
	data, err := c.blob(ctx, parsed.Context(), v1.Descriptor{Digest: hash, Size: d.Size})
	if err != nil {
		return nil, c.fail("read attachments of", ref, parsed.Context().RegistryStr(), err)
	}
	if got := digest.FromBytes(data); got != d.Digest {
		return nil, fmt.Errorf("read blob %s of %q: its bytes have digest %s: run again", d.Digest, ref, got)
	}
	return data, nil
}

// Referrers lists the manifests of artifactType whose subject is the image ref (by digest), in the registry's
// order. "" means all types. To have none is no error.
func (c *Client) Referrers(ctx context.Context, ref, artifactType string) ([]ocispecs.Descriptor, error) {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	parsed, _, err := c.parse(ref)
	if err != nil {
		return nil, err
	}
	subject := parsed.Context().Digest(parsed.Identifier())
	fail := func(err error) error {
		return c.fail("read attachments of", ref, parsed.Context().RegistryStr(), err)
	}
	index, err := remote.Referrers(subject, remote.Reuse(c.puller), remote.WithContext(ctx))
	if err != nil {
		return nil, fail(err)
	}
	list, err := index.IndexManifest()
	if err != nil {
		return nil, fail(err)
	}
	var all []ocispecs.Descriptor
	for _, d := range list.Manifests {
		if artifactType == "" || d.ArtifactType == artifactType {
			all = append(all, ocispecs.Descriptor{MediaType: string(d.MediaType), ArtifactType: d.ArtifactType,
				Digest: digest.Digest(d.Digest.String()), Size: d.Size, Annotations: d.Annotations})
		}
	}
	return all, nil
}

// Store stores a manifest under ref (a tag or its digest), after the blobs that it names.
func (c *Client) Store(ctx context.Context, ref, mediaType string, manifest []byte, blobs ...[]byte) error {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	parsed, _, err := c.parse(ref)
	if err != nil {
		return err
	}
	t := c.target(parsed.Context())
	t.p.addBlobs(blobs...)
	if err = t.p.fill(ctx, t, false); err == nil {
		m := manifestToPush{ocispecs.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(manifest),
			Size: int64(len(manifest))}, manifest}
		_, err = t.putManifest(ctx, m, parsed.Identifier())
	}
	return c.fail(opPush, ref, parsed.Context().RegistryStr(), err)
}

// Tagged replaces the tag or digest of ref by tag: "host/ray:1" and "2" give "host/ray:2".
func Tagged(ref, tag string) (string, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", fmt.Errorf("parse image reference %q: %w: write it as HOST/NAME:TAG, in lower case", ref, err)
	}
	return reference.FamiliarName(named) + ":" + tag, nil
}

// FullName returns ref in full: "ray" gives "docker.io/library/ray:latest". A digest stays.
func FullName(ref string) (string, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", fmt.Errorf("parse image reference %q: %w: write it as HOST/NAME:TAG, in lower case", ref, err)
	}
	return reference.TagNameOnly(named).String(), nil
}

// Repository returns the repository of ref with its registry: "docker.io/library/ray".
func Repository(ref string) (string, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", fmt.Errorf("parse image reference %q: %w: write it as HOST/NAME:TAG, in lower case", ref, err)
	}
	return named.Name(), nil
}

// DigestOf returns the digest of ref ("host/ray@sha256:…"). It is an error if ref is named by a tag.
func DigestOf(ref string) (digest.Digest, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", fmt.Errorf("parse image reference %q: %w: write it as HOST/NAME:TAG, in lower case", ref, err)
	}
	pinned, ok := named.(reference.Digested)
	if !ok {
		return "", fmt.Errorf("read digest of image %q: it has none: write it as HOST/NAME@sha256:…", ref)
	}
	return pinned.Digest(), nil
}
