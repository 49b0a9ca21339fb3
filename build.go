package raybuild

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/raybuild/raybuild/internal/builder"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/sources"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// Build builds the project's image and brings it where o says. A lock that does not fit the recipe
// is brought up and written first, unless o.Frozen. Where a registry has the image already, nothing
// is built. A step that failed is an [llb.StepError], an image that did not pass its test a
// [layers.SmokeError], an option that cannot be meant an [OptionError], a context that ended an
// [InterruptedError]. The result is there with an error, too, as soon as there is a graph.
func (p *Project) Build(ctx context.Context, o BuildOptions) (_ *Result, err error) {
	defer public(ctx, &err)
	start := time.Now()
	if err := o.Check(); err != nil {
		return nil, err
	}
	if err := p.lockToPush(ctx, &o); err != nil {
		return nil, err
	}
	return p.build(ctx, &o, start)
}

// build builds what recipe and lock come to, where the registry does not have it.
func (p *Project) build(ctx context.Context, o *BuildOptions, start time.Time) (*Result, error) {
	first := p.lookAhead(ctx, o) // while the graph is made
	graph, err := p.graph(ctx, o)
	if err != nil {
		return nil, err
	}
	t := newTally(p, o, graph)
	t.lookBefore(ctx)
	err = p.buildGraph(ctx, o, graph, t, first)
	return t.end(time.Since(start)), err
}

// buildGraph builds what a graph comes to, where the registry does not have it.
func (p *Project) buildGraph(ctx context.Context, o *BuildOptions, graph *layers.Graph, t *tally,
	first func() (registry.Descriptor, error)) error {
	existing, k, err := p.findExisting(ctx, graph, o, first)
	if err != nil {
		return err
	}
	if existing != nil {
		return t.found(existing)
	}
	if err := p.planSmoke(ctx, o, graph, k); err != nil {
		return err
	}
	res, err := p.reuse(ctx, o, k, t)
	if err == nil && res == nil {
		res, err = p.solve(ctx, o, graph, t, nil)
	}
	if err != nil {
		return sources.Explain(p.smoke.explain(err))
	}
	p.keepPassed()
	if o.Push {
		docs, err := p.documents(ctx, graph, res.Linear)
		if err != nil {
			return err
		}
		var tagged sync.WaitGroup
		tagged.Go(func() { p.tagByGraph(ctx, graph, o, res.Digest) })
		err = p.attach(ctx, o.Names, res.Digest.String(), docs)
		if tagged.Wait(); err != nil {
			return err
		}
	}
	p.remember(o, res)
	return t.built(res)
}

// lockToPush brings the lock up to the recipe. Where that takes resolving, the registry is asked first.
func (p *Project) lockToPush(ctx context.Context, o *BuildOptions) error {
	stale, err := layers.Stale(p.recipe, p.lock, p.env.Layers...)
	if err != nil {
		return err
	}
	if len(stale) > 0 && !o.Frozen {
		if err := p.askToPush(ctx, o); err != nil {
			return err
		}
	}
	return p.ensureLock(ctx, o.Frozen, nil)
}

// askToPush lets a build fail before it starts where its push would be refused after it. A registry
// that asks to wait (429) is no reason not to begin.
func (p *Project) askToPush(ctx context.Context, o *BuildOptions) error {
	if !o.Push || p.mayPush {
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	for i, name := range o.Names {
		if slices.ContainsFunc(o.Names[:i], func(n string) bool { return sameRepository(n, name) }) {
			continue
		}
		g.Go(func() error {
			err := p.registry.CanPush(ctx, name)
			var answer *registry.Error
			if err != nil && (!errors.As(err, &answer) || answer.Status != http.StatusTooManyRequests) {
				return fmt.Errorf("nothing was built: %w", err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	p.mayPush = true
	return nil
}

// solve builds, tests where that is asked for, and brings the image where it is to go. whole is the
// image where graph is a part of it; nil: graph is all of it.
func (p *Project) solve(ctx context.Context, o *BuildOptions, graph *layers.Graph, t *tally,
	whole *reuse) (*llb.Result, error) {
	out, err := p.reach(ctx)
	if err != nil {
		return nil, err
	}
	out.Know(graph.Artifacts, graph.Local)
	b, err := p.connect(ctx)
	if err != nil {
		return nil, err
	}
	if whole != nil && b.Store != nil {
		return nil, fmt.Errorf("%w: a Docker Engine's store makes other ones", errCannotReuse)
	}
	d, err := p.destinations(ctx, o, graph)
	if err != nil {
		return nil, err
	}
	res, err := p.run(ctx, b, o, graph, d.options, t, whole)
	if err = errors.Join(err, d.finish(err)); err != nil {
		if ctx.Err() != nil {
			return nil, t.interrupted(ctx, err)
		}
		if errors.Is(err, errCannotReuse) {
			return nil, err
		}
		err = b.Explain(err)
		if failed := (*llb.CheckError)(nil); t.res.Pushing && !errors.As(err, &failed) {
			return nil, fmt.Errorf("push %q: %w: what was built is kept: check the registry, and run again", o.Names,
				err)
		}
		return nil, err
	}
	if whole != nil {
		whole.made.Result.Steps = res.Steps // with those of tests
		res = whole.made.Result
	}
	return res, d.spread(ctx, p, res)
}

// run builds, and pushes where that is asked for. The image is tested beside what is done with it,
// and named when it has passed.
func (p *Project) run(ctx context.Context, b *builder.Builder, o *BuildOptions, graph *layers.Graph,
	to llb.BuildOptions, t *tally, whole *reuse) (*llb.Result, error) {
	to.Checks, to.PackEarly, to.CPUs = p.smoke.checks(whole != nil), o.Push, b.CPUs()
	build := func(to llb.BuildOptions) (*llb.Result, error) {
		build, ctx, err := b.Start(ctx, graph.Images, p.session(o.Secrets), to)
		if err != nil {
			return nil, err
		}
		if o.Push {
			err = p.pushBuild(ctx, b, o, graph, to, t, whole, build)
		}
		res, err := build.End(ctx, err)
		t.steps(res.Steps)
		return res, err
	}
	if o.BuilderFetches {
		return p.fetchThere(ctx, b, graph, to, build)
	}
	return build(to)
}
