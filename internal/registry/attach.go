package registry

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// maxAttachment is the longest attachment that is read, in bytes. The lock of a large image has some
// hundred kilobytes.
const maxAttachment = 64 << 20

// Attachment is a document that a registry stores with an image.
type Attachment struct {
	Digest    digest.Digest // of the document
	MediaType string
	Data      []byte
}

// Document is a document to attach to an image.
type Document struct {
	ArtifactType string // what it is to the image, such as "application/vnd.raybuild.lock.v1+yaml"
	MediaType    string // of Data; default: ArtifactType
	Data         []byte
	Annotations  map[string]string // of the referrer; default: none
}

// Attach stores documents with the image subject (a tag or a digest). Each becomes an OCI referrer. It
// returns the referrers' digests in the order of docs. If the registry has no referrers API, Attach writes
// the fallback tag of the OCI distribution specification. The same document attached again is the same
// referrer. Documents whose types the registry refuses become layers of one image, which is the referrer of all of
// them. If it refuses that too, the error is the first refusal, and the other documents are attached.
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

// SendNew sends the bytes of documents ahead that will be attached to an image in the repository of ref. No registry
// can have them yet, because they name the image, so it does not ask for them. It tries once: Attach sends what is
// missing.
func (c *Client) SendNew(ctx context.Context, ref string, docs ...Document) error {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	parsed, _, err := c.parse(ref)
	if err != nil {
		return err
	}
	t := c.target(parsed.Context())
	t.p.o.Retry, t.p.fresh, t.p.documents = -1, true, map[digest.Digest][]byte{}
	for _, doc := range docs {
		d := digest.FromBytes(doc.Data)
		t.p.documents[d] = doc.Data
		t.p.blobs = append(t.p.blobs, ocispecs.Descriptor{Digest: d, Size: int64(len(doc.Data))})
	}
	return c.fail("attach to", ref, parsed.Context().RegistryStr(), t.p.fill(ctx, t, false))
}

func (c *Client) attach(ctx context.Context, subject name.Reference, docs []Document) ([]digest.Digest, error) {
	head, err := c.puller.Get(ctx, subject)
	if err != nil {
		return nil, err
	}
	t := c.target(subject.Context())
	// the image is there already, so the client waits longer for what belongs to it
	t.p.o.Retry = 2 * c.o.Timeout
	t.p.add(docs)
	if err := t.p.fill(ctx, t, false); err != nil {
		return nil, err
	}
	return t.refer(ctx, head.Descriptor, docs)
}

// emptyConfig is the config of all referrers.
const emptyConfig = "{}"

// referrer is the manifest by which a document belongs to an image.
func referrer(subject v1.Descriptor, d Document) (manifestToPush, error) {
	// The config is empty and carries the artifact type too: registries that predate artifactType list referrers by it.
	config, err := descriptor(static.NewLayer([]byte(emptyConfig), types.MediaType(d.ArtifactType)))
	if err != nil {
		return manifestToPush{}, err
	}
	layer, err := descriptor(static.NewLayer(d.Data, types.MediaType(cmp.Or(d.MediaType, d.ArtifactType))))
	if err != nil {
		return manifestToPush{}, err
	}
	data, err := json.Marshal(v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1,
		ArtifactType: d.ArtifactType,
		Config:       config, Layers: []v1.Descriptor{layer}, Annotations: d.Annotations,
		Subject: &v1.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size}})
	at := ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageManifest, ArtifactType: d.ArtifactType,
		Digest: digest.FromBytes(data), Size: int64(len(data))}
	return manifestToPush{at, data}, err
}

// stored is a referrer that was sent.
type stored struct {
	manifestToPush
	listed  bool  // the registry says that its referrers API lists it
	refused error // why the registry does not take it; nil: it did
}

// refer stores documents as referrers, and gives the referrers' digests.
func (t *target) refer(ctx context.Context, subject v1.Descriptor, docs []Document) ([]digest.Digest, error) {
	all, err := t.putReferrers(ctx, subject, docs)
	if err != nil {
		return nil, err
	}
	var (
		digests  []digest.Digest
		unlisted []manifestToPush
		others   []Document // that are refused
		refused  error
	)
	for i, m := range all {
		digests = append(digests, m.Digest)
		switch {
		case m.refused != nil:
			others, refused = append(others, docs[i]), cmp.Or(refused, m.refused)
		case !m.listed:
			unlisted = append(unlisted, m.manifestToPush)
		}
	}
	if len(others) > 0 {
		plain, listed, err := t.referPlain(ctx, subject, others)
		switch {
		case err != nil && !unwanted(err):
			return nil, err
		case err == nil:
			refused = nil
			for i := range all {
				if all[i].refused != nil {
					digests[i] = plain.Digest
				}
			}
			if !listed {
				unlisted = append(unlisted, plain)
			}
		}
	}
	if len(unlisted) > 0 {
		err = t.listByTag(ctx, subject.Digest, unlisted)
	}
	return digests, cmp.Or(err, refused)
}

// putReferrers sends a referrer for each document.
func (t *target) putReferrers(ctx context.Context, subject v1.Descriptor, docs []Document) ([]stored, error) {
	all := make([]stored, len(docs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(jobs)
	for i, doc := range docs {
		m, err := referrer(subject, doc)
		if err != nil {
			return nil, errors.Join(err, g.Wait())
		}
		all[i].manifestToPush = m
		g.Go(func() error {
			answer, err := t.putManifest(ctx, m, m.Digest.String())
			switch {
			case err == nil:
				// OCI distribution specification 1.1, "Pushing Manifests with Subject"
				all[i].listed = answer.header.Get("OCI-Subject") != ""
			case unwanted(err):
				all[i].refused = err
			default:
				return err
			}
			return nil
		})
	}
	return all, g.Wait()
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

// Attached returns the documents of artifactType that are attached to the image subject (a tag or a
// digest), in the registry's order. To have none is no error.
func (c *Client) Attached(ctx context.Context, subject, artifactType string) ([]Attachment, error) {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	parsed, _, err := c.parse(subject)
	if err != nil {
		return nil, err
	}
	found, err := c.attached(ctx, parsed, artifactType)
	return found[artifactType], c.fail("read attachments of", subject, parsed.Context().RegistryStr(), err)
}

// attached gives the documents of some types, by type.
func (c *Client) attached(ctx context.Context, ref name.Reference,
	artifactTypes ...string) (map[string][]Attachment, error) {
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
	found := make([]map[string][]Attachment, len(list.Manifests))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(jobs)
	for i, d := range list.Manifests {
		known := slices.Contains(artifactTypes, d.ArtifactType)
		if !known && !mayBePlain(d) {
			continue
		}
		g.Go(func() (err error) {
			if !known {
				found[i], err = c.plainAttachments(ctx, pinned.Context(), d, artifactTypes)
				return err
			}
			all, err := c.attachment(ctx, pinned.Context(), d)
			found[i] = map[string][]Attachment{d.ArtifactType: all}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	all := map[string][]Attachment{}
	for _, one := range found {
		for kind, documents := range one {
			for _, d := range documents { // one that was attached in two forms is one
				if !slices.ContainsFunc(all[kind], func(have Attachment) bool { return have.Digest == d.Digest }) {
					all[kind] = append(all[kind], d)
				}
			}
		}
	}
	return all, nil
}

func (c *Client) attachment(ctx context.Context, repo name.Repository, d v1.Descriptor) ([]Attachment, error) {
	manifest, err := c.referrerManifest(ctx, repo, d)
	if err != nil {
		return nil, err
	}
	var all []Attachment
	for _, l := range manifest.Layers {
		data, err := c.attachedBlob(ctx, repo, l)
		if err != nil {
			return nil, err
		}
		all = append(all, Attachment{Digest: digest.Digest(l.Digest.String()),
			MediaType: string(l.MediaType), Data: data})
	}
	return all, nil
}

// referrerManifest reads the manifest of a referrer.
func (c *Client) referrerManifest(ctx context.Context, repo name.Repository, d v1.Descriptor) (*v1.Manifest, error) {
	desc, err := c.puller.Get(ctx, repo.Digest(d.Digest.String()))
	if err != nil {
		return nil, err
	}
	return v1.ParseManifest(bytes.NewReader(desc.Manifest))
}

// attachedBlob reads a blob of a referrer.
func (c *Client) attachedBlob(ctx context.Context, repo name.Repository, d v1.Descriptor) ([]byte, error) {
	if d.Size > maxAttachment {
		return nil, fmt.Errorf("attachment %s has %d bytes, more than the %d that are read", d.Digest, d.Size,
			maxAttachment)
	}
	return c.blob(ctx, repo, d)
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
