package raybuild

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/raybuild/raybuild/internal/builder"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/sources"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// Build builds the project's image and sends it to the destinations in o. If the lock does not fit
// the recipe, Build first resolves what changed and writes the lock, unless o.Frozen is set. If a
// registry already has the image, Build builds nothing. The error is an [llb.StepError] if a step
// failed, a [layers.SmokeError] if the image did not pass its test, an [OptionError] if an option
// makes no sense, or an [InterruptedError] if the context ended. As soon as there is a graph, Build
// returns a Result, also with an error.
func (p *Project) Build(ctx context.Context, o BuildOptions) (_ *Result, err error) {
	defer public(ctx, &err)
	start := time.Now()
	if err := o.Check(); err != nil {
		return nil, err
	}
	if err := p.openKey(ctx, &o); err != nil {
		return nil, err
	}
	if !o.BuilderFetches {
		p.early = p.newEarlyFetch(ctx)
		defer p.early.end()
	}
	if err := p.lockToPush(ctx, &o); err != nil {
		return nil, err
	}
	return p.build(ctx, &o, start)
}

// build builds the image of recipe and lock, unless the registry has it.
func (p *Project) build(ctx context.Context, o *BuildOptions, start time.Time) (*Result, error) {
	first := p.lookAhead(ctx, o) // while the graph is made
	graph, err := p.graph(ctx, o)
	if err != nil {
		return nil, err
	}
	p.tellFiles(graph)
	if err := p.nameDocuments(ctx, graph); err != nil {
		return nil, err
	}
	t := newTally(p, o, graph)
	t.lookBefore(ctx)
	err = p.buildGraph(ctx, o, graph, t, first)
	return t.end(time.Since(start)), err
}

// tellFiles says which local files are left out although nobody asked for that, and which should not be in an image.
func (p *Project) tellFiles(graph *layers.Graph) {
	for _, f := range graph.Local {
		if len(f.LeftOut) > 0 {
			p.env.note("files: %s are left out; to take one in, write ignore: [\"!%s\"]", strings.Join(f.LeftOut, ", "),
				path.Base(f.LeftOut[0]))
		}
		if len(f.Private) > 0 {
			p.env.warn("files: everybody who pulls the image can read %s: name it in .dockerignore or in ignore:, and "+
				"give secrets to steps with --secret", strings.Join(f.Private, ", "))
		}
	}
}

// buildGraph makes the image of a graph and sends it to the destinations in o. It uses an image
// that a registry has, or reuses layers of the earlier image, or builds the whole image.
func (p *Project) buildGraph(ctx context.Context, o *BuildOptions, graph *layers.Graph, t *tally,
	first func() (registry.Descriptor, error)) error {
	existing, kept, err := p.findExisting(ctx, graph, o, first)
	if err != nil {
		return err
	}
	if existing != nil {
		return t.found(existing)
	}
	if err := p.planSmoke(ctx, o, graph, kept); err != nil {
		return err
	}
	defer p.stopClaims()
	res, err := p.makeImage(ctx, o, target{graph, kept}, t)
	if errors.Is(err, errCannotReuse) && ctx.Err() == nil {
		t.again()
		p.env.note("building the whole image: %v", err)
		res, err = p.makeImage(ctx, o, target{graph, nil}, t)
	}
	if err != nil {
		return sources.Explain(p.smoke.explain(err))
	}
	p.keepPassed()
	if o.Push {
		if err := p.nameByGraph(ctx, o, graph, res); err != nil {
			return err
		}
	}
	p.remember(o, res)
	return t.built(res)
}

// target is an image to make.
type target struct {
	graph *layers.Graph // of all its layers
	kept  *reuse        // the image that some layers are reused from; nil: all layers are built
}

// built returns the graph that a builder builds.
func (m target) built() *layers.Graph {
	if m.kept != nil {
		return m.kept.rest.Graph
	}
	return m.graph
}

// from returns the images of registries that have some of the target's blobs, by digest.
func (m target) from(p *Project) []string {
	if m.kept != nil {
		return append(p.bases(m.built()), m.kept.from()...)
	}
	return p.bases(m.graph)
}

// makeImage builds the missing layers, tests the image if o asks for it, and sends the image to its
// destinations. If no layer has to be built, it needs no builder.
func (p *Project) makeImage(ctx context.Context, o *BuildOptions, m target, t *tally) (res *llb.Result, err error) {
	if p.layers, err = p.makeLayers(ctx, o, m); err != nil {
		return nil, err
	}
	if p.layers != nil {
		defer p.layers.Close()
		defer p.sayConflicts(m.graph)
	}
	switch {
	case m.kept == nil:
		return p.solve(ctx, o, m, t)
	case m.kept.rest.Nothing():
		return p.pushReused(ctx, o, t, m.kept)
	}
	m.kept.asking.Go(func() { m.kept.askPresent(ctx, p) }) // while the builder makes the other layers
	return p.solve(ctx, o, m, t)
}

// nameByGraph attaches the documents to the image that was pushed, and tags it by its graph.
func (p *Project) nameByGraph(ctx context.Context, o *BuildOptions, graph *layers.Graph, res *llb.Result) error {
	docs, err := p.documents(ctx, graph, res.Linear)
	if err != nil {
		return err
	}
	var tagged sync.WaitGroup
	defer tagged.Wait()
	if o.tagsGraph() {
		tagged.Go(func() { p.tagByGraph(ctx, graph, o.Names, res.Digest, true) })
	}
	claims := p.waitClaims(ctx, o, graph, res.Digest)
	if err := p.attachAll(ctx, o.Names, res.Digest, docs, claims); err != nil {
		return err
	}
	p.attest(ctx, o.Names, res.Digest, claims)
	return nil
}

// lockToPush updates the lock if it does not fit the recipe. Before it resolves anything, it asks
// the registry whether a push is allowed.
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

// askToPush asks the registries whether a push is allowed, so that a build fails before it starts
// and not at its end. If a registry asks to wait (429), the build starts anyway.
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

// solve is the part of makeImage that needs a builder.
func (p *Project) solve(ctx context.Context, o *BuildOptions, m target, t *tally) (*llb.Result, error) {
	out, err := p.reach(ctx)
	if err != nil {
		return nil, err
	}
	out.Know(m.built().Artifacts, m.built().Local)
	b, err := p.connect(ctx)
	if err != nil {
		return nil, err
	}
	if p.key != nil && b.Store != nil {
		return nil, fmt.Errorf("sign %q: a Docker Engine's image store gives names before an image can be signed: "+
			"build with the embedded engine or another --builder", o.Names)
	}
	if m.kept != nil && m.kept.old == nil && b.Store != nil {
		m.kept = nil // it takes no layers, and makes all anew
	}
	if m.kept != nil && b.Store != nil {
		return nil, fmt.Errorf("%w: a Docker Engine's store makes other ones", errCannotReuse)
	}
	d, err := p.destinations(ctx, o, m.built())
	if err != nil {
		return nil, err
	}
	res, err := p.run(ctx, b, o, m, d.options, t)
	if err = errors.Join(err, d.finish(err)); err != nil {
		return nil, p.explainBuild(ctx, b, o, t, err)
	}
	if m.kept != nil {
		res = m.kept.result(res, t)
	}
	return res, d.spread(ctx, p, res)
}

// explainBuild adds to the error of a failed build how far the build got.
func (p *Project) explainBuild(ctx context.Context, b *builder.Builder, o *BuildOptions, t *tally, err error) error {
	switch failed := (*llb.CheckError)(nil); {
	case ctx.Err() != nil:
		return t.interrupted(ctx, err)
	case errors.Is(err, errCannotReuse):
		return err
	case t.res.Pushing && !errors.As(err, &failed):
		return fmt.Errorf("push %q: %w: what was built is kept: check the registry, and run again", o.Names,
			b.Explain(err))
	}
	return b.Explain(err)
}

// run builds, and pushes if o asks for it. The image's tests run while its layers are pushed. The
// image gets its names after it has passed.
func (p *Project) run(ctx context.Context, b *builder.Builder, o *BuildOptions, m target, to llb.BuildOptions,
	t *tally) (*llb.Result, error) {
	to.Checks, to.PackEarly, to.CPUs = p.smoke.checks(m.kept != nil && m.kept.old != nil), o.Push, b.CPUs()
	build := func(to llb.BuildOptions) (*llb.Result, error) {
		session := p.session(o.Secrets)
		if o.BuilderFetches && len(p.env.Bundles) == 0 { // mirrors give base images only for want of a better way
			session.Images = nil
		}
		build, ctx, err := b.Start(ctx, m.built().Images, session, to)
		if err != nil {
			return nil, err
		}
		p.layers.showOn(build.Content)
		if o.Push {
			err = p.pushBuild(ctx, b, o, m, to, t, build)
		}
		p.layers.showOn(nil)
		res, err := build.End(ctx, err)
		res.Steps = append(p.layers.steps(), res.Steps...)
		t.steps(res.Steps)
		return res, err
	}
	if o.BuilderFetches {
		return p.fetchThere(ctx, b, m.built(), to, build)
	}
	return build(to)
}

// session returns what the builder can ask this process for.
func (p *Project) session(secrets map[string]func() ([]byte, error)) llb.Session {
	var images llb.ImageSource
	if p.sources != nil {
		images = p.sources
	}
	return llb.Session{
		Artifacts:    p.sources,
		Images:       images,
		Layers:       p.layers.sessionLayers(),
		DockerConfig: p.env.getenv("DOCKER_CONFIG"),
		Secrets: func(_ context.Context, id string) ([]byte, error) {
			read, ok := secrets[id]
			if !ok {
				return nil, llb.ErrNoSecret
			}
			return read()
		},
	}
}
