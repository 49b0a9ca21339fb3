package raybuild

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/signing"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// Whoever may push to a repository can write any annotation, tag and attached document. So raybuild
// compares what it finds with what it makes of recipe and lock, before an image counts as built and before
// its layers are reused. What is inside the layers above the base is still the work of whoever pushed them.

// errUnnamed says that an image has none of the annotations by which a manifest names its documents.
var errUnnamed = errors.New("its manifest does not name its lock, record and recipe; those of earlier versions of " +
	"raybuild do not")

// errOtherNames says that an image is the graph's, and its manifest names other documents than this build makes.
var errOtherNames = errors.New("its manifest names another lock, record or recipe; an edit that changes no layer " +
	"makes others, and so does another version of raybuild")

// baseWait is the longest wait for the registry of a base.
const baseWait = 10 * time.Second

// nameDocuments puts the digests of lock, record and recipe into the graph's annotations.
func (p *Project) nameDocuments(ctx context.Context, graph *layers.Graph) error {
	lock, err := p.lock.Marshal()
	if err != nil {
		return err
	}
	inputs, err := p.inputs(ctx, graph)
	if err != nil {
		return err
	}
	recipe, err := graph.RecipeRecord()
	if err != nil {
		return err
	}
	return graph.NameDocuments(lock, inputs, recipe)
}

// verify returns an error if the image that ref names is not the graph's, or is not on the graph's base.
func (p *Project) verify(ctx context.Context, graph *layers.Graph, ref string) error {
	bases := p.askBases(ctx)
	image, err := p.registry.Inspect(ctx, ref)
	if err != nil {
		return err
	}
	if err := verifyImage(ctx, graph, &image, graph.Annotations); err != nil {
		return err
	}
	return p.checkBases(ctx, &image, bases)
}

// verifyImage returns an error if manifests and configs of an image are not those that the graph makes with
// the image's own layers.
func verifyImage(ctx context.Context, graph *layers.Graph, image *registry.Image, annotations map[string]string) error {
	if len(image.Platforms) != len(graph.Images) {
		return fmt.Errorf("it has %d platforms, and this graph makes %d", len(image.Platforms), len(graph.Images))
	}
	manifests := make([][]byte, len(graph.Images))
	for i, want := range graph.Images {
		is := image.Platforms[i]
		if err := want.Verify(ctx, is.RawManifest, is.RawConfig, annotations); err != nil {
			return err
		}
		manifests[i] = is.RawManifest
	}
	if len(manifests) > 1 {
		return llb.VerifyIndex(image.Raw, graph.Images, manifests, annotations)
	}
	if !bytes.Equal(image.Raw, manifests[0]) {
		return errors.New("it is an index, and this graph makes one image")
	}
	return nil
}

// askedBases are the bases of a lock by platform. Each function waits until it is known which layers the base has.
type askedBases map[string]func() (lockedBase, error)

// lockedBase is a base with its layers. Their diff IDs may not be known.
type lockedBase struct {
	ref    string // by digest
	layers []registry.Layer
}

// askBases finds out which layers the bases have that this build's platforms are locked to. If the lock does not say
// it, askBases begins to ask the bases' registries.
func (p *Project) askBases(ctx context.Context) askedBases {
	all := askedBases{}
	if p.onto != nil {
		return all // the parent image is known
	}
	for _, name := range p.platform {
		locked := p.locked()[name]
		if locked == nil {
			continue
		}
		done := make(chan struct{})
		var found lockedBase
		var failed error
		go func() {
			defer close(done)
			found, failed = p.baseOf(ctx, locked.Base)
		}()
		all[name] = func() (lockedBase, error) {
			<-done
			return found, failed
		}
	}
	return all
}

// baseOf returns a base with its layers.
func (p *Project) baseOf(ctx context.Context, base layers.LockImage) (out lockedBase, err error) {
	if out.ref, err = registry.Pin(base.Reference, base.Digest.String()); err != nil {
		return out, err
	}
	if n := len(base.LayerDigests); n > 0 && n == len(base.DiffIDs) {
		for i, d := range base.LayerDigests {
			out.layers = append(out.layers, registry.Layer{Digest: d, DiffID: base.DiffIDs[i]})
		}
		return out, nil
	}
	ctx, cancel := context.WithTimeout(ctx, baseWait)
	defer cancel()
	found, ok, err := p.registry.Head(ctx, out.ref)
	if err == nil && !ok {
		err = fmt.Errorf("the registry has no %s", out.ref)
	}
	if err != nil {
		return out, fmt.Errorf("its base cannot be compared: %w", err)
	}
	for _, l := range found.Layers {
		out.layers = append(out.layers, registry.Layer{Digest: l.Digest})
	}
	return out, nil
}

// checkBases returns an error if the lowest layers of an image are not those of the locked bases, or not
// those of the image that packages are added to.
func (p *Project) checkBases(ctx context.Context, image *registry.Image, bases askedBases) error {
	for _, is := range image.Platforms {
		name := llb.FormatPlatform(is.Platform)
		if p.onto != nil {
			if below := p.ofImage.platform(name); below == nil || !startsWith(is.Layers, below.Layers) {
				return errors.New("its lowest layers are not those of the image that packages are added to")
			}
			continue
		}
		asked, ok := bases[name]
		if !ok {
			return fmt.Errorf("the lock has no platform %s", name)
		}
		base, err := asked()
		if err != nil {
			return err
		}
		if err := p.onBase(ctx, is.Layers, base); err != nil {
			return err
		}
	}
	return nil
}

// startsWith tells whether the first of some layers are those of lower.
func startsWith(all, lower []registry.Layer) bool {
	return len(lower) > 0 && len(lower) <= len(all) && slices.EqualFunc(all[:len(lower)], lower,
		func(a, b registry.Layer) bool { return a.Digest == b.Digest })
}

// believe returns an error if nothing shows that the image's record is its own. The manifest of an image
// that an earlier raybuild pushed does not name the record. Such an image is believed if it is the image of
// this very graph: then now, the graph's record, is its record too.
func (p *Project) believe(ctx context.Context, graph *layers.Graph, now *layers.BuildRecord, c *pushedImage) error {
	if !errors.Is(c.doubt, errUnnamed) || c.Annotations[layers.GraphAnnotation] != graph.Digest.String() {
		return c.doubt
	}
	if err := verifyImage(ctx, graph, &c.Image, graph.UnnamedAnnotations()); err != nil {
		return err
	}
	same := *now
	same.Linear = c.record.Linear
	c.record, c.doubt = &same, nil
	return nil
}

// notItsOwnError says that manifest or config of an image are not what its recipe and lock give.
type notItsOwnError struct {
	ref string
	err error
}

// Error implements error.
func (e *notItsOwnError) Error() string {
	return fmt.Sprintf("verify image %q: it is not what its recipe and its lock give: %v", e.ref, e.err)
}

// Unwrap gives what differs.
func (e *notItsOwnError) Unwrap() error { return e.err }

// provenBy tells by its own graph, made again, that an image is what its recipe and lock give. Recipe and
// lock are those that the manifest names, or those of the manifest's graph.
func (c *pushedImage) provenBy(ctx context.Context, graph *layers.Graph) error {
	annotations := graph.UnnamedAnnotations()
	if !errors.Is(c.doubt, errUnnamed) {
		maps.Copy(annotations, c.named())
	}
	if err := verifyImage(ctx, graph, &c.Image, annotations); err != nil {
		return &notItsOwnError{c.Ref, err}
	}
	if errors.Is(c.doubt, errUnnamed) && c.record != nil {
		if err := graph.CheckRecord(ctx, c.record); err != nil {
			return fmt.Errorf("verify image %q: %w", c.Ref, err)
		}
		c.doubt = nil
	}
	return nil
}

// mustBeNamed returns an error if the manifest does not name the image's documents, or if they do not fit it. It
// is for an image whose graph this raybuild makes in another way. If earlier is set, it believes an image whose
// manifest names nothing.
func (c *pushedImage) mustBeNamed(earlier bool) error {
	switch unnamed := len(c.named()) == 0 && (c.doubt == nil || errors.Is(c.doubt, errUnnamed)); {
	case unnamed && earlier:
		if c.record == nil {
			return noRecord(c.Ref)
		}
		c.doubt = nil
	case len(c.named()) < 3 || errors.Is(c.doubt, errUnnamed):
		return fmt.Errorf("verify image %q: %w, and this raybuild makes another graph of what is attached: build "+
			"the image from its recipe, or believe what is attached by --earlier-image", c.Ref, errUnnamed)
	case c.doubt != nil:
		return fmt.Errorf("verify image %q: %w: build the image from its recipe", c.Ref, c.doubt)
	case c.record == nil:
		return &NoRecordError{c.Ref, "record of its inputs that its manifest names", "build it from its recipe"}
	}
	return nil
}

// named returns the annotations by which the manifest names its documents.
func (c *pushedImage) named() map[string]string { return namesAmong(c.Annotations) }

// namesAmong returns those of some annotations by which a manifest names its documents.
func namesAmong(annotations map[string]string) map[string]string {
	out := map[string]string{}
	for _, k := range []string{layers.LockAnnotation, layers.InputsAnnotation, layers.RecipeAnnotation} {
		if v := annotations[k]; v != "" {
			out[k] = v
		}
	}
	return out
}

// doubted says that an image is not used, and why. It is only a note if nobody need have done anything wrong.
func (p *Project) doubted(ctx context.Context, ref, so string, err error) {
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, errUnnamed) || errors.Is(err, errOtherNames) || errors.Is(err, signing.ErrUnsigned):
		p.env.note("%s %s: %v", ref, so, err)
	default:
		p.env.warn("%s %s: %v", ref, so, err)
	}
}
