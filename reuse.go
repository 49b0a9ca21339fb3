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
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// reuse is an image that raybuild puts together: of unchanged layers of an image in a registry, of
// layers that it makes of wheels, and of layers that a builder builds.
type reuse struct {
	graph       *layers.Graph // the whole graph
	image       llb.Image     // the graph's only image
	annotations map[string]string
	old         *pushedImage // nil: no image has a layer of it
	rest        *layers.Delta
	asking      sync.WaitGroup    // waits until present is known
	present     registry.Presence // the kept layers that the registry has
	made        *llb.Assembled    // the new image; nil: not yet made
}

// errCannotReuse says that the whole image must be built: a layer is missing, or the builder makes other layers.
var errCannotReuse = errors.New("layers of the image that is there cannot be reused")

// from is the image that layers are reused from, if there is one.
func (k *reuse) from() []string {
	if k.old == nil {
		return nil
	}
	return []string{k.old.Ref}
}

// pushReused pushes an image that needs no builder.
func (p *Project) pushReused(ctx context.Context, o *BuildOptions, t *tally, k *reuse) (_ *llb.Result, err error) {
	var ahead sync.WaitGroup
	defer ahead.Wait()
	if len(p.smoke.run) > 0 {
		// The engine may have to start; the test tells an error.
		ahead.Go(func() { _, _ = p.connect(ctx) })
	}
	var shown *llb.Content
	if p.layers != nil && len(p.layers.keys) > 0 {
		show, unshown := llb.OpenDisplay(ctx, llb.SolveOptions{Progress: p.env.Progress, ProgressTo: p.env.ProgressTo})
		if unshown != nil {
			return nil, unshown
		}
		defer func() { err = errors.Join(err, show.Close()) }()
		shown = show.Content(&llb.Result{})
		p.layers.showOn(shown)
		defer p.layers.showOn(nil)
		p.pushMade(ctx, o.Names[0], k.from(), t, shown)
	}
	if err := k.assemble(ctx, p, nil); err != nil {
		return nil, err
	}
	if shown != nil {
		shown.Result = k.made.Result
	}
	k.made.Result.Steps = p.layers.steps()
	t.beforePush(k.made.Result)
	absent := func(context.Context, digest.Digest, int64) (io.ReadCloser, error) { return nil, os.ErrNotExist }
	ready := func(ctx context.Context, store func(context.Context) error) error {
		return k.passes(ctx, p, o.Names[0], nil, store)
	}
	err = k.send(ctx, p, o, pushRequest{names: o.Names, from: k.from(), open: k.open(absent), shown: shown,
		ready: ready}, t)
	t.steps(k.made.Result.Steps)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, t.interrupted(ctx, err)
	case err != nil:
		return nil, k.explain(err)
	}
	return k.result(k.made.Result, t), nil
}

// result returns the result of the whole image. part is the result of the layers that were built.
func (k *reuse) result(part *llb.Result, t *tally) *llb.Result {
	if k.old != nil {
		t.res.LayersFrom = k.old.Ref
	}
	k.made.Result.Steps = part.Steps // with the steps of tests
	return k.made.Result
}

// reusable finds an image to reuse layers from, and which layers of the graph it has. It
// returns nil if there is none.
func (p *Project) reusable(ctx context.Context, o *BuildOptions, graph *layers.Graph) (*reuse, error) {
	inline := slices.ContainsFunc(o.CacheTo, func(e llb.CacheEntry) bool { return e.Type == "inline" })
	if !o.Push || len(o.Outputs) > 0 || inline || len(graph.Images) != 1 {
		return nil, nil // the builder writes the image
	}
	if p.onto != nil {
		return p.reusableOnto(o, graph), nil
	}
	if o.NoReuse || o.NoCache || p.trust.mode == TrustNone || !p.sameRegistry(o.Names) {
		return made(graph), nil
	}
	p.tried = []*pushedImage{} // not nil: the images were asked for
	now, err := p.inputs(ctx, graph)
	if err != nil {
		return nil, err
	}
	bases, doubts := p.askBases(ctx), map[string]bool{}
	for old := range p.before(ctx, o) {
		err := p.mayTrust(ctx, old.Ref)
		if err == nil {
			err = p.believe(ctx, graph, now, old)
		}
		if err == nil {
			p.tried = append(p.tried, old)
			rest := graph.Missing(now, old.record, len(o.CacheTo) > 0)
			if rest == nil {
				continue
			}
			if rest.Kept[0] >= 0 {
				err = p.checkBases(ctx, &old.Image, bases)
			}
			if err == nil {
				return &reuse{graph: graph, image: graph.Images[0], annotations: graph.Annotations, old: old,
					rest: rest}, nil
			}
		}
		if !doubts[old.Ref] {
			p.doubted(ctx, old.Ref, "is not used, nor is any layer of it", err)
		}
		doubts[old.Ref] = true
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return made(graph), nil
}

// reusableOnto returns an image with all layers of the one that packages are added to. It returns nil
// if a builder must make the image.
func (p *Project) reusableOnto(o *BuildOptions, graph *layers.Graph) *reuse {
	rest := graph.MadeOnto()
	if rest == nil || o.NoReuse || o.NoCache || len(o.CacheTo) > 0 || !usable(p.ofImage) || p.ofImage.doubt != nil ||
		!sameHost(p.ofImage.Ref, o.Names[0]) || !p.sameRegistry(o.Names) {
		return nil
	}
	return &reuse{graph: graph, image: graph.Images[0], annotations: graph.Annotations, old: p.ofImage, rest: rest}
}

// made returns an image of which raybuild makes layers of wheels. It returns nil if there are none.
func made(graph *layers.Graph) *reuse {
	rest := graph.Made()
	if rest == nil {
		return nil
	}
	return &reuse{graph: graph, image: graph.Images[0], annotations: graph.Annotations, rest: rest}
}

// sameRegistry tells whether all names are in one registry.
func (p *Project) sameRegistry(names []string) bool {
	for _, name := range names {
		if !sameHost(name, names[0]) {
			return false
		}
	}
	return true
}

// before returns images with a record that may have layers of the new image: the image that was
// pushed last from the recipe, the images that now have one of the names, and the image that was
// pushed last to the first name's repository. It uses only images from repositories that this build
// pushes to. So someone who can write only to other repositories cannot change what this build pushes.
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
		bills := p.billTypes(o)
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
			// The build works without it, and fails later if the registry has a real problem.
			c, err := loadPushedImage(ctx, p.registry, name, bills...)
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

// kept returns the layers that are reused, as far as the old image has them.
func (k *reuse) kept() []ocispecs.Descriptor {
	var all []ocispecs.Descriptor
	have := k.have()
	for _, at := range k.rest.Kept {
		if at >= 0 && at < len(have) {
			all = append(all, descriptor(have[at]))
		}
	}
	return all
}

// have returns the layers of the old image.
func (k *reuse) have() []registry.Layer {
	if k.old == nil {
		return nil
	}
	return k.old.Platforms[0].Layers
}

// presentWait is the longest time for askPresent. The push asks again for layers without an answer.
const presentWait = 2500 * time.Millisecond

// askPresent asks the registry which of the kept layers it still has.
func (k *reuse) askPresent(ctx context.Context, p *Project) {
	if k.old == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, presentWait)
	defer cancel()
	k.present = p.registry.Present(ctx, k.old.Ref, k.kept())
}

func descriptor(l registry.Layer) ocispecs.Descriptor {
	return ocispecs.Descriptor{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size, Annotations: l.Annotations}
}

// assemble makes the image from built layers and kept layers.
func (k *reuse) assemble(ctx context.Context, p *Project, built []llb.StoredLayer) (err error) {
	var all []llb.StoredLayer
	have := k.have()
	for n, at := range k.rest.Kept {
		switch {
		case at == layers.MadeLayer:
			key, _ := k.image.Layers[n-len(k.image.BaseLayers)].Stage.Given()
			l, err := p.layers.Layer(ctx, key, false)
			if err != nil {
				return err
			}
			all = append(all, l)
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

// open returns a source that has manifest and config, and takes all other blobs from built. If
// neither the builder nor the registry has a layer, the attempt ends.
func (k *reuse) open(built func(context.Context, digest.Digest, int64) (io.ReadCloser, error)) registry.Source {
	return func(ctx context.Context, d ocispecs.Descriptor, offset int64) (io.ReadCloser, error) {
		if dt, ok := k.made.Docs[d.Digest]; ok && offset <= int64(len(dt)) {
			return io.NopCloser(bytes.NewReader(dt[offset:])), nil
		}
		return built(ctx, d.Digest, offset)
	}
}

// push pushes the whole image after the missing layers were built.
func (k *reuse) push(ctx context.Context, p *Project, o *BuildOptions, to llb.BuildOptions, t *tally, from []string,
	part *llb.Build) error {
	if part.Result.Linear {
		return fmt.Errorf("%w: this builder cannot merge layers", errCannotReuse)
	}
	built, err := part.Layers()
	if err != nil {
		return k.explain(err)
	}
	if err := k.assemble(ctx, p, built); err != nil {
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
	c.root = k.made.Result.Digest
	if k.old != nil {
		c.reused = k.old.Ref
	}
	if c.docs, err = p.documents(ctx, k.graph, k.made.Result.Linear); err != nil {
		return err
	}
	built := func(ctx context.Context, d digest.Digest) (io.ReadCloser, error) {
		return c.open(ctx, ocispecs.Descriptor{Digest: d}, 0)
	}
	p.startClaims(ctx, o, k.graph, k.made.Result, built)
	return p.send(ctx, o, c, t)
}

// explain returns errCannotReuse if a layer is nowhere, because the whole image can still be built
// then. It returns other errors as they are.
func (k *reuse) explain(err error) error {
	if registry.Missing(err) || errors.Is(err, os.ErrNotExist) {
		//nolint:errorlint // not as what the builder pushes itself
		return fmt.Errorf("%w: %s: %v", errCannotReuse, strings.Join(k.from(), ""), err)
	}
	return err
}
