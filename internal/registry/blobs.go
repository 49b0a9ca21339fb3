package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// Has asks which of the blobs the repository of ref has, several at a time. A repository that does not
// exist has none. Unlike [Client.Present], it trusts a HEAD, and it fails if a question fails.
func (c *Client) Has(ctx context.Context, ref string, blobs ...digest.Digest) (map[digest.Digest]bool, error) {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	parsed, _, err := c.parse(ref)
	if err != nil {
		return nil, err
	}
	var (
		mu  sync.Mutex
		has = make(map[digest.Digest]bool, len(blobs))
	)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(jobs)
	for _, blob := range blobs {
		g.Go(func() error {
			if err := blob.Validate(); err != nil {
				return fmt.Errorf("read blob digest %q: %w", blob, err)
			}
			layer, err := c.puller.Layer(ctx, parsed.Context().Digest(blob.String()))
			if err != nil {
				return err
			}
			exists, err := partial.Exists(layer)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			has[blob] = exists
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, c.fail("look for layers of", ref, parsed.Context().RegistryStr(), err)
	}
	return has, nil
}

// OpenBlob reads a blob of ref's repository from offset to its end. It checks the digest while it reads.
func (c *Client) OpenBlob(ctx context.Context, ref string, d digest.Digest, offset int64) (io.ReadCloser, error) {
	parsed, named, err := c.parse(ref)
	if err != nil {
		return nil, err
	}
	host := parsed.Context().RegistryStr()
	blob := parsed.Context().Digest(d.String())
	r, err := readFrom(ctx, c, blob, named, false, func(p *remote.Puller, at name.Reference) (io.ReadCloser, error) {
		layer, err := p.Layer(ctx, at.Context().Digest(d.String()))
		if err != nil {
			return nil, err
		}
		return layer.Compressed()
	})
	if err != nil {
		return nil, c.fail("read layer of", ref, host, err)
	}
	if _, err := io.CopyN(io.Discard, r, offset); err != nil {
		return nil, errors.Join(c.fail("read layer of", ref, host, err), r.Close())
	}
	return r, nil
}
