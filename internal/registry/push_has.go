package registry

import (
	"context"
	"net/http"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// Presence tells which blobs a repository had when [Client.Present] asked it. The zero value names no blob.
type Presence struct {
	repository string
	blobs      map[digest.Digest]bool
}

// Has tells whether the repository said that it has the blob.
func (p Presence) Has(d digest.Digest) bool { return p.blobs[d] }

// Present asks the repository of ref which of the blobs it has, all at once. A blob counts as absent
// if the repository did not answer before ctx ended, or answered with an error. [PushOptions] takes
// the result, and the push then asks for the other blobs only.
func (c *Client) Present(ctx context.Context, ref string, blobs []ocispecs.Descriptor) Presence {
	parsed, _, err := c.parse(ref)
	if err != nil {
		return Presence{} // the push fails for the same reference
	}
	t := c.target(parsed.Context())
	has := make([]bool, len(blobs))
	var g errgroup.Group
	g.SetLimit(2 * jobs)
	for i, d := range blobs {
		g.Go(func() error {
			answer, err := t.has(ctx, d)
			has[i] = answer && err == nil
			return nil
		})
	}
	_ = g.Wait() // no question gives an error
	found := Presence{parsed.Context().String(), map[digest.Digest]bool{}}
	for i, d := range blobs {
		if has[i] {
			found.blobs[d.Digest] = true
		}
	}
	return found
}

// missing finds the blobs that a repository lacks.
func (p *pusher) missing(ctx context.Context, t *target, first bool) ([]ocispecs.Descriptor, error) {
	has := make([]bool, len(p.blobs))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(2 * jobs)
	for i, d := range p.blobs {
		if has[i] = p.documents[d.Digest] != nil && p.c.documents.has(t.repo, d.Digest); has[i] {
			continue
		}
		if has[i] = t.present.Has(d.Digest); has[i] || p.fresh {
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

// doubts tells whether a blob of [PushOptions.Present] may be gone: registries refuse a manifest for
// a missing blob with 400 or 404. The target then forgets Present, so that the next fill asks for all blobs.
func (t *target) doubts(err error) bool {
	status := statusOf(err)
	if len(t.present.blobs) == 0 || status != http.StatusBadRequest && status != http.StatusNotFound {
		return false
	}
	t.present = Presence{}
	return true
}

// has asks for the first byte of a blob. A HEAD is not enough: a registry that lost a blob may still know
// its name.
func (t *target) has(ctx context.Context, d ocispecs.Descriptor) (bool, error) {
	header := http.Header{"Range": {"bytes=0-0"}}
	_, err := t.ask(ctx, request{method: http.MethodGet, url: t.url("/blobs/" + d.Digest.String()), header: header,
		want: []int{http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable}, unread: true})
	if statusOf(err) == http.StatusNotFound {
		return false, nil
	}
	return err == nil, err
}

// documentCache keeps which documents this client pushed to which repository.
type documentCache struct {
	mu     sync.Mutex
	pushed map[string]bool // by repository and digest
}

func newDocumentCache() *documentCache { return &documentCache{pushed: map[string]bool{}} }

// add records that a repository has documents.
func (c *documentCache) add(repo name.Repository, documents map[digest.Digest][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for d := range documents {
		c.pushed[repo.String()+"@"+d.String()] = true
	}
}

// has tells whether a repository is known to have a document.
func (c *documentCache) has(repo name.Repository, d digest.Digest) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pushed[repo.String()+"@"+d.String()]
}
