package llb

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	bkllb "github.com/moby/buildkit/client/llb"
	digest "github.com/opencontainers/go-digest"
)

// ImageSource has images at hand. A builder takes these out of the session, and asks no registry for them.
type ImageSource interface {
	// HasImage tells whether it has the image whose manifest d is, with all its blobs.
	HasImage(d digest.Digest) bool
	// OpenImage opens a blob of such an image: manifest, config or layer. It also gives the blob's size. The bytes
	// that it gives have the digest. For a blob that it does not have the error is os.ErrNotExist.
	OpenImage(ctx context.Context, d digest.Digest) (LayerReader, int64, error)
}

// image lays out an image of a registry. If it is at hand, the builder takes it from the session. The graph's digest
// does not depend on that: a graph that is not solved always names the registry.
func (l *layout) image(title string, pinned reference.Canonical) bkllb.State {
	if l.give.image != nil && l.give.image(pinned.Digest()) {
		return bkllb.OCILayout("raybuild/image@"+pinned.Digest().String(), bkllb.OCIStore("", givenStore),
			named(title))
	}
	return bkllb.Image(pinned.String(), named(title))
}

// atHand tells whether the session has an image.
func (s *session) atHand(d digest.Digest) bool { return s.Images != nil && s.Images.HasImage(d) }

// imageBlob opens a blob of an image at hand.
func (s *session) imageBlob(ctx context.Context, d digest.Digest) (content.ReaderAt, error) {
	if s.Images == nil {
		return nil, fmt.Errorf("layer %s: %w", d, errdefs.ErrNotFound)
	}
	r, size, err := s.Images.OpenImage(ctx, d)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("layer %s: %w", d, errdefs.ErrNotFound)
	}
	if err != nil {
		return nil, s.failed(ctx, d, err)
	}
	return sizedReader{r, size}, nil
}
