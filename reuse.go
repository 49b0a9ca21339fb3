package raybuild

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// reuse is an image that takes the layers that did not change from one that a registry has.
type reuse struct {
	graph       *layers.Graph // the whole one
	image       llb.Image     // its
	annotations map[string]string
	old         *pushedImage
	rest        *layers.Delta
	asking      sync.WaitGroup    // until present is known
	present     registry.Presence // the kept layers that the registry has
	made        *llb.Assembled    // once it is known
}

// errCannotReuse says that an image must be built whole after all: a layer is gone, or the builder makes other ones.
var errCannotReuse = errors.New("layers of the image that is there cannot be reused")

// pushReused pushes an image of which nothing is built.
func (p *Project) pushReused(ctx context.Context, o *BuildOptions, t *tally, k *reuse) (*llb.Result, error) {
	if err := k.assemble(ctx, nil); err != nil {
		return nil, err
	}
	t.beforePush(k.made.Result)
	absent := func(context.Context, digest.Digest, int64) (io.ReadCloser, error) { return nil, os.ErrNotExist }
	ready := func(ctx context.Context, store func(context.Context) error) error {
		return k.passes(ctx, p, o.Names[0], nil, store)
	}
	err := k.send(ctx, p, o, pushRequest{names: o.Names, from: []string{k.old.Ref}, open: k.open(absent),
		ready: ready}, t)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, t.interrupted(ctx, err)
	case err != nil:
		return nil, k.explain(err)
	}
	return k.result(k.made.Result, t), nil
}

// result is the whole image's, where part is that of what was built.
func (k *reuse) result(part *llb.Result, t *tally) *llb.Result {
	t.res.LayersFrom = k.old.Ref
	k.made.Result.Steps = part.Steps // with those of tests
	return k.made.Result
}

// reusable finds the image to take layers from, and what of the graph it has.
func (p *Project) reusable(ctx context.Context, o *BuildOptions, graph *layers.Graph) (*reuse, error) {
	if !o.Push || o.NoReuse || o.NoCache || p.onto != nil || len(o.Outputs)+len(o.CacheTo) > 0 ||
		len(graph.Images) != 1 || !p.sameRegistry(o.Names) {
		return nil, nil
	}
	p.tried = []*pushedImage{} // asked for, be there none
	record := sync.OnceValues(func() (*layers.BuildRecord, error) { return p.inputs(ctx, graph) })
	go record() //nolint:errcheck // begun while the registry is asked; its error is taken below
	for old := range p.before(ctx, o) {
		now, err := record()
		if err != nil {
			return nil, err
		}
		p.tried = append(p.tried, old)
		if rest := graph.Missing(now, old.record); rest != nil {
			return &reuse{graph: graph, image: graph.Images[0], annotations: graph.Annotations, old: old,
				rest: rest}, nil
		}
	}
	_, err := record() // nothing else may make it meanwhile
	return nil, errors.Join(err, ctx.Err())
}

// sameRegistry tells whether all names are of one registry, spoken to in one way.
func (p *Project) sameRegistry(names []string) bool {
	for _, name := range names {
		if !sameHost(name, names[0]) {
			return false
		}
	}
	return true
}

// before are images with a record that may have layers of the one that is built: that which was
// pushed last from the recipe, those that have one of the names now, and the one that was pushed
// last to the first name's repository. They are of the repositories that are pushed to: who may
// write to another one has no say in what comes into these.
func (p *Project) before(ctx context.Context, o *BuildOptions) iter.Seq[*pushedImage] {
	return func(yield func(*pushedImage) bool) {
		if p.ofImage != nil {
			if usable(p.ofImage) && sameHost(p.ofImage.Ref, o.Names[0]) {
				yield(p.ofImage)
			}
			return
		}
		m, err := p.recall()
		if err != nil {
			p.env.warn("%v", err)
		}
		candidates := append([]string{m.Image}, o.Names...)
		if !o.NoGraphTag {
			candidates = append(candidates, lastTag(o.Names[0]))
		}
		for i, name := range candidates {
			if name == "" || slices.Contains(candidates[:i], name) ||
				!slices.ContainsFunc(o.Names, func(n string) bool { return sameRepository(n, name) }) {
				continue
			}
			if found, asked := p.seen[name]; asked {
				if name = found; name == "" {
					continue
				}
			}
			// A build can do without it, and says what is wrong with the registry if it is more than that.
			c, err := loadPushedImage(ctx, p.registry, name)
			if ctx.Err() != nil || err == nil && usable(c) && !yield(c) {
				return
			}
		}
	}
}

func usable(c *pushedImage) bool { return c.record != nil && len(c.Platforms) == 1 }

func sameRepository(a, b string) bool {
	x, errX := reference.ParseNormalizedNamed(a)
	y, errY := reference.ParseNormalizedNamed(b)
	return errX == nil && errY == nil && x.Name() == y.Name()
}

// kept are the layers that are taken, as far as the image that is there has them.
func (k *reuse) kept() []ocispecs.Descriptor {
	var all []ocispecs.Descriptor
	have := k.old.Platforms[0].Layers
	for _, at := range k.rest.Kept {
		if at >= 0 && at < len(have) {
			all = append(all, descriptor(have[at]))
		}
	}
	return all
}

// presentWait is the longest that the question for the kept layers may take. The push asks again for the others.
const presentWait = 2500 * time.Millisecond

// askPresent asks the registry which of the kept layers it still has.
func (k *reuse) askPresent(ctx context.Context, p *Project) {
	ctx, cancel := context.WithTimeout(ctx, presentWait)
	defer cancel()
	k.present = p.registry.Present(ctx, k.old.Ref, k.kept())
}

func descriptor(l registry.Layer) ocispecs.Descriptor {
	return ocispecs.Descriptor{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size, Annotations: l.Annotations}
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
			if l.DiffID == "" {
				return fmt.Errorf("%w: its config does not name all layers", errCannotReuse)
			}
			all = append(all, llb.StoredLayer{Descriptor: descriptor(l), DiffID: l.DiffID})
		}
	}
	if len(built) > 0 {
		return fmt.Errorf("%w: the builder made other layers than the graph has", errCannotReuse)
	}
	k.made, err = k.image.Assemble(ctx, all, k.annotations)
	return err
}

// open adds manifest and config to what a builder has. A layer that neither the builder nor the
// registry has ends the attempt.
func (k *reuse) open(built func(context.Context, digest.Digest, int64) (io.ReadCloser, error)) registry.Source {
	return func(ctx context.Context, d ocispecs.Descriptor, offset int64) (io.ReadCloser, error) {
		if dt, ok := k.made.Docs[d.Digest]; ok && offset <= int64(len(dt)) {
			return io.NopCloser(bytes.NewReader(dt[offset:])), nil
		}
		return built(ctx, d.Digest, offset)
	}
}

// push is what a build of the rest does with what it made: the whole image is pushed.
func (k *reuse) push(ctx context.Context, p *Project, o *BuildOptions, to llb.BuildOptions, t *tally, from []string,
	part *llb.Build) error {
	if part.Result.Linear {
		return fmt.Errorf("%w: this builder cannot merge layers", errCannotReuse)
	}
	built, err := part.Layers()
	if err != nil {
		return k.explain(err)
	}
	if err := k.assemble(ctx, built); err != nil {
		return err
	}
	part.Result.Images = k.made.Result.Images // its layers are shown
	k.made.Result.Steps, k.made.Result.Caches = part.Result.Steps, part.Result.Caches
	t.beforePush(k.made.Result)
	k.asking.Wait()
	ready := func(ctx context.Context, store func(context.Context) error) error {
		return k.passes(ctx, p, to.Names[0], part, store)
	}
	return k.explain(k.send(ctx, p, o, pushRequest{names: to.Names, from: from, open: k.open(part.Open),
		present: k.present, shown: part.Content, ready: ready}, t))
}

// send pushes the whole image.
func (k *reuse) send(ctx context.Context, p *Project, o *BuildOptions, c pushRequest, t *tally) (err error) {
	c.root, c.reused = k.made.Result.Digest, k.old.Ref
	if c.docs, err = p.documents(ctx, k.graph, k.made.Result.Linear); err != nil {
		return err
	}
	return p.send(ctx, o, c, t)
}

// explain tells a layer that is nowhere from a push that fails: such an image can be built whole.
func (k *reuse) explain(err error) error {
	if registry.Missing(err) || errors.Is(err, os.ErrNotExist) {
		//nolint:errorlint // not as what the builder pushes itself
		return fmt.Errorf("%w: %s: %v", errCannotReuse, k.old.Ref, err)
	}
	return err
}
