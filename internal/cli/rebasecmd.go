package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/sources"
	"github.com/raybuild/raybuild/layers"
)

// rebaseOptions are the flags of rebase. Of those of a build it has some; the others are what the image was built with.
type rebaseOptions struct {
	buildOptions
	base   string
	asJSON bool
}

func (a *app) rebaseCommand() *cobra.Command {
	o := &rebaseOptions{}
	cmd := &cobra.Command{
		Use:   "rebase IMAGE",
		Short: "Put an image on the newest base of its release, and keep everything else",
		Long: `rebase makes IMAGE anew on a patched base: on what its base's tag is today, or on --base. apt resolves and runs again there; conda,
Ray and all other Python packages stay the very ones, so their layers keep their digests and nodes do not pull them again.

It needs no recipe file: recipe and lock travel with an image that raybuild pushed. Only local files that the recipe names (files,
own wheels, requirements, keys) have to lie here, as when it was built; others than those of the image are refused. Mirrors are
not recorded: mirrors.fetch is taken from the recipe here, or from the file of -f, which needs no more than that key.

A base of another release, or with an older glibc than the packages were made with, is refused: build from the recipe then.
The result gets IMAGE's own name, or those of -t; without --push it stays in the builder. What steps the builder does not
remember run again, from the same artifacts, to the same layers.

The recipe's own lock does not learn of it: raybuild lock --update base does the same there.`,
		Example: `  raybuild rebase --push registry.example/ray:2.60.0
  raybuild rebase --push -t registry.example/ray:2.60.0-patched registry.example/ray:2.60.0
  raybuild rebase --push --json --base ubuntu:22.04 registry.example/ray:2.60.0`,
		Args: oneArg("IMAGE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.set(cmd)
			return a.rebase(cmd.Context(), o, args[0])
		},
	}
	f := cmd.Flags()
	o.builderOptions.flags(f)
	f.StringVarP(&o.file, "file", "f", "raybuild.yaml", "the recipe whose mirrors.fetch are used, and beside which local files lie")
	f.StringArrayVarP(&o.names, "tag", "t", nil, "name the result `IMAGE` (default: the name of the image; repeatable)")
	f.BoolVar(&o.push, "push", false, "push the result")
	f.StringVar(&o.base, "base", "", "put it on the base `IMAGE` (default: the image's own base, as its tag is today)")
	f.StringArrayVar(&o.secrets, "secret", nil, "a secret for steps that run again, as for the build (repeatable)")
	f.BoolVar(smokeFlag(&o.buildOptions))
	f.StringVar(&o.metadataFile, "metadata-file", "", "write digest, steps, layers and bytes as JSON to `FILE`")
	jsonFlag(cmd, &o.asJSON)
	pushRetryFlag(f, &o.pushRetry)
	o.fetch, o.graphTag, o.reuse = "session", true, true
	completeValues(cmd, "progress", progressModes(), cobra.ShellCompDirectiveNoFileComp)
	return cmd
}

// rebaseReport is what rebase prints with --json.
type rebaseReport struct {
	Image   string       `json:"image"`   // the result, by digest
	From    string       `json:"from"`    // the image that was rebased, by digest
	Rebased bool         `json:"rebased"` // false: it stood on that base already
	Changes []lockChange `json:"changes"` // of its lock
}

func (a *app) rebase(ctx context.Context, o *rebaseOptions, name string) error {
	start := time.Now()
	if _, err := registry.Host(name); err != nil {
		return &usageError{err}
	}
	if len(o.names) == 0 {
		if strings.Contains(name, "@") {
			return usagef("image %q is named by its digest, which the result will not have: name the result with -t", name)
		}
		o.names = []string{name}
	}
	if err := o.check(a); err != nil {
		return err
	}
	j, source, err := a.loadImage(ctx, &o.buildOptions, name, "raybuild lock --update base and raybuild --push do")
	if err != nil {
		return err
	}
	defer j.close()
	if o.base != "" {
		j.recipe.Base = o.base
	} else if strings.Contains(j.recipe.Base, "@") {
		return usagef("image %q was made on a base that is pinned by digest, %s: name the new one with --base", name, j.recipe.Base)
	}
	if _, err := registry.Host(j.recipe.Base); err != nil {
		return usagef("--base: %v", err)
	}
	old, err := j.sameAsImage(ctx, source)
	if err != nil {
		return err
	}
	if err := j.mayPush(ctx, &o.buildOptions); err != nil {
		return err
	}
	before := j.lock
	if err := j.resolve(ctx, []string{"base"}); err != nil {
		return sources.Explain(err)
	}
	r := &rebaseReport{From: j.ofImage.Ref, Changes: []lockChange{}}
	for _, c := range layers.Diff(before, j.lock) {
		r.Changes = append(r.Changes, lockChange(c))
	}
	r.Rebased = len(r.Changes) > 0
	j.result = func(ref string) error {
		r.Image = ref
		if o.asJSON {
			return a.printJSON(r)
		}
		return a.print("%s", ref)
	}
	if !r.Rebased {
		return j.onItAlready(ctx, o, old, before)
	}
	return j.make(ctx, &o.buildOptions, start)
}

// onItAlready gives the image the names that it should have. Nothing is built.
func (j *job) onItAlready(ctx context.Context, o *rebaseOptions, old *layers.Graph, lock *layers.Lock) error {
	j.app.say("up to date: %s stands on the newest %s", j.ofImage.Ref, j.recipe.Base)
	if !o.push {
		return j.result(j.ofImage.Ref)
	}
	if err := j.registry.Tag(ctx, j.ofImage.Ref, o.names...); err != nil {
		return err
	}
	data, err := lock.Marshal()
	if err != nil {
		return fmt.Errorf("write lock: %w", err)
	}
	j.lock, j.data = lock, data
	found := registry.Found{Ref: j.ofImage.Ref, Digest: j.ofImage.Digest}
	if err := j.attachElsewhere(ctx, old, found, o.names); err != nil {
		return err
	}
	ref, err := registry.Pin(o.names[0], j.ofImage.Digest.String())
	if err != nil {
		return err
	}
	return j.result(ref)
}

// loadImage makes a job of the recipe and lock that an image carries, with the mirrors of the recipe here.
// Where it carries none, instead says what does the same from the recipe.
func (a *app) loadImage(ctx context.Context, o *buildOptions, name, instead string) (*job, *layers.Source, error) {
	c := registry.New(registry.Options{Insecure: o.insecure})
	image, err := carriedBy(ctx, c, name)
	if err != nil {
		return nil, nil, err
	}
	source, err := sourceOf(ctx, c, image)
	if err != nil {
		return nil, nil, err
	}
	lock, err := lockOf(ctx, c, image.Ref)
	if err != nil {
		return nil, nil, err
	}
	if source == nil || lock == nil {
		return nil, nil, fmt.Errorf("image %q carries no recipe and lock: it was not pushed by this raybuild, or copied without its referrers; where its recipe is, %s the same", name, instead)
	}
	recipe, err := a.recipeOf(image.Ref, source, o)
	if err != nil {
		return nil, nil, err
	}
	o.compression, o.parsed.labels, o.parsed.annotations = source.Compression, source.Labels, source.Annotations
	data, err := lock.Marshal()
	if err != nil {
		return nil, nil, fmt.Errorf("write lock: %w", err)
	}
	j := &job{
		app: a, o: o.recipeOptions, b: o.builderOptions, recipe: recipe, platform: source.Platforms,
		found: lock, lock: lock, data: data, registry: c, ofImage: image,
	}
	if len(j.platform) == 0 {
		j.platform = recipe.Platforms
	}
	return j, source, nil
}

// recipeOf loads the recipe that came with an image as if it lay here. What is wrong with it is found as in a file.
func (a *app) recipeOf(ref string, source *layers.Source, o *buildOptions) (*layers.Recipe, error) {
	here, err := a.mirrorsHere(o)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(filepath.Dir(a.path(o.file)), "recipe of "+registryTail(ref))
	recipe, err := layers.LoadRecipe(source.Recipe, file, nil)
	if err != nil {
		return nil, err
	}
	recipe.Mirrors.Fetch, recipe.Mirrors.FetchAuto = here.Fetch, here.FetchAuto
	if !o.filesElsewhere {
		if err := recipe.LoadFiles(); err != nil {
			return nil, besideRecipe(err)
		}
	}
	if _, err := layers.Check(recipe); err != nil {
		return nil, err
	}
	return recipe, nil
}

// registryTail is the last part of a reference, for file names in messages.
func registryTail(ref string) string { return ref[strings.LastIndex(ref, "/")+1:] }

// besideRecipe says where local files are looked for.
func besideRecipe(err error) error {
	return fmt.Errorf("%w\nthe image was made with local files: run this where its recipe is, or name that with -f", err)
}

// mirrorsHere are the mirrors of the recipe here, the default ones where there is none.
func (a *app) mirrorsHere(o *buildOptions) (layers.Mirrors, error) {
	data, err := os.ReadFile(a.path(o.file))
	if err != nil && (o.fileGiven || !os.IsNotExist(err)) {
		return layers.Mirrors{}, fmt.Errorf("read recipe %q: %w: name a file with -f that has mirrors.fetch", o.file, err)
	}
	recipe, err := layers.LoadRecipe(data, a.path(o.file), nil)
	if err != nil {
		return layers.Mirrors{}, err
	}
	return recipe.Mirrors, nil
}

// sourceOf is the record of the recipe that an image carries for its graph, or nil.
func sourceOf(ctx context.Context, c *registry.Client, image *carried) (*layers.Source, error) {
	found, err := c.Attached(ctx, image.Ref, recipeType)
	if err != nil {
		return nil, err
	}
	for _, d := range found {
		source, err := layers.ParseSource(d.Data)
		if err != nil {
			return nil, fmt.Errorf("image %q: %w", image.Ref, err)
		}
		if source.Graph.String() == image.Annotations[layers.GraphAnnotation] {
			return source, nil
		}
	}
	return nil, nil //nolint:nilnil // there is none
}

// sameAsImage makes the image's own graph again. Local files that are not those of the image are an error; layers that this
// raybuild makes in another way than the one that built the image are told of.
func (j *job) sameAsImage(ctx context.Context, source *layers.Source) (*layers.Graph, error) {
	was := *j.recipe
	for _, p := range j.lock.Platforms {
		was.Base = p.Base.Reference
	}
	stale, err := layers.Stale(&was, j.lock)
	if err != nil {
		return nil, besideRecipe(err)
	}
	if len(stale) > 0 {
		return nil, besideRecipe(fmt.Errorf("what lies here is not what %s was made of:%s", j.ofImage.Ref, staleText(stale)))
	}
	graph, err := layers.NewGraph(ctx, &was, j.lock, source.Options())
	if err != nil {
		return nil, besideRecipe(err)
	}
	if graph.Digest == source.Graph || j.ofImage.record == nil {
		return graph, nil
	}
	now, err := graph.Inputs(ctx)
	if err != nil {
		return nil, besideRecipe(err)
	}
	fates, _ := layers.Fates(j.ofImage.record, now)
	for _, f := range fates {
		if f.Fate == layers.Reused {
			continue
		}
		text := strings.Join(whyLines(f), "\n  ")
		if f.Fate == layers.Gone {
			return nil, fmt.Errorf("image %q has a layer %q that its recipe does not: a Go program made it: rebase it with that program", j.ofImage.Ref, printable(f.Name))
		}
		if strings.HasPrefix(f.Name, "files") {
			return nil, besideRecipe(fmt.Errorf("what lies here is not what %s was made of:\n  %s", j.ofImage.Ref, text))
		}
		j.app.say("note: this raybuild makes a layer in another way than the image has it: %s", text)
	}
	return graph, nil
}
