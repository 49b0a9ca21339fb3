package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
)

// Found is what a registry has under a reference.
type Found struct {
	Ref         string            // the name that was asked for, pinned: "host/ray@sha256:…"
	Digest      digest.Digest     // of the manifest or index
	MediaType   string            // of the manifest or index
	Size        int64             // of the manifest or index, in bytes
	Annotations map[string]string // of the manifest or index
	Layers      []FoundLayer      // of an image, bottom first; none of an index
}

// FoundLayer is a layer as a manifest names it.
type FoundLayer struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"` // as stored, in bytes
}

// Look asks what ref is, with one manifest GET and at most a ping and a token request before it. The bool is false where the
// registry has no such tag or repository. An index and an image are treated alike: the annotations are those of what ref names.
func (c *Client) Look(ctx context.Context, ref string) (Found, bool, error) {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	parsed, _, err := c.parse(ref)
	if err != nil {
		return Found{}, false, err
	}
	desc, err := c.puller.Get(ctx, parsed)
	if err = c.fail("look up", ref, parsed.Context().RegistryStr(), err); err != nil {
		if errors.Is(err, ErrNotFound) {
			return Found{}, false, nil
		}
		return Found{}, false, err
	}
	found, err := describe(ref, desc)
	return found, err == nil, err
}

// describe reads a manifest that was fetched for ref.
func describe(ref string, desc *remote.Descriptor) (Found, error) {
	var manifest struct {
		Annotations map[string]string `json:"annotations"`
		Layers      []FoundLayer      `json:"layers"`
	}
	if err := json.Unmarshal(desc.Manifest, &manifest); err != nil {
		return Found{}, fmt.Errorf("read manifest of %q: %w", ref, err)
	}
	pinned, err := Pin(ref, desc.Digest.String())
	if err != nil {
		return Found{}, err
	}
	return Found{
		Ref:         pinned,
		Digest:      digest.Digest(desc.Digest.String()),
		MediaType:   string(desc.MediaType),
		Size:        desc.Size,
		Annotations: manifest.Annotations,
		Layers:      manifest.Layers,
	}, nil
}

// rawManifest is a manifest to be stored as it is.
type rawManifest struct {
	data      []byte
	mediaType types.MediaType
}

// RawManifest implements remote.Taggable.
func (m rawManifest) RawManifest() ([]byte, error) { return m.data, nil }

// MediaType says with which type the manifest is stored.
func (m rawManifest) MediaType() (types.MediaType, error) { return m.mediaType, nil }

// Tag gives the image from (a tag or a digest) further references. In the same repository that is one PUT of the same
// manifest bytes for each; in another one its blobs are mounted there, or copied where mounting is not possible.
func (c *Client) Tag(ctx context.Context, from string, to ...string) error {
	source, _, err := c.parse(from)
	if err != nil || len(to) == 0 {
		return err
	}
	desc, err := c.puller.Get(ctx, source)
	if err != nil {
		return c.fail("read", from, source.Context().RegistryStr(), err)
	}
	for _, ref := range to {
		target, _, err := c.parse(ref)
		if err != nil {
			return err
		}
		if target.Context().String() == source.Context().String() {
			err = c.pusher.Put(ctx, target, rawManifest{desc.Manifest, desc.MediaType})
		} else {
			err = c.copyTo(ctx, target, desc)
		}
		if err != nil {
			return c.fail("tag", ref, target.Context().RegistryStr(), err)
		}
	}
	return nil
}

// copyTo brings an image to another repository; Push sends only what is not there, and mounts where it can.
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

// CanPush asks whether the credentials at hand may push to ref's repository, by opening an upload and giving it up. It lets a
// build fail before it starts and not after it ended.
func (c *Client) CanPush(ctx context.Context, ref string) error {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	parsed, _, err := c.parse(ref)
	if err != nil {
		return err
	}
	return c.fail(opPush, ref, parsed.Context().RegistryStr(), c.openUpload(ctx, parsed.Context()))
}

func (c *Client) openUpload(ctx context.Context, repo name.Repository) error {
	auth, err := authn.Resolve(ctx, c.o.Keychain, repo)
	if err != nil {
		return fmt.Errorf("read credentials for %s from Docker's configuration: %w", repo.RegistryStr(), err)
	}
	authed, err := transport.NewWithContext(ctx, repo.Registry, auth, c.transport, []string{repo.Scope(transport.PushScope)})
	if err != nil {
		return err
	}
	upload := url.URL{Scheme: repo.Scheme(), Host: repo.RegistryStr(), Path: "/v2/" + repo.RepositoryStr() + "/blobs/uploads/"}
	resp, err := c.send(ctx, authed, http.MethodPost, upload.String())
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := transport.CheckError(resp, http.StatusAccepted, http.StatusCreated); err != nil {
		return err
	}
	// Giving the upload up is a courtesy: a registry forgets open uploads by itself, so its answer does not matter.
	if location, err := resp.Location(); err == nil && location.Host == upload.Host {
		if gone, err := c.send(ctx, authed, http.MethodDelete, location.String()); err == nil {
			_ = gone.Body.Close()
		}
	}
	return nil
}

func (c *Client) send(ctx context.Context, tr http.RoundTripper, method, target string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return nil, err
	}
	return (&http.Client{Transport: tr}).Do(req)
}
