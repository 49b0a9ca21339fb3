package registry

import (
	"bytes"
	"context"
	"io"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Copy copies the image or index from to other repositories, as [Client.Push] does. If from is in the same
// registry, its blobs are mounted; otherwise they are read from there and sent. Copy sets o.From.
func (c *Client) Copy(ctx context.Context, from string, o PushOptions) (Pushed, error) {
	parsed, _, err := c.parse(from)
	if err != nil {
		return Pushed{}, err
	}
	root, err := c.puller.Get(ctx, parsed)
	if err != nil {
		return Pushed{}, c.fail("read", from, parsed.Context().RegistryStr(), err)
	}
	source := func(ctx context.Context, d ocispecs.Descriptor, offset int64) (io.ReadCloser, error) {
		desc := root
		switch mediaType := types.MediaType(d.MediaType); {
		case d.Digest.String() == root.Digest.String():
		case mediaType.IsIndex() || mediaType.IsImage():
			var err error
			if desc, err = c.puller.Get(ctx, parsed.Context().Digest(d.Digest.String())); err != nil {
				return nil, c.fail("read", from, parsed.Context().RegistryStr(), err)
			}
		default:
			return c.OpenBlob(ctx, from, d.Digest, offset)
		}
		return io.NopCloser(bytes.NewReader(desc.Manifest[offset:])), nil
	}
	o.From = []string{from}
	return c.Push(ctx, ocispecs.Descriptor{Digest: digest.Digest(root.Digest.String())}, source, o)
}
