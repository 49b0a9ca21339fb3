package raybuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/sources"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// AddResult says what [Add] did.
type AddResult struct {
	Image   string          // the resulting image, by digest
	From    string          // the image that packages were added to, by digest
	Added   bool            // false: the image already has all requirements
	Changes []layers.Change // changes of the lock
	Build   *Result         // nil: nothing was built
}

// onto describes the image that packages are added to.
type onto struct {
	below  map[string]layers.ParentImage // the parent image, by platform
	source *layers.RecipeRecord
	lock   *layers.Lock
}

// Add adds Python packages to an image as one more layer. requirements are in the form of PEP 508.
// The image's own Python resolves them. Packages of the image keep their versions. Recipe and lock
// come from the image, so raybuild must have pushed it. From the recipe that o names, Add uses only
// mirrors.fetch and trust. The result gets the names of b, or the image's own name if b has none. It has the
// image's compression, labels and annotations.
func Add(ctx context.Context, image string, requirements []string, o Options, b BuildOptions) (_ *AddResult,
	err error) {
	defer public(ctx, &err)
	start := time.Now()
	asked, err := readRequirements(requirements)
	if err != nil {
		return nil, err
	}
	if err := nameResult(&b, image); err != nil {
		return nil, err
	}
	p, source, err := openImage(ctx, o, image, true, "a list under pip.added and raybuild --push do")
	if err != nil {
		return nil, err
	}
	defer p.Close()
	if err := p.mustTrust(ctx); err != nil {
		return nil, err
	}
	if err := p.openKey(ctx, &b); err != nil {
		return nil, err
	}
	b.Compression, b.Labels, b.Annotations = source.Compression, source.Labels, source.Annotations
	if p.ofImage.record == nil {
		return nil, noRecord(image)
	}
	if err := p.proveParent(ctx, source, b.EarlierImage); err != nil {
		return nil, err
	}
	out := &AddResult{From: p.ofImage.Ref}
	if layers.Satisfied(p.recipe, p.lock, asked) {
		out.Image, err = p.hasAll(ctx, &b)
		return out, err
	}
	if err := p.prepareOnto(ctx, source, asked); err != nil {
		return nil, err
	}
	if err := p.lockOnto(ctx, image, &b); err != nil {
		return nil, sources.Explain(err)
	}
	if out.Changes = layers.Diff(p.onto.lock, p.lock); len(out.Changes) == 0 {
		out.Image, err = p.hasAll(ctx, &b)
		return out, err
	}
	out.Added = true
	if out.Build, err = p.build(ctx, &b, start); err != nil {
		return nil, err
	}
	out.Image = out.Build.Reference
	return out, nil
}

// readRequirements parses requirements and returns them in their normal form.
func readRequirements(texts []string) ([]string, error) {
	if len(texts) == 0 {
		return nil, optionErrorf("", "nothing is added: name a requirement, such as einops>=0.8")
	}
	var out []string
	for _, text := range texts {
		req, err := layers.ParseRequirement(text)
		if err != nil {
			return nil, optionErrorf("", "requirement %q: %w", text, err)
		}
		out = append(out, req.String())
	}
	return out, nil
}

// hasAll is for an image that already has all requirements. It gives the image the names of o and builds nothing.
func (p *Project) hasAll(ctx context.Context, o *BuildOptions) (string, error) {
	p.env.info("up to date: %s already has what you ask for", p.ofImage.Ref)
	if !o.Push {
		return p.ofImage.Ref, nil
	}
	if err := p.tag(ctx, p.ofImage.Ref, o.Names...); err != nil {
		return "", err
	}
	if err := p.copyDocuments(ctx, o.Names); err != nil {
		return "", err
	}
	return registry.Pin(o.Names[0], p.ofImage.Digest.String())
}

// prepareOnto finds the image's layers, and changes the recipe into the result's recipe.
func (p *Project) prepareOnto(ctx context.Context, source *layers.RecipeRecord, requirements []string) error {
	p.onto = &onto{source: source, lock: p.lock, below: map[string]layers.ParentImage{}}
	var local []layers.LocalFile
	for _, of := range p.ofImage.record.Platforms {
		image := p.ofImage.platform(of.Platform)
		at := 0
		for _, l := range of.Layers {
			if l.Name == "env" {
				break
			}
			at += l.Count
		}
		if at >= len(image.Layers) {
			return fmt.Errorf("image %q has no layer of its environment: build it from its recipe", p.ofImage.Ref)
		}
		ref, err := registry.Pin(p.ofImage.Ref, image.Digest.String())
		if err != nil {
			return err
		}
		env := image.Layers[at]
		below := layers.ParentImage{Ref: ref, Layers: len(image.Layers), History: history(image),
			Env: llb.Blob{Digest: env.Digest, Name: "env.tar"}}
		p.onto.below[of.Platform] = below
		local = append(local, p.blobOf(ctx, ref, env.Digest, env.Size, below.Env.Name))
	}
	p.recipe.Pip.Added = append(p.recipe.Pip.Added, requirements)
	out, err := p.reach(ctx)
	if err != nil {
		return err
	}
	out.Know(nil, local)
	return nil
}

// history returns the history text of each layer of an image.
func history(image *registry.PlatformImage) []string {
	var out []string
	for _, l := range image.Layers {
		out = append(out, l.History)
	}
	return out
}

// blobOf returns a layer of an image as a file that a builder can ask for.
func (p *Project) blobOf(ctx context.Context, ref string, d digest.Digest, size int64, name string) layers.LocalFile {
	return layers.LocalFile{Digest: d, Name: name, Size: size, Open: func() (io.ReadCloser, error) {
		r, err := p.registry.OpenBlob(ctx, ref, d, 0)
		if err != nil {
			return nil, err
		}
		return p.sources.Count(r), nil
	}}
}

// lockOnto resolves the added packages. If an image under one of the names already has their lock
// from an earlier call, it uses that lock instead.
func (p *Project) lockOnto(ctx context.Context, onto string, o *BuildOptions) error {
	for _, name := range o.Names {
		found, ok, err := p.registry.Head(ctx, name)
		if err != nil {
			return err
		}
		if !ok || found.Annotations[layers.LockAnnotation] == "" {
			continue
		}
		if done, err := p.lockOfResult(ctx, found, o); done || err != nil {
			return err
		}
	}
	if err := p.askToPush(ctx, o); err != nil {
		return err
	}
	lock, err := layers.ResolveAdded(ctx, p.resolveInput(nil), p.onto.below)
	if err != nil && ctx.Err() == nil {
		err = p.sources.Unanswered(err)
	}
	if err != nil && p.builder != nil && ctx.Err() == nil {
		err = p.builder.Explain(err)
	}
	if err != nil {
		return fmt.Errorf("add to %q: %w", onto, err)
	}
	p.tell(layers.Diff(p.lock, lock))
	return p.useLock(lock)
}

// lockOfResult uses the lock of an image that has one of the names, if the image is what this call makes with that
// lock.
func (p *Project) lockOfResult(ctx context.Context, found registry.Descriptor, o *BuildOptions) (bool, error) {
	image := registry.Image{Ref: found.Ref, Annotations: found.Annotations}
	lock, err := lockOf(ctx, p.registry, &image)
	if err != nil || !layers.LockExtends(p.recipe, p.onto.lock, lock) {
		return false, ctx.Err()
	}
	before := p.lock
	if err := p.useLock(lock); err != nil {
		return false, err
	}
	graph, err := p.graph(ctx, o)
	if err == nil {
		err = p.nameDocuments(ctx, graph)
	}
	if err != nil {
		return false, err
	}
	if p.isGraphs(ctx, graph, found) {
		return true, nil
	}
	return false, p.useLock(before)
}

// proveParent returns an error if nothing shows that recipe, lock and record are those of the image that packages
// are added to.
func (p *Project) proveParent(ctx context.Context, source *layers.RecipeRecord, earlier bool) error {
	if !errors.Is(p.ofImage.doubt, errUnnamed) {
		return p.ofImage.mustBeNamed(earlier)
	}
	options := source.Options()
	options.Packed, options.Extra = source.Files, p.env.Layers
	graph, err := layers.NewGraph(ctx, p.recipe, p.lock, options)
	if err != nil {
		return besideRecipe(err)
	}
	if graph.Digest.String() != p.ofImage.Annotations[layers.GraphAnnotation] {
		return p.ofImage.mustBeNamed(earlier)
	}
	return p.ofImage.provenBy(ctx, graph)
}

// graphOnto makes the graph of the recipe with the added packages, on top of the image.
func (p *Project) graphOnto(ctx context.Context, o layers.GraphOptions) (*layers.Graph, error) {
	below, source := *p.recipe, p.onto.source
	below.Pip.Added = below.Pip.Added[:len(below.Pip.Added)-1]
	options := source.Options()
	options.Packed, o.Packed, options.Extra = source.Files, source.Files, p.env.Layers
	was, err := layers.NewGraph(ctx, &below, p.onto.lock, options)
	if err != nil {
		return nil, besideRecipe(err)
	}
	graph, err := layers.NewGraph(ctx, p.recipe, p.lock, o)
	if err != nil {
		return nil, besideRecipe(err)
	}
	if was.Digest != source.Graph {
		graph = graph.WithParent(source.Graph)
	}
	return graph.OnImage(p.onto.below, p.ofImage.record)
}
