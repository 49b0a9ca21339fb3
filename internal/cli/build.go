package cli

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

// build is the main path: recipe, lock, graph, a look at the registry, and only then a builder.
func (a *app) build(ctx context.Context, o *buildOptions) (err error) {
	start := time.Now()
	if err := o.check(a); err != nil {
		return err
	}
	page := &page{app: a, o: o, start: start}
	defer func() { err = page.write(ctx, err) }()
	j := a.newJob(o.recipeOptions, o.builderOptions)
	defer j.close()
	j.page = page
	if err := j.load(); err != nil {
		return err
	}
	if err := j.fitToPush(ctx, o); err != nil {
		return err
	}
	return j.make(ctx, o, start)
}

// make builds what recipe and lock come to, where the registry does not have it.
func (j *job) make(ctx context.Context, o *buildOptions, start time.Time) error {
	first := j.lookAhead(ctx, o) // while the graph is made
	graph, err := j.graph(ctx, o)
	if err != nil {
		return err
	}
	report := newReport(j, o)
	j.page.of(ctx, j, graph, report)
	found, k, err := j.ask(ctx, graph, o, first)
	if err != nil {
		return err
	}
	if found != nil {
		return report.upToDate(found, graph, time.Since(start))
	}
	if err := j.planSmoke(ctx, o, graph, k); err != nil {
		return err
	}
	res, err := j.reuse(ctx, o, k, report)
	if err == nil && res == nil {
		res, err = j.solve(ctx, o, graph, report, nil)
	}
	if err != nil {
		return sources.Explain(j.smoke.explain(err))
	}
	j.keepPassed()
	if o.push {
		docs, err := j.documents(ctx, graph, res.Line)
		if err != nil {
			return err
		}
		var tagged sync.WaitGroup
		tagged.Go(func() { j.tagByGraph(ctx, graph, o, res.Digest) })
		err = j.attach(ctx, o.names, res.Digest.String(), docs)
		if tagged.Wait(); err != nil {
			return err
		}
	}
	j.remember(o, res)
	return report.built(res, time.Since(start))
}

// frozen tells whether the lock must not change.
func (j *job) frozen(o *buildOptions) bool {
	if o.frozenGiven {
		return o.frozen
	}
	return j.app.getenv("CI") == "true" && j.found != nil
}

// fitToPush brings the lock up to the recipe. Where that takes resolving, the registry is asked first.
func (j *job) fitToPush(ctx context.Context, o *buildOptions) error {
	frozen := j.frozen(o)
	stale, err := layers.Stale(j.recipe, j.lock)
	if err != nil {
		return err
	}
	if len(stale) > 0 && !frozen {
		if err := j.mayPush(ctx, o); err != nil {
			return err
		}
	}
	return j.fit(ctx, frozen, nil)
}

// mayPush lets a build fail before it starts where its push would be refused after it. A registry that asks to wait (429) is
// no reason not to begin.
func (j *job) mayPush(ctx context.Context, o *buildOptions) error {
	if !o.push || j.asked {
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	for i, name := range o.names {
		if slices.ContainsFunc(o.names[:i], func(n string) bool { return sameRepository(n, name) }) {
			continue
		}
		g.Go(func() error {
			err := j.registry.CanPush(ctx, name)
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
	j.asked = true
	return nil
}

// solve builds, tests where that is asked for, and brings the image where it is to go. whole is the image where graph is
// a part of it; nil: graph is all of it.
func (j *job) solve(ctx context.Context, o *buildOptions, graph *layers.Graph, report *report, whole *reuse) (*llb.Result, error) {
	out, err := j.reach(ctx)
	if err != nil {
		return nil, err
	}
	out.Know(graph.Artifacts, graph.Local)
	b, err := j.connect(ctx)
	if err != nil {
		return nil, err
	}
	if whole != nil && b.Store != nil {
		return nil, fmt.Errorf("%w: a Docker Engine's store makes other ones", errCannotReuse)
	}
	d, err := j.destinations(ctx, o, graph)
	if err != nil {
		return nil, err
	}
	d.options.OnSteps = report.steps
	res, err := j.run(ctx, b, o, graph, d.options, report, whole)
	if err = errors.Join(err, d.finish(err)); err != nil {
		if ctx.Err() != nil {
			return nil, report.interrupted()
		}
		if errors.Is(err, errCannotReuse) {
			return nil, err
		}
		err = b.Explain(err)
		if failed := (*llb.CheckError)(nil); report.pushing && !errors.As(err, &failed) {
			return nil, fmt.Errorf("push %q: %w: what was built is kept: check the registry, and run again", o.names, err)
		}
		return nil, err
	}
	if whole != nil {
		whole.made.Result.Steps = res.Steps // with those of tests
		res = whole.made.Result
	}
	return res, d.spread(ctx, j, res)
}

// run builds. The image is tested beside what is done with it, and named when it has passed.
func (j *job) run(ctx context.Context, b *builder.Builder, o *buildOptions, graph *layers.Graph, to llb.BuildOptions, report *report, whole *reuse) (*llb.Result, error) {
	session := j.session(o.parsed.secrets)
	build := func(to llb.BuildOptions) (*llb.Result, error) { return b.Build(ctx, graph.Images, session, to) }
	if o.fetch == "builder" {
		build = func(to llb.BuildOptions) (*llb.Result, error) { return j.fetchThere(ctx, b, graph, session, to) }
	}
	to.Checks = j.smoke.checks(whole != nil)
	if o.push {
		from := j.bases(graph)
		if whole != nil {
			from = whole.from(j)
		}
		to.CPUs = b.CPUs()
		to.Packed = func(ctx context.Context, p *llb.Pushing) { j.pushLayers(ctx, to, from, report, p) }
	}
	if whole != nil {
		to.BuilderPushes = func(_ context.Context, why error) error { return fmt.Errorf("%w: %v", errCannotReuse, why) } //nolint:errorlint // it has failed for good
		to.Pusher = func(ctx context.Context, p *llb.Pushing) error { return whole.push(ctx, j, o, to, report, p) }
		return build(to)
	}
	if o.push {
		to.BeforePush = func(_ context.Context, res *llb.Result) error {
			report.beforePush(res)
			return nil
		}
		to.PushStored = func(ctx context.Context, p *llb.Pushing) ([]byte, error) {
			return j.pushStored(ctx, b.Store, to, report, p)
		}
		to.BuilderPushes = report.builderPushes
		to.Pusher = func(ctx context.Context, p *llb.Pushing) error { return j.push(ctx, o, graph, to, report, p) }
		return build(to)
	}
	return build(to)
}
