package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// reuse is an image that takes the layers that did not change from one that a registry has.
type reuse struct {
	image       llb.Image // the whole one
	annotations map[string]string
	old         *carried
	rest        *layers.Rest
	made        *llb.Assembled // once it is known
}

// errCannotReuse says that an image must be built whole after all: a layer is gone, or the builder makes other ones.
var errCannotReuse = errors.New("layers of the image that is there cannot be reused")

// reuse makes the image from the layers of the one that was pushed before, and builds what it does not have; where that is
// nothing, no builder is asked. Nil: it has nothing to give, or cannot.
func (j *job) reuse(ctx context.Context, o *buildOptions, graph *layers.Graph, report *report) (*llb.Result, error) {
	k, err := j.reusable(ctx, o, graph)
	if k == nil || err != nil {
		return nil, err
	}
	if !k.rest.Nothing() {
		_, err = j.solve(ctx, o, k.rest.Graph, report, k)
	} else if err = k.assemble(ctx, nil); err == nil {
		err = j.pushReused(ctx, o, report, k)
	}
	if errors.Is(err, errCannotReuse) && ctx.Err() == nil {
		report.pushing = false
		j.app.say("note: building the whole image: %v", err)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	report.meta.Raybuild.LayersFrom = k.old.Ref
	return k.made.Result, nil
}

// pushReused pushes an image of which nothing is built.
func (j *job) pushReused(ctx context.Context, o *buildOptions, report *report, k *reuse) error {
	report.beforePush(k.made.Result)
	absent := func(context.Context, digest.Digest, int64) (io.ReadCloser, error) { return nil, os.ErrNotExist }
	err := j.send(ctx, o, parcel{root: k.made.Result.Digest, names: o.names, from: []string{k.old.Ref}, open: k.open(absent)}, report)
	if err != nil && ctx.Err() != nil {
		return report.interrupted()
	}
	return k.explain(err)
}

// reusable finds the image to take layers from, and what of the graph it has.
func (j *job) reusable(ctx context.Context, o *buildOptions, graph *layers.Graph) (*reuse, error) {
	if !o.push || !o.reuse || o.noCache || o.smoke || j.onto != nil || len(o.outputs)+len(o.parsed.cacheTo) > 0 ||
		len(graph.Images) != 1 || !j.sameRegistry(o.names) {
		return nil, nil
	}
	var old *carried
	var now *layers.Inputs
	g, gctx := errgroup.WithContext(ctx) // one waits for the registry, the other computes
	g.Go(func() (err error) { old, err = j.before(gctx, o); return err })
	g.Go(func() (err error) { now, err = j.inputs(gctx, graph); return err })
	if err := g.Wait(); err != nil || old == nil {
		return nil, err
	}
	rest := graph.Rest(now, old.record)
	if rest == nil {
		return nil, nil
	}
	return &reuse{image: graph.Images[0], annotations: graph.Annotations, old: old, rest: rest}, nil
}

// sameRegistry tells whether all names are of one registry, spoken to in one way.
func (j *job) sameRegistry(names []string) bool {
	for _, name := range names {
		if !sameHost(name, names[0]) {
			return false
		}
	}
	return true
}

// before is the image that was pushed last from the recipe, else one that has one of the names now, else the one that was pushed
// last to the repository, with its record; nil where none is in the registry that is pushed to, or has a record.
func (j *job) before(ctx context.Context, o *buildOptions) (*carried, error) {
	if j.ofImage != nil {
		return usable(j.ofImage, o.names[0]), nil
	}
	m, err := j.recall()
	if err != nil {
		j.app.say("warning: %v", err)
	}
	candidates := append([]string{m.Image}, o.names...)
	if o.graphTag {
		candidates = append(candidates, lastTag(o.names[0]))
	}
	for _, name := range candidates {
		if name == "" || !sameHost(name, o.names[0]) {
			continue
		}
		c, err := carriedBy(ctx, j.registry, name)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		// A build can do without it, and says what is wrong with the registry if it is more than that.
		if err == nil && usable(c, name) != nil {
			return c, nil
		}
	}
	return nil, nil
}

func usable(c *carried, name string) *carried {
	if c.record == nil || len(c.Platforms) != 1 || !sameHost(c.Ref, name) {
		return nil
	}
	return c
}

// assemble puts the image together, from built layers and those that are kept.
func (k *reuse) assemble(ctx context.Context, built []llb.StoredLayer) (err error) {
	var all []llb.StoredLayer
	have := k.old.Platforms[0].Layers
	for _, at := range k.rest.Kept {
		switch {
		case at >= len(have) || at < 0 && len(built) == 0:
			return fmt.Errorf("%w: its layers are not those of its record", errCannotReuse)
		case at < 0:
			all, built = append(all, built[0]), built[1:]
		default:
			l := have[at]
			d := ocispecs.Descriptor{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size, Annotations: l.Annotations}
			all = append(all, llb.StoredLayer{Descriptor: d, DiffID: l.DiffID})
		}
	}
	k.made, err = k.image.Assemble(ctx, all, k.annotations)
	return err
}

// open adds manifest and config to what a builder has. A layer that neither the builder nor the registry has ends the attempt.
func (k *reuse) open(built func(context.Context, digest.Digest, int64) (io.ReadCloser, error)) registry.Source {
	return func(ctx context.Context, d ocispecs.Descriptor, offset int64) (io.ReadCloser, error) {
		if dt, ok := k.made.Docs[d.Digest]; ok && offset <= int64(len(dt)) {
			return io.NopCloser(bytes.NewReader(dt[offset:])), nil
		}
		return built(ctx, d.Digest, offset)
	}
}

// push is what a build of the rest does with what it made: the whole image is pushed.
func (k *reuse) push(ctx context.Context, j *job, o *buildOptions, to llb.BuildOptions, report *report, p *llb.Pushing) error {
	if p.Result.Line {
		return fmt.Errorf("%w: this builder cannot merge layers", errCannotReuse)
	}
	built, err := p.Layers()
	if err != nil {
		return err
	}
	if err := k.assemble(ctx, built); err != nil {
		return err
	}
	p.Result.Images = k.made.Result.Images // its layers are shown
	k.made.Result.Steps, k.made.Result.Caches = p.Result.Steps, p.Result.Caches
	report.beforePush(k.made.Result)
	from := append(j.bases(k.rest.Graph), k.old.Ref)
	return k.explain(j.send(ctx, o, parcel{root: k.made.Result.Digest, names: to.Names, from: from, open: k.open(p.Open), shown: p}, report))
}

// explain tells a layer that is nowhere from a push that fails: such an image can be built whole.
func (k *reuse) explain(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: %s: %v", errCannotReuse, k.old.Ref, err) //nolint:errorlint // not as what the builder pushes itself
	}
	return err
}
