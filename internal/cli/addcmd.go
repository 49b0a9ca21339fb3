package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild"
)

// addOptions are the flags of add: some of the build's flags. The other settings come from the image.
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
		Long: `add puts Python packages on IMAGE. uv resolves them on this machine. Packages
that the image has keep their versions; only missing ones are fetched, as
wheels, from the mirrors. The result has all layers of the image and one more,
so a node that holds the image pulls only that layer.

It needs no recipe file and no local files: an image that raybuild pushed
carries its recipe and lock. The result carries both, with what was added, so
why, diff, inspect, rebase and another add work on it. In the recipe this is the
key pip.added, one list for each layer. A recipe with the same list builds the
same image.

It needs a builder only if uv finds no answer: the image's own pip is then asked,
in the image's environment, which the builder fetches. The result gets the name of
IMAGE, or the names given with -t. Without --push it stays in the builder. If
the image has all that you ask for, nothing is built.

raybuild does not know packages that the recipe's own steps installed, so it
does not keep their versions.`,
		Example: `  raybuild add --push einops --onto registry.example/ray:2.60.0
  raybuild add --push -t registry.example/ray:nlp "transformers>=4.40,<5" --onto registry.example/ray:2.60.0`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.set(cmd)
			return a.add(cmd.Context(), o, args)
		},
	}
	f := cmd.Flags()
	o.builderOptions.flags(f)
	f.StringVar(&o.onto, "onto", "", "the `IMAGE` to put them on, pushed by raybuild (required)")
	f.StringVarP(&o.file, "file", "f", "raybuild.yaml", "the recipe whose mirrors.fetch and trust are used, "+
		"and no other key")
	f.StringArrayVarP(&o.names, "tag", "t", nil, "name the result `IMAGE` (default: the name of the image; repeatable)")
	f.BoolVar(&o.push, "push", false, "push the result")
	pushRetryFlag(f, &o.pushRetry)
	f.BoolVar(smokeFlag(&o.buildOptions))
	f.BoolVar(sbomFlag(&o.buildOptions))
	f.BoolVar(earlierFlag(&o.buildOptions))
	signFlags(f, &o.buildOptions)
	trustFlag(f, &o.recipeOptions)
	f.StringVar(&o.metadataFile, "metadata-file", "", "write digest, steps, layers and bytes as JSON to `FILE`")
	jsonFlag(cmd, &o.asJSON)
	fetchFlag(cmd, &o.recipeOptions)
	o.graphTag = true
	completeValues(cmd, "progress", progressModes(), cobra.ShellCompDirectiveNoFileComp)
	completeTrust(cmd)
	return cmd
}

// addReport is what add prints with --json.
type addReport struct {
	Image   string       `json:"image"`   // the resulting image, by digest
	From    string       `json:"from"`    // the image that packages were added to, by digest
	Added   bool         `json:"added"`   // false: the image already has all requirements
	Changes []lockChange `json:"changes"` // changes of the lock
}

func (a *app) add(ctx context.Context, o *addOptions, requirements []string) error {
	if len(requirements) == 0 || o.onto == "" {
		return usagef("add needs a REQUIREMENT and --onto IMAGE, as in " +
			`raybuild add "einops>=0.8" --onto registry.example/ray:2.60.0`)
	}
	if err := o.check(a); err != nil {
		return err
	}
	project, build, err := a.libraryOptions(&o.buildOptions)
	if err != nil {
		return err
	}
	done, err := raybuild.Add(ctx, o.onto, requirements, project, build)
	if err != nil {
		return err
	}
	if err := a.showBuild(&o.buildOptions, done.Build, o.onto); err != nil {
		return err
	}
	if o.asJSON {
		return a.printJSON(&addReport{Image: done.Image, From: done.From, Added: done.Added,
			Changes: lockChanges(done.Changes)})
	}
	return a.print("%s", done.Image)
}
