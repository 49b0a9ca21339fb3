package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/sources"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// addOptions are the flags of add. Of those of a build it has some; the others are what the image was built with.
type addOptions struct {
	buildOptions
	onto   string
	asJSON bool
}

func (a *app) addCommand() *cobra.Command {
	o := &addOptions{}
	cmd := &cobra.Command{
		Use:   "add REQUIREMENT… --onto IMAGE",
		Short: "Put Python packages on top of an image as one more layer",
		Long: `add puts Python packages on IMAGE. The image's own Python resolves them: what the image has stays in the very version that it has,
and only what is missing is fetched, as wheels, from the mirrors and by digest, as for a build. The result has all of the image's
layers as they are, and one more; nodes that hold the image pull that one alone.

It needs no recipe file and none of the recipe's local files: recipe and lock travel with an image that raybuild pushed, and the
result carries both with what was added, so that why, diff, inspect, rebase and a further add go on from it. In the recipe's terms
it is pip.added, a list for each layer; a recipe with the same list builds the same image.

The builder fetches the image's environment and nothing else of it, and layers are mounted where the result goes to the image's own
registry. The result gets IMAGE's own name, or those of -t; without --push it stays in the builder. Where the image has what is
asked for, or a name of -t is the result already, that is found in the registry and nothing is built.

Packages that the recipe's own steps installed are not known to raybuild, and so not held.`,
		Example: `  raybuild add --push einops --onto registry.example/ray:2.60.0
  raybuild add --push -t registry.example/ray:2.60.0-nlp "transformers>=4.40,<5" sentencepiece --onto registry.example/ray:2.60.0`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.set(cmd)
			o.filesElsewhere = true
			return a.add(cmd.Context(), o, args)
		},
	}
	f := cmd.Flags()
	o.builderOptions.flags(f)
	f.StringVar(&o.onto, "onto", "", "the `IMAGE` to put them on, pushed by raybuild (required)")
	f.StringVarP(&o.file, "file", "f", "raybuild.yaml", "the recipe whose mirrors.fetch are used; no other part of it is")
	f.StringArrayVarP(&o.names, "tag", "t", nil, "name the result `IMAGE` (default: the name of the image; repeatable)")
	f.BoolVar(&o.push, "push", false, "push the result")
	pushRetryFlag(f, &o.pushRetry)
	f.BoolVar(smokeFlag(&o.buildOptions))
	f.StringVar(&o.metadataFile, "metadata-file", "", "write digest, steps, layers and bytes as JSON to `FILE`")
	jsonFlag(cmd, &o.asJSON)
	o.fetch, o.graphTag = "session", true
	completeValues(cmd, "progress", progressModes(), cobra.ShellCompDirectiveNoFileComp)
	return cmd
}

// addReport is what add prints with --json.
type addReport struct {
	Image   string       `json:"image"`   // the result, by digest
	From    string       `json:"from"`    // the image below, by digest
	Added   bool         `json:"added"`   // false: it has all that was asked for
	Changes []lockChange `json:"changes"` // of its lock
}

// onto is the image that packages are put on.
type onto struct {
	below  map[string]layers.ImageBelow // by platform
	source *layers.Source
	lock   *layers.Lock
}

// check reads the requirements, and says where the result goes.
func (o *addOptions) checkAdd(a *app, args []string) ([]string, error) {
	if len(args) == 0 || o.onto == "" {
		return nil, usagef(`what is put on what? raybuild add REQUIREMENT… --onto IMAGE, as in raybuild add "einops>=0.8" --onto registry.example/ray:2.60.0`)
	}
	var out []string
	for _, text := range args {
		req, err := layers.ParseRequirement(text)
		if err != nil {
			return nil, usagef("requirement %q: %w", text, err)
		}
		out = append(out, req.String())
	}
	if _, err := registry.Host(o.onto); err != nil {
		return nil, &usageError{err}
	}
	if len(o.names) == 0 {
		if strings.Contains(o.onto, "@") {
			return nil, usagef("image %q is named by its digest, which the result will not have: name the result with -t", o.onto)
		}
		o.names = []string{o.onto}
	}
	return out, o.check(a)
}

func (a *app) add(ctx context.Context, o *addOptions, args []string) error {
	start := time.Now()
	requirements, err := o.checkAdd(a, args)
	if err != nil {
		return err
	}
	j, source, err := a.loadImage(ctx, &o.buildOptions, o.onto, "a list under pip.added and raybuild --push do")
	if err != nil {
		return err
	}
	defer j.close()
	if j.ofImage.record == nil {
		return noRecord(o.onto)
	}
	r := &addReport{From: j.ofImage.Ref, Changes: []lockChange{}}
	j.result = func(ref string) error {
		r.Image = ref
		if o.asJSON {
			return a.printJSON(r)
		}
		return a.print("%s", ref)
	}
	if layers.HasAlready(j.recipe, j.lock, requirements) {
		return j.hasAll(ctx, o)
	}
	if err := j.prepareOnto(ctx, source, requirements); err != nil {
		return err
	}
	if err := j.lockOnto(ctx, o); err != nil {
		return sources.Explain(err)
	}
	for _, c := range layers.Diff(j.onto.lock, j.lock) {
		r.Changes = append(r.Changes, lockChange(c))
	}
	if len(r.Changes) == 0 {
		return j.hasAll(ctx, o)
	}
	r.Added = true
	return j.make(ctx, &o.buildOptions, start)
}

// hasAll gives an image that has all that was asked for the names that it should have. Nothing is built.
func (j *job) hasAll(ctx context.Context, o *addOptions) error {
	j.app.say("up to date: %s has what is asked for", j.ofImage.Ref)
	if !o.push {
		return j.result(j.ofImage.Ref)
	}
	if err := j.registry.Tag(ctx, j.ofImage.Ref, o.names...); err != nil {
		return err
	}
	var elsewhere []string
	for _, name := range o.names {
		if ref, err := registry.Pin(name, j.ofImage.Digest.String()); err != nil || ref != j.ofImage.Ref {
			elsewhere = append(elsewhere, name)
		}
	}
	if len(elsewhere) > 0 {
		var docs []registry.Document
		for _, kind := range []string{lockType, inputsType, recipeType} {
			found, err := j.registry.Attached(ctx, j.ofImage.Ref, kind)
			if err != nil {
				return err
			}
			for _, d := range found {
				docs = append(docs, registry.Document{ArtifactType: kind, MediaType: d.MediaType, Data: d.Data})
			}
		}
		if err := j.attach(ctx, elsewhere, j.ofImage.Digest.String(), docs); err != nil {
			return err
		}
	}
	ref, err := registry.Pin(o.names[0], j.ofImage.Digest.String())
	if err != nil {
		return err
	}
	return j.result(ref)
}

// prepareOnto finds the image's parts, and makes the recipe that of the result.
func (j *job) prepareOnto(ctx context.Context, source *layers.Source, requirements []string) error {
	j.onto = &onto{source: source, lock: j.lock, below: map[string]layers.ImageBelow{}}
	var local []layers.LocalFile
	for _, p := range j.ofImage.record.Platforms {
		image := j.ofImage.platform(p.Platform)
		at := 0
		for _, l := range p.Layers {
			if l.Name == "env" {
				break
			}
			at += l.Count
		}
		if at >= len(image.Layers) {
			return fmt.Errorf("image %q has no layer of its environment: build it from its recipe", j.ofImage.Ref)
		}
		ref, err := registry.Pin(j.ofImage.Ref, image.Digest.String())
		if err != nil {
			return err
		}
		env := image.Layers[at]
		below := layers.ImageBelow{Ref: ref, Layers: len(image.Layers), Env: llb.Blob{Digest: env.Digest, Name: "env.tar"}}
		j.onto.below[p.Platform] = below
		local = append(local, j.blobOf(ctx, ref, env.Digest, env.Size, below.Env.Name))
	}
	j.recipe.Pip.Added = append(j.recipe.Pip.Added, requirements)
	out, err := j.reach(ctx)
	if err != nil {
		return err
	}
	out.Know(nil, local)
	return nil
}

// blobOf is a layer of an image as a file that a builder may ask for.
func (j *job) blobOf(ctx context.Context, ref string, d digest.Digest, size int64, name string) layers.LocalFile {
	return layers.LocalFile{Digest: d, Name: name, Size: size, Open: func() (io.ReadCloser, error) {
		r, err := j.registry.OpenBlob(ctx, ref, d, 0)
		if err != nil {
			return nil, err
		}
		return j.sources.Count(r), nil
	}}
}

// lockOnto resolves what is added, unless one of the names has it, from an earlier call.
func (j *job) lockOnto(ctx context.Context, o *addOptions) error {
	for _, name := range o.names {
		found, ok, err := j.registry.Look(ctx, name)
		if err != nil {
			return err
		}
		if !ok || found.Annotations[layers.GraphAnnotation] == "" {
			continue
		}
		lock, err := lockOf(ctx, j.registry, found.Ref)
		if err == nil && layers.LockAdds(j.recipe, j.onto.lock, lock) {
			return j.useLock(lock)
		}
	}
	if err := j.mayPush(ctx, &o.buildOptions); err != nil {
		return err
	}
	lock, err := layers.ResolveAdded(ctx, j.resolveInput(nil), j.onto.below)
	if err != nil && ctx.Err() == nil {
		err = j.sources.Unanswered(err)
	}
	if err != nil && j.builder != nil && ctx.Err() == nil {
		err = j.builder.Explain(err)
	}
	if err != nil {
		return fmt.Errorf("add to %q: %w", o.onto, err)
	}
	j.tell(layers.Diff(j.lock, lock))
	return j.useLock(lock)
}

// graphOnto is the graph of the recipe with what was added, to be made on the image.
func (j *job) graphOnto(ctx context.Context, o layers.GraphOptions) (*layers.Graph, error) {
	below, source := *j.recipe, j.onto.source
	below.Pip.Added = below.Pip.Added[:len(below.Pip.Added)-1]
	options := source.Options()
	options.Packed, o.Packed = source.Files, source.Files
	was, err := layers.NewGraph(ctx, &below, j.onto.lock, options)
	if err != nil {
		return nil, besideRecipe(err)
	}
	graph, err := layers.NewGraph(ctx, j.recipe, j.lock, o)
	if err != nil {
		return nil, besideRecipe(err)
	}
	if was.Digest != source.Graph {
		graph = graph.After(source.Graph)
	}
	return graph.Onto(j.onto.below, j.ofImage.record)
}
