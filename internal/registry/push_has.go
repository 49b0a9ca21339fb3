package registry

import (
	"context"
	"net/http"
	"time"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// Expect asks which of blobs ref's repository has, ahead of a push to it: one that begins within 5
// seconds of the call asks for the others alone. It takes half of that at most. A question without
// an answer is asked again by the push, which tells what is wrong.
func (c *Client) Expect(ctx context.Context, ref string, blobs []ocispecs.Descriptor) {
	parsed, _, err := c.parse(ref)
	if err != nil {
		return
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, c.known.fresh/2)
	defer cancel()
	t := c.target(parsed.Context())
	var g errgroup.Group
	g.SetLimit(2 * jobs)
	for _, d := range blobs {
		g.Go(func() error {
			if has, err := t.has(ctx, d); has && err == nil {
				c.known.sees(parsed.Context(), d.Digest, began)
			}
			return nil
		})
	}
	_ = g.Wait() // no question gives an error
}

// missing finds which blobs a repository has not.
func (p *pusher) missing(ctx context.Context, t *target, first bool) ([]ocispecs.Descriptor, error) {
	has := make([]bool, len(p.blobs))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(2 * jobs)
	for i, d := range p.blobs {
		if has[i] = p.documents[d.Digest] != nil && p.c.known.has(t.repo, d.Digest); has[i] {
			continue
		}
		if has[i] = p.c.known.saw(t.repo, d.Digest); has[i] {
			t.trusted = true
			continue
		}
		g.Go(func() error {
			return t.retry(gctx, func(ctx context.Context) (err error) {
				has[i], err = t.has(ctx, d)
				return err
			})
		})
	}
	if err := g.Wait(); err != nil {
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

// doubts tells whether an error may be that of a blob which was there before the push and is no
// more: registries refuse a manifest for it with 400 or 404. All blobs are to be asked for then.
func (t *target) doubts(err error) bool {
	status := statusOf(err)
	if !t.trusted || status != http.StatusBadRequest && status != http.StatusNotFound {
		return false
	}
	t.trusted = false
	t.p.c.known.unsee(t.repo)
	return true
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
