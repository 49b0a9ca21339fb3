package registry

import (
	"context"

	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// Validate pulls what ref names and checks all of it, for each platform: digests, sizes, diff IDs, media
// types, and the order of history and layers.
func (c *Client) Validate(ctx context.Context, ref string) error {
	parsed, _, err := c.parse(ref)
	if err != nil {
		return err
	}
	host := parsed.Context().RegistryStr()
	desc, err := c.puller.Get(ctx, parsed)
	if err != nil {
		return c.fail("validate", ref, host, err)
	}
	if desc.MediaType.IsIndex() {
		index, err := desc.ImageIndex()
		if err != nil {
			return c.fail("validate", ref, host, err)
		}
		return c.fail("validate", ref, host, validate.Index(index))
	}
	image, err := desc.Image()
	if err != nil {
		return c.fail("validate", ref, host, err)
	}
	return c.fail("validate", ref, host, validate.Image(image))
}
