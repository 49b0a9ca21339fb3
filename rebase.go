package raybuild

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/show"
	"github.com/raybuild/raybuild/internal/sources"
	"github.com/raybuild/raybuild/layers"
)

// RebaseOptions say which base an image gets and where the result goes. [Rebase] ignores
// Compression, Labels and Annotations, and uses those of the image.
type RebaseOptions struct {
	BuildOptions
	// Base is the reference of the new base. Default: the image's own base, with the digest that its tag has today.
	Base string
}

// RebaseResult says what [Rebase] did.
type RebaseResult struct {
	Image   string          // the resulting image, by digest
	From    string          // the image that was rebased, by digest
	Rebased bool            // false: the image already has this base
	Changes []layers.Change // changes of the lock
	Build   *Result         // nil: nothing was built
}

// Rebase builds an image again on a patched base. It needs no recipe file, because an image that raybuild
// pushed carries recipe and lock. The recipe's local files must lie beside the recipe that o names. From
// that recipe Rebase uses only mirrors.fetch and trust. The result gets the names of r, or the image's own name if
// r has none. It is an error if the base has another release, or an older glibc than the packages need.
func Rebase(ctx context.Context, image string, o Options, r RebaseOptions) (_ *RebaseResult, err error) {
	defer public(ctx, &err)
	start := time.Now()
	if err := nameResult(&r.BuildOptions, image); err != nil {
		return nil, err
	}
	p, source, err := openImage(ctx, o, image, false, "raybuild lock --update base and raybuild --push do")
	if err != nil {
		return nil, err
	}
	defer p.Close()
	if err := p.mustTrust(ctx); err != nil {
		return nil, err
	}
	if err := p.openKey(ctx, &r.BuildOptions); err != nil {
		return nil, err
	}
	r.Compression, r.Labels, r.Annotations = source.Compression, source.Labels, source.Annotations
	if r.Base != "" {
		p.recipe.Base = r.Base
	} else if strings.Contains(p.recipe.Base, "@") {
		return nil, optionErrorf("Base", "is missing: image %q was made on a base that is pinned by digest, %s",
			image, p.recipe.Base)
	}
	if _, err := registry.Host(p.recipe.Base); err != nil {
		return nil, &OptionError{Field: "Base", Err: err}
	}
	if err := p.sameAsImage(ctx, source, r.EarlierImage); err != nil {
		return nil, err
	}
	if err := p.askToPush(ctx, &r.BuildOptions); err != nil {
		return nil, err
	}
	before := p.lock
	if err := p.resolve(ctx, []string{"base"}); err != nil {
		return nil, sources.Explain(err)
	}
	out := &RebaseResult{From: p.ofImage.Ref, Changes: layers.Diff(before, p.lock)}
	if out.Rebased = len(out.Changes) > 0; !out.Rebased {
		out.Image, err = p.onItAlready(ctx, &r.BuildOptions)
		return out, err
	}
	if out.Build, err = p.build(ctx, &r.BuildOptions, start); err != nil {
		return nil, err
	}
	out.Image = out.Build.Reference
	return out, nil
}

// nameResult gives the result of Rebase or Add the name of the image that it is made from, unless o has names.
func nameResult(o *BuildOptions, image string) error {
	if _, err := registry.Host(image); err != nil {
		return &OptionError{Err: err}
	}
	if len(o.Names) == 0 {
		if strings.Contains(image, "@") {
			return optionErrorf("Names", "is missing: image %q is named by its digest, and the result will have "+
				"another digest", image)
		}
		o.Names = []string{image}
	}
	return o.Check()
}

// onItAlready is for an image that already has the base. It gives the image the names of o and builds nothing.
func (p *Project) onItAlready(ctx context.Context, o *BuildOptions) (string, error) {
	if err := p.checkBases(ctx, &p.ofImage.Image, p.askBases(ctx)); err != nil {
		return "", fmt.Errorf("rebase %q: %w: build it from its recipe", p.ofImage.Ref, err)
	}
	p.env.info("up to date: %s stands on the newest %s", p.ofImage.Ref, p.recipe.Base)
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

// openImage makes a project of the recipe and lock that an image carries, with the mirrors and the trust of
// the local recipe. filesElsewhere says that the recipe's local files are not needed. instead is for the
// error if the image carries no recipe or lock: it says which commands do the same from the recipe.
func openImage(ctx context.Context, o Options, name string, filesElsewhere bool,
	instead string) (*Project, *layers.RecipeRecord, error) {
	p, err := newProject(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	here, err := p.env.recipeHere()
	if err != nil {
		return nil, nil, err
	}
	if err := p.trustIn(here.Trust, here.Dir); err != nil {
		return nil, nil, err
	}
	image, err := loadPushedImage(ctx, p.registry, name)
	if err != nil {
		return nil, nil, err
	}
	source, err := sourceOf(ctx, p.registry, &image.Image)
	if err != nil {
		return nil, nil, err
	}
	lock, err := lockOf(ctx, p.registry, &image.Image)
	if err != nil {
		return nil, nil, err
	}
	if source == nil || lock == nil {
		return nil, nil, &NoRecordError{name, "recipe and lock", "where its recipe is, " + instead + " the same"}
	}
	if p.recipe, err = p.env.recipeOf(image.Ref, source, here, filesElsewhere); err != nil {
		return nil, nil, err
	}
	p.platform, p.found, p.ofImage = source.Platforms, lock, image
	if len(p.platform) == 0 {
		p.platform = p.recipe.Platforms
	}
	return p, source, p.useLock(lock)
}

// recipeOf loads the recipe that an image carries as if its file were here. It reports the
// same errors as for a file.
func (e *env) recipeOf(ref string, source *layers.RecipeRecord, here *layers.Recipe,
	filesElsewhere bool) (*layers.Recipe, error) {
	file := filepath.Join(filepath.Dir(e.path(e.recipe())), "recipe of "+ref[strings.LastIndex(ref, "/")+1:])
	recipe, err := layers.LoadRecipe(source.Recipe, file, nil)
	if err != nil {
		return nil, err
	}
	recipe.Limits = here.Limits
	recipe.Mirrors.Fetch, recipe.Mirrors.FetchAuto = here.Mirrors.Fetch, here.Mirrors.FetchAuto
	if !filesElsewhere {
		if err := recipe.LoadFiles(); err != nil {
			return nil, besideRecipe(err)
		}
	}
	if _, err := layers.Check(recipe); err != nil {
		return nil, err
	}
	return recipe, nil
}

// besideRecipe adds to an error where raybuild looks for local files.
func besideRecipe(err error) error {
	return fmt.Errorf("%w\nthe image was made with local files: run this where its recipe is, or name that with -f",
		err)
}

// recipeHere returns the local recipe, or the default recipe if there is none. Only its mirrors, its trust and its
// limits are used.
func (e *env) recipeHere() (*layers.Recipe, error) {
	file := e.path(e.recipe())
	data, err := os.ReadFile(file)
	if err != nil && (e.Recipe != "" || !os.IsNotExist(err)) {
		return nil, fmt.Errorf("read recipe %q: %w: name a file with -f that has mirrors.fetch", e.recipe(), err)
	}
	here, err := layers.LoadRecipe(data, file, nil)
	if err != nil {
		return nil, err
	}
	e.pullFrom(here.Mirrors)
	return here, nil
}

// sameAsImage makes the image's own graph again. It is an error if local files differ from the
// image's files. If this raybuild makes a layer in another way than the raybuild that built the
// image, sameAsImage logs a note. It is also an error if nothing shows that recipe and lock are the image's own.
func (p *Project) sameAsImage(ctx context.Context, source *layers.RecipeRecord, earlier bool) error {
	was := *p.recipe
	for _, locked := range p.lock.Platforms {
		was.Base = locked.Base.Reference
	}
	stale, err := layers.Stale(&was, p.lock, p.env.Layers...)
	if err != nil {
		return besideRecipe(err)
	}
	if len(stale) > 0 {
		return besideRecipe(fmt.Errorf("%s was made of other files than those here:%s", p.ofImage.Ref,
			staleText(staleLayers(stale))))
	}
	options := source.Options()
	options.Extra = p.env.Layers
	graph, err := layers.NewGraph(ctx, &was, p.lock, options)
	if err != nil {
		return besideRecipe(err)
	}
	if graph.Digest.String() == p.ofImage.Annotations[layers.GraphAnnotation] {
		return p.ofImage.provenBy(ctx, graph)
	}
	if err := p.ofImage.mustBeNamed(earlier); err != nil {
		return err
	}
	now, err := graph.Record(ctx)
	if err != nil {
		return besideRecipe(err)
	}
	compared, _ := layers.CompareRecords(p.ofImage.record, now)
	for _, f := range compared {
		if f.Status == layers.Reused {
			continue
		}
		text := strings.Join(newLayerDifference(f).Lines(), "\n  ")
		if f.Status == layers.Removed && !p.ofImage.record.HasPackages(f.Name) {
			return fmt.Errorf("image %q has a layer %q that its recipe does not: a Go program made it: rebase it "+
				"with that program", p.ofImage.Ref, show.Printable(f.Name))
		}
		if strings.HasPrefix(f.Name, "files") {
			return besideRecipe(fmt.Errorf("%s was made of other files than those here:\n  %s",
				p.ofImage.Ref, text))
		}
		p.env.note("this raybuild makes a layer in another way than the image has it: %s", text)
	}
	return nil
}
