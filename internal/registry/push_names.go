package registry

import (
	"context"
	"net/http"

	"golang.org/x/sync/errgroup"
)

// sign stores the image under its digest in each repository, and lets the caller sign it.
func (p *pusher) sign(ctx context.Context, targets []*target) error {
	if p.o.Sign == nil {
		return nil
	}
	root := p.root()
	images := make([]string, len(targets))
	for i, t := range targets {
		err := p.put(ctx, t, i == 0, func() error {
			_, err := t.putManifest(ctx, root, root.Digest.String())
			return err
		})
		if err == nil {
			images[i], err = Pin(t.ref, root.Digest.String())
		}
		if err != nil {
			return err
		}
	}
	return p.o.Sign(ctx, images)
}

// put stores the root in a repository by store. If the repository turns out to lack blobs, put sends them, and
// stores the root again.
func (p *pusher) put(ctx context.Context, t *target, first bool, store func() error) error {
	err := store()
	if t.doubts(err) {
		if err = p.fill(ctx, t, first); err == nil {
			err = store()
		}
	}
	return p.c.fail(opPush, t.ref, t.repo.RegistryStr(), err)
}

// putTags gives a manifest all tags of a repository at once.
func (t *target) putTags(ctx context.Context, m manifestToPush) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(jobs)
	for _, tag := range t.tags {
		g.Go(func() error {
			_, err := t.putManifest(ctx, m, tag)
			return err
		})
	}
	return g.Wait()
}

// putManifest stores a manifest under a tag or its digest.
func (t *target) putManifest(ctx context.Context, m manifestToPush, as string) (answer *reply, err error) {
	at, header := t.url("/manifests/"+as), http.Header{"Content-Type": {m.MediaType}}
	err = t.retry(ctx, func(ctx context.Context) (err error) {
		answer, err = t.ask(ctx, request{method: http.MethodPut, url: at, header: header, body: textBody(m.data),
			want: []int{http.StatusCreated, http.StatusOK, http.StatusAccepted}})
		return err
	})
	if err == nil {
		t.p.c.responses.putManifest(at, m.MediaType, m.data)
	}
	return answer, err
}
