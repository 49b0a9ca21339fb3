package bundle

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/internal/registry"
)

// OpenRemote opens a bundle that a registry has as ref. It reads all manifests.
func OpenRemote(ctx context.Context, c *registry.Client, ref string) (*Bundle, error) {
	found, ok, err := c.Manifest(ctx, ref)
	if err == nil && !ok {
		err = os.ErrNotExist
	}
	if err != nil {
		return nil, fmt.Errorf("open bundle %q: %w", ref, err)
	}
	return load(ctx, ref, remote{c, found.Ref}, ocispecs.Descriptor{Digest: found.Digest, Size: int64(len(found.Data))})
}

// remote is a bundle in a repository of a registry.
type remote struct {
	client *registry.Client
	ref    string // by digest
}

func (r remote) open(ctx context.Context, d digest.Digest) (io.ReadCloser, error) {
	return r.client.OpenBlob(ctx, r.ref, d, 0)
}

func (r remote) document(ctx context.Context, d digest.Digest) (io.ReadCloser, error) {
	at, err := registry.Pin(r.ref, d.String())
	if err != nil {
		return nil, err
	}
	found, ok, err := r.client.Manifest(ctx, at)
	if err == nil && !ok {
		err = fmt.Errorf("manifest %s: %w", d, os.ErrNotExist)
	}
	return io.NopCloser(bytes.NewReader(found.Data)), err
}

// lacks asks nobody: a registry tells when a blob is read.
func (remote) lacks(digest.Digest, int64) bool { return false }

// Push copies the bundle of a directory to a registry, and gives its reference by digest. Blobs that the repository has
// are not sent.
func Push(ctx context.Context, dir string, c *registry.Client, o registry.PushOptions) (digest.Digest, error) {
	b, err := Open(ctx, dir)
	if err != nil {
		return "", err
	}
	source := func(ctx context.Context, d ocispecs.Descriptor, offset int64) (io.ReadCloser, error) {
		r, err := b.openChecked(ctx, d.Digest, "blob")
		if err == nil {
			if _, err = io.CopyN(io.Discard, r, offset); err != nil {
				_ = r.Close()
			}
		}
		return r, err
	}
	_, err = c.Push(ctx, ocispecs.Descriptor{Digest: b.digest}, source, o)
	return b.digest, err
}
