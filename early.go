package raybuild

import (
	"context"
	"sync"

	"github.com/raybuild/raybuild/layers"
)

// earlyFetch fetches Python packages into the store while conda still resolves. They are those that the lock will
// probably have; a package that it lacks in the end was fetched for nothing. The resolvers' own downloads go first. A
// nil value fetches nothing.
type earlyFetch struct {
	p      *Project
	ctx    context.Context //nolint:containedctx // of the build, which outlives the resolvers
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func (p *Project) newEarlyFetch(ctx context.Context) *earlyFetch {
	e := &earlyFetch{p: p}
	e.ctx, e.cancel = context.WithCancel(ctx)
	return e
}

// fetch begins to fetch packages. An error is left to whoever needs the package.
func (e *earlyFetch) fetch(packages []layers.Artifact) {
	if e == nil {
		return
	}
	e.p.sources.Know(packages, nil)
	for _, a := range packages {
		e.wg.Go(func() {
			if r, _, err := e.p.sources.Open(e.ctx, a.Digest()); err == nil {
				_ = r.Close()
			}
		})
	}
}

// end ends what is still under way.
func (e *earlyFetch) end() {
	e.cancel()
	e.wg.Wait()
}
