package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// Descriptor describes what a reference names in a registry.
type Descriptor struct {
	Ref         string            // the name that was asked for, pinned: "host/ray@sha256:…"
	Digest      digest.Digest     // of the manifest or index
	MediaType   string            // of the manifest or index
	Size        int64             // of the manifest or index, in bytes
	Annotations map[string]string // of the manifest or index
	Layers      []FoundLayer      // of an image, bottom first; none of an index
}

// FoundLayer is a layer as the manifest lists it.
type FoundLayer struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"` // as stored, in bytes
}

// Head asks what ref names. It costs one GET of a manifest, and at most a ping and a token request before
// it. The bool is false if the registry has no such tag or repository. The annotations are those of the
// image or index that ref names.
func (c *Client) Head(ctx context.Context, ref string) (Descriptor, bool, error) {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	parsed, named, err := c.parse(ref)
	if err != nil {
		return Descriptor{}, false, err
	}
	desc, err := c.get(ctx, parsed, named, false)
	if statusOf(err) == http.StatusNotFound {
		return Descriptor{}, false, nil
	}
	if err != nil {
		return Descriptor{}, false, c.fail("look up", ref, parsed.Context().RegistryStr(), err)
	}
	found, err := describe(ref, desc)
	return found, err == nil, err
}

// describe reads a manifest that was fetched for ref.
func describe(ref string, desc *remote.Descriptor) (Descriptor, error) {
	var manifest struct {
		Annotations map[string]string `json:"annotations"`
		Layers      []FoundLayer      `json:"layers"`
	}
	if err := json.Unmarshal(desc.Manifest, &manifest); err != nil {
		return Descriptor{}, fmt.Errorf("read manifest of %q: %w", ref, err)
	}
	pinned, err := Pin(ref, desc.Digest.String())
	if err != nil {
		return Descriptor{}, err
	}
	return Descriptor{
		Ref:         pinned,
		Digest:      digest.Digest(desc.Digest.String()),
		MediaType:   string(desc.MediaType),
		Size:        desc.Size,
		Annotations: manifest.Annotations,
		Layers:      manifest.Layers,
	}, nil
}

// Tag gives the image from (a tag or a digest) further references, all at once. In the same repository this
// is one PUT of the manifest for each. In another repository the blobs are mounted, or copied if the
// registry cannot mount.
func (c *Client) Tag(ctx context.Context, from string, to ...string) error {
	source, _, err := c.parse(from)
	if err != nil || len(to) == 0 {
		return err
	}
	targets := make([]name.Reference, len(to))
	for i, ref := range to {
		if targets[i], _, err = c.parse(ref); err != nil {
			return err
		}
	}
	desc, err := c.puller.Get(ctx, source)
	if err != nil {
		return c.fail("read", from, source.Context().RegistryStr(), err)
	}
	root := manifestToPush{ocispecs.Descriptor{MediaType: string(desc.MediaType),
		Digest: digest.Digest(desc.Digest.String()), Size: desc.Size}, desc.Manifest}
	t := c.target(source.Context())
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(jobs)
	for i, target := range targets {
		g.Go(func() error {
			var err error
			if target.Context().String() == source.Context().String() {
				short, cancel := c.limited(ctx)
				defer cancel()
				_, err = t.putManifest(short, root, target.Identifier())
			} else {
				err = c.copyTo(ctx, target, desc)
			}
			return c.fail("tag", to[i], target.Context().RegistryStr(), err)
		})
	}
	return g.Wait()
}

// copyTo copies an image to another repository. The library sends only missing blobs, and mounts where it
// can.
func (c *Client) copyTo(ctx context.Context, target name.Reference, desc *remote.Descriptor) error {
	if desc.MediaType.IsIndex() {
		index, err := desc.ImageIndex()
		if err != nil {
			return err
		}
		return c.pusher.Push(ctx, target, index)
	}
	image, err := desc.Image()
	if err != nil {
		return err
	}
	return c.pusher.Push(ctx, target, image)
}

// Login gets credentials to push to ref's repository, so that a later push waits for one round trip less.
// It reports no error: the push does.
func (c *Client) Login(ctx context.Context, ref string) {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	if parsed, _, err := c.parse(ref); err == nil {
		_, _ = c.login(ctx, parsed.Context(), nil)
	}
}

// CanPush asks whether the client may push to ref's repository: it opens an upload and gives it up. So a
// build can fail before it starts.
func (c *Client) CanPush(ctx context.Context, ref string) error {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	parsed, _, err := c.parse(ref)
	if err != nil {
		return err
	}
	return c.fail(opPush, ref, parsed.Context().RegistryStr(), c.target(parsed.Context()).openUpload(ctx))
}

func (t *target) openUpload(ctx context.Context) error {
	resp, err := t.ask(ctx, request{method: http.MethodPost, url: t.url("/blobs/uploads/"),
		want: []int{http.StatusAccepted, http.StatusCreated}})
	if err != nil {
		return err
	}
	// The DELETE is a courtesy, because a registry forgets open uploads by itself. So its answer does not
	// matter. A registry with tokens may want another token for it (distribution wants the scope "delete").
	// That is not worth a login.
	if t.p.c.responses.wantsTokens(t.repo.Registry) {
		return nil
	}
	if at, err := resp.url.Parse(resp.header.Get("Location")); err == nil && at.Host == resp.url.Host &&
		resp.header.Get("Location") != "" {
		_, _ = t.ask(ctx, request{method: http.MethodDelete, url: at.String(), want: []int{http.StatusNoContent}})
	}
	return nil
}

// target is a repository for exchanges of small documents, with the patience of the client's Timeout.
func (c *Client) target(repo name.Repository) *target {
	p := &pusher{c: c, known: map[digest.Digest]bool{}, o: PushOptions{
		Retry: c.o.Timeout / 6, Reach: 2 * c.o.Timeout, Stall: 2 * c.o.Timeout, Answer: 2 * c.o.Timeout,
		Pause: c.o.Timeout / 60, Log: c.o.Log,
	}.withDefaults()}
	return &target{p: p, repo: repo}
}
