package raybuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/raybuild/raybuild/internal/convert"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// madeLayers are the layers of an image that raybuild makes of wheels, while the builder builds the
// others. A nil value has no layers.
type madeLayers struct {
	*convert.Converter
	keys []digest.Digest // of those that the image needs and that must be made
	old  *oldLayers      // those that a builder may need, and that an image has

	mu    sync.Mutex
	show  func(llb.Step)
	began []llb.Step // before somebody showed them
}

// makeLayers begins to make the layers of a target that are made of wheels.
func (p *Project) makeLayers(ctx context.Context, o *BuildOptions, m target) (*madeLayers, error) {
	if len(m.graph.Wheels) == 0 {
		return nil, nil
	}
	home, err := p.env.MakeHome()
	if err != nil {
		return nil, err
	}
	w := &madeLayers{}
	var before []*pushedImage
	switch {
	case m.kept != nil && m.kept.old != nil:
		before = []*pushedImage{m.kept.old}
	case m.kept == nil && !o.NoReuse && !o.NoCache && m.graph.MakesWheels():
		before = p.passedBefore(ctx, o, nil)
	}
	if w.old, err = p.findOld(ctx, m.graph, before); err != nil {
		return nil, err
	}
	w.keys = slices.DeleteFunc(m.made(), func(key digest.Digest) bool { return w.old.byKey[key].Digest != "" })
	options := convert.Options{Dir: filepath.Join(home, layersDir), Artifacts: noArtifacts{}, Step: w.step,
		Anew: o.NoCache, Elsewhere: p.pythonInBuilder, About: p.knowWheel(home),
		Trees: len(p.smoke.run) > 0 && p.env.builder().Named() == ""} // the embedded engine will test the image
	if len(w.keys) > 0 { // else nothing is fetched, and no mirror is measured
		out, err := p.reach(ctx)
		if err != nil {
			return nil, err
		}
		out.Know(m.graph.Artifacts, m.graph.Local)
		options.Artifacts = out
	}
	w.Converter = convert.New(ctx, options)
	w.Know(m.graph.Wheels)
	w.Start(w.keys)
	return w, nil
}

// noArtifacts has none.
type noArtifacts struct{}

// Open implements llb.ArtifactSource.
func (noArtifacts) Open(_ context.Context, d digest.Digest) (io.ReadCloser, int64, error) {
	return nil, 0, fmt.Errorf("open artifact %s: %w", d, os.ErrNotExist)
}

// Layer implements llb.LayerSource.
func (w *madeLayers) Layer(ctx context.Context, key digest.Digest, only bool) (llb.StoredLayer, error) {
	l, err := w.Converter.Layer(ctx, key, true)
	if err == nil || only && w.old.byKey[key].Digest == "" {
		return l, err
	}
	if l, ok := w.old.byKey[key]; ok && !only {
		return l, nil
	}
	return w.Converter.Layer(ctx, key, only)
}

// OpenLayer implements llb.LayerSource.
func (w *madeLayers) OpenLayer(d digest.Digest) (llb.LayerReader, error) {
	r, err := w.Converter.OpenLayer(d)
	if errors.Is(err, os.ErrNotExist) {
		return w.old.open(d)
	}
	return r, err
}

// made are the keys of the layers that the target needs and no image has.
func (m target) made() []digest.Digest {
	var keys []digest.Digest
	for _, image := range m.graph.Images {
		front := len(image.BaseLayers)
		for n, l := range image.Layers {
			key, ok := l.Stage.Given()
			if ok && (m.kept == nil || m.kept.rest.Kept[front+n] < 0) {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// givenKey is the key of a layer that is made of wheels.
func (g *comparison) givenKey(platform, name string) (digest.Digest, bool) {
	for _, image := range g.graph.Images {
		if llb.FormatPlatform(image.Platform) != platform {
			continue
		}
		for _, l := range image.Layers {
			if key, ok := l.Stage.Given(); ok && l.Name == name {
				return key, true
			}
		}
	}
	return "", false
}

func (g *comparison) given(platform, name string) bool {
	_, ok := g.givenKey(platform, name)
	return ok
}

// made is a layer of wheels, if this machine has made it before: its size is known then.
func (g *comparison) made(f layers.LayerComparison) (llb.StoredLayer, bool) {
	key, ok := g.givenKey(f.Platform, f.Name)
	home, err := g.p.env.homeDir()
	if !ok || err != nil || !g.graph.MakesWheels() {
		return llb.StoredLayer{}, false
	}
	return convert.Known(filepath.Join(home, layersDir), key)
}

// onlyAdds tells whether the image only adds packages to one that has passed its test.
func (g *comparison) onlyAdds(old *layers.BuildRecord) bool {
	how, _ := SmokeByRecipe.tests(g.p.recipe)
	all, err := g.graph.SmokeTests(how, g.inputs)
	return err == nil && len(all) == 1 && (all[0].OnlyAdds(old) || g.p.onlyAddsHere(&all[0]))
}

// sayConflicts warns of files that several wheels of the image bring with different content. An image that takes all
// its layers of wheels from another was warned of already.
func (p *Project) sayConflicts(graph *layers.Graph) {
	if len(p.layers.keys) == 0 {
		return
	}
	type pair struct{ first, second string }
	for _, keys := range graph.WheelKeys() {
		var order []pair
		files := map[pair][]string{}
		for _, c := range p.layers.Conflicts(keys) {
			of := pair{c.First, c.Second}
			if files[of] == nil {
				order = append(order, of)
			}
			files[of] = append(files[of], c.Path)
		}
		for _, of := range order {
			what := files[of][0]
			if n := len(files[of]) - 1; n > 0 {
				what = fmt.Sprintf("%s (and %d more)", what, n)
			}
			p.env.warn("%s: both %s and %s bring it, with different content; the image has that of %s", what, of.first,
				of.second, of.second)
		}
	}
}

// step shows a step, as soon as there is a display.
func (w *madeLayers) step(s llb.Step) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.show == nil {
		w.began = append(w.began, s)
		return
	}
	w.show(s)
}

// showOn shows all steps on a build's display; nil ends that.
func (w *madeLayers) showOn(c *llb.Content) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if c == nil {
		w.show = nil
		return
	}
	w.show = c.ShowStep
	for _, s := range w.began {
		c.ShowStep(s)
	}
	w.began = nil
}

// steps says how the layers were made.
func (w *madeLayers) steps() []llb.Step {
	if w == nil {
		return nil
	}
	return w.Steps()
}

// source is a layer's bytes; os.ErrNotExist: it is not one of these.
func (w *madeLayers) source(d digest.Digest, offset int64) (io.ReadCloser, error) {
	if w == nil {
		return nil, os.ErrNotExist
	}
	r, err := w.Converter.OpenLayer(d)
	if err != nil {
		return nil, err
	}
	f, ok := r.(io.ReadSeekCloser)
	if !ok {
		return nil, errors.Join(os.ErrNotExist, r.Close())
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// sentEarly is the size in bytes from which a layer is sent before the image is complete.
const sentEarly = 1 << 20

// pushMade pushes layers as soon as they are made. It reports no error: the push of the image tries
// these layers again.
func (p *Project) pushMade(ctx context.Context, name string, from []string, t *tally, shown *llb.Content) {
	w := p.layers
	if w == nil {
		return
	}
	var g errgroup.Group
	for _, key := range w.keys {
		g.Go(func() error {
			l, err := w.Layer(ctx, key, false)
			if err != nil || l.Size < sentEarly {
				return nil //nolint:nilerr // the push says it
			}
			source := func(_ context.Context, d ocispecs.Descriptor, offset int64) (io.ReadCloser, error) {
				return w.source(d.Digest, offset)
			}
			done, err := p.registry.PushBlobs(ctx, []ocispecs.Descriptor{l.Descriptor}, source, registry.PushOptions{
				Names: []string{name}, From: append(w.Repos(l.Digest), from...), Retry: -1,
				Progress: func(d ocispecs.Descriptor, sent int64, reused bool) {
					if shown != nil {
						shown.Show(d.Digest, "layer ["+w.name(key)+"]", sent, d.Size, reused)
					}
				},
			})
			t.pushedBefore(done)
			if repo, named := reference.ParseNormalizedNamed(name); err == nil && named == nil {
				_ = w.Pushed(l.Digest, repo.Name()) // another push of this layer sends it, then
			}
			return nil
		})
	}
	_ = g.Wait() // no function returns an error
}

// name is that of a key's layer.
func (w *madeLayers) name(key digest.Digest) string {
	l, _ := w.Lookup(key)
	return l.Name
}

// sessionLayers are the layers as a session gives them to a builder.
func (w *madeLayers) sessionLayers() llb.LayerSource {
	if w == nil {
		return nil
	}
	return w
}
