package registry

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// maxAttachment bounds what is read of an attachment, in bytes: a lock of a large image has some hundred kilobytes.
const maxAttachment = 64 << 20

// Attachment is a document that a registry keeps with an image.
type Attachment struct {
	Digest    digest.Digest // of the document
	MediaType string
	Data      []byte
}

// Document is what Attach stores with an image.
type Document struct {
	ArtifactType string // what it is to the image, such as "application/vnd.raybuild.lock.v1+yaml"
	MediaType    string // of Data; default: ArtifactType
	Data         []byte
}

// Attach stores documents with the image subject (a tag or a digest), each as an OCI referrer, and gives the referrers' digests in
// their order. On a registry without the referrers API the fallback tag of the OCI distribution specification is kept. The same
// document attached again is the same referrer.
func (c *Client) Attach(ctx context.Context, subject string, docs ...Document) ([]digest.Digest, error) {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	parsed, _, err := c.parse(subject)
	if err != nil {
		return nil, err
	}
	out, err := c.attach(ctx, parsed, docs)
	return out, c.fail("attach to", subject, parsed.Context().RegistryStr(), err)
}

func (c *Client) attach(ctx context.Context, subject name.Reference, docs []Document) ([]digest.Digest, error) {
	repo := subject.Context()
	head, err := c.puller.Get(ctx, subject)
	if err != nil {
		return nil, err
	}
	manifests := make([]rawManifest, len(docs))
	blobs := map[v1.Hash]v1.Layer{} // each once: configs are all alike
	for i, d := range docs {
		d.MediaType = cmp.Or(d.MediaType, d.ArtifactType)
		// The config is empty and carries the artifact type too: registries that predate artifactType list referrers by it.
		config, layer := static.NewLayer([]byte("{}"), types.MediaType(d.ArtifactType)), static.NewLayer(d.Data, types.MediaType(d.MediaType))
		manifest := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: d.ArtifactType, Layers: make([]v1.Descriptor, 1),
			Subject: &v1.Descriptor{MediaType: head.MediaType, Digest: head.Digest, Size: head.Size}}
		if manifest.Config, err = descriptor(config); err != nil {
			return nil, err
		}
		if manifest.Layers[0], err = descriptor(layer); err != nil {
			return nil, err
		}
		blobs[manifest.Config.Digest], blobs[manifest.Layers[0].Digest] = config, layer
		raw, err := json.Marshal(manifest)
		if err != nil {
			return nil, err
		}
		manifests[i] = rawManifest{raw, types.OCIManifestSchema1}
	}
	g, uploads := errgroup.WithContext(ctx)
	for _, l := range blobs {
		g.Go(func() error { return c.pusher.Upload(uploads, repo, l) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	out := make([]digest.Digest, len(docs))
	for i, m := range manifests { // one after the other: each may have to change the fallback tag
		out[i] = digest.FromBytes(m.data)
		if err := c.pusher.Put(ctx, repo.Digest(out[i].String()), m); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func descriptor(l v1.Layer) (v1.Descriptor, error) {
	mediaType, err := l.MediaType()
	if err != nil {
		return v1.Descriptor{}, err
	}
	hash, err := l.Digest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	size, err := l.Size()
	return v1.Descriptor{MediaType: mediaType, Digest: hash, Size: size}, err
}

// Attached gives the documents of artifactType that are attached to the image subject (a tag or a digest), in the registry's
// order. None is no error.
func (c *Client) Attached(ctx context.Context, subject, artifactType string) ([]Attachment, error) {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	parsed, _, err := c.parse(subject)
	if err != nil {
		return nil, err
	}
	found, err := c.attached(ctx, parsed, artifactType)
	return found, c.fail("read attachments of", subject, parsed.Context().RegistryStr(), err)
}

func (c *Client) attached(ctx context.Context, ref name.Reference, artifactType string) ([]Attachment, error) {
	pinned, ok := ref.(name.Digest)
	if !ok {
		desc, err := c.puller.Get(ctx, ref)
		if err != nil {
			return nil, err
		}
		pinned = ref.Context().Digest(desc.Digest.String())
	}
	index, err := remote.Referrers(pinned, remote.Reuse(c.puller), remote.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	list, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var all []Attachment
	for _, d := range list.Manifests {
		if d.ArtifactType != artifactType {
			continue
		}
		one, err := c.attachment(ctx, pinned.Context(), d)
		if err != nil {
			return nil, err
		}
		all = append(all, one...)
	}
	return all, nil
}

func (c *Client) attachment(ctx context.Context, repo name.Repository, d v1.Descriptor) ([]Attachment, error) {
	desc, err := c.puller.Get(ctx, repo.Digest(d.Digest.String()))
	if err != nil {
		return nil, err
	}
	manifest, err := v1.ParseManifest(bytes.NewReader(desc.Manifest))
	if err != nil {
		return nil, err
	}
	var all []Attachment
	for _, l := range manifest.Layers {
		if l.Size > maxAttachment {
			return nil, fmt.Errorf("attachment %s has %d bytes, more than the %d that are read", l.Digest, l.Size, maxAttachment)
		}
		data, err := c.blob(ctx, repo, l)
		if err != nil {
			return nil, err
		}
		all = append(all, Attachment{Digest: digest.Digest(l.Digest.String()), MediaType: string(l.MediaType), Data: data})
	}
	return all, nil
}

// blob reads a small blob; its digest is checked as it is read.
func (c *Client) blob(ctx context.Context, repo name.Repository, d v1.Descriptor) ([]byte, error) {
	layer, err := c.puller.Layer(ctx, repo.Digest(d.Digest.String()))
	if err != nil {
		return nil, err
	}
	r, err := layer.Compressed()
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, maxAttachment+1))
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	return data, err
}
