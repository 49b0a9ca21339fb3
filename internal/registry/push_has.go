package registry

import (
	"context"
	"net/http"
	"time"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// Expect asks which of blobs ref's repository has, ahead of a push to it. One that begins within seconds asks for the others alone;
// a later one asks for all again. What goes wrong here is told by the push.
func (c *Client) Expect(ctx context.Context, ref string, blobs []ocispecs.Descriptor) {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	parsed, _, err := c.parse(ref)
	if err != nil {
		return
	}
	t := c.target(parsed.Context())
	t.p.o.Log = func(string, ...any) {}
	began := time.Now()
	has, _ := t.hasEach(ctx, blobs, func(ocispecs.Descriptor) bool { return false })
	for i, d := range blobs {
		if has[i] {
			c.known.sees(parsed.Context(), d.Digest, began)
		}
	}
}

// missing finds which blobs a repository has not.
func (p *pusher) missing(ctx context.Context, t *target, first bool) ([]ocispecs.Descriptor, error) {
	has, err := t.hasEach(ctx, p.blobs, func(d ocispecs.Descriptor) bool {
		return p.documents[d.Digest] != nil && p.c.known.has(t.repo, d.Digest) || p.c.known.saw(t.repo, d.Digest)
	})
	if err != nil {
		return nil, err
	}
	var missing []ocispecs.Descriptor
	for i, d := range p.blobs {
		switch {
		case !has[i]:
			missing = append(missing, d)
		case p.layers[d.Digest]:
			if first {
				p.done.Reused[d.Digest] = true
			}
			p.o.Progress(d, d.Size, true)
		}
	}
	return missing, nil
}

// hasEach tells of each blob whether the repository has it, and asks where that is not known.
func (t *target) hasEach(ctx context.Context, blobs []ocispecs.Descriptor, known func(ocispecs.Descriptor) bool) ([]bool, error) {
	has := make([]bool, len(blobs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2 * jobs)
	for i, d := range blobs {
		if has[i] = known(d); has[i] {
			continue
		}
		g.Go(func() error {
			return t.retry(ctx, func(ctx context.Context) (err error) {
				has[i], err = t.has(ctx, d)
				return err
			})
		})
	}
	return has, g.Wait()
}

// has asks for a blob's first byte: a registry may know a blob that it has lost, and answer a HEAD for it.
func (t *target) has(ctx context.Context, d ocispecs.Descriptor) (bool, error) {
	header := http.Header{"Range": {"bytes=0-0"}}
	_, err := t.ask(ctx, request{method: http.MethodGet, url: t.url("/blobs/" + d.Digest.String()), header: header,
		want: []int{http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable}, unread: true})
	if statusOf(err) == http.StatusNotFound {
		return false, nil
	}
	return err == nil, err
}
