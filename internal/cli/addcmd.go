package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild"
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

func (a *app) add(ctx context.Context, o *addOptions, requirements []string) error {
	if len(requirements) == 0 || o.onto == "" {
		return usagef(`add needs a REQUIREMENT and --onto IMAGE, as in raybuild add "einops>=0.8" --onto registry.example/ray:2.60.0`)
	}
	if err := o.check(a); err != nil {
		return err
	}
	project, build, err := a.libraryOptions(&o.buildOptions)
	if err != nil {
		return err
	}
	build.NoReuse = true
	done, err := raybuild.Add(ctx, o.onto, requirements, project, build)
	if err != nil {
		return err
	}
	if err := a.showBuild(&o.buildOptions, done.Build, o.onto); err != nil {
		return err
	}
	if o.asJSON {
		return a.printJSON(&addReport{Image: done.Image, From: done.From, Added: done.Added, Changes: lockChanges(done.Changes)})
	}
	return a.print("%s", done.Image)
}
