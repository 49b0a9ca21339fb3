package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild"
)

// rebaseOptions are the flags of rebase: some of the build's flags. The other settings come from the image.
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
		Long: `rebase builds IMAGE again on a patched base: on its base's tag as of today, or
on --base. apt resolves and runs again; conda, Ray and all other Python packages
stay as they are, so their layers keep their digests and nodes do not pull them
again.

It needs no recipe file: an image that raybuild pushed carries its recipe and
lock. Only local files that the recipe names (files, own wheels, requirements,
pip.pylock, keys) must lie here, unchanged. Mirrors are not recorded, nor is
whose signatures are believed: mirrors.fetch and trust come from the recipe here,
or from the file of -f, which needs no other key.

rebase refuses a base of another release, or one with an older glibc than the
packages were made with: build from the recipe then.

The result gets the name of IMAGE, or the names given with -t. Without --push it
stays in the builder. If the builder does not have the old steps' results, it
runs those steps again, from the same artifacts, to the same layers.

The recipe's own lock does not change. There, raybuild lock --update base does
the same.`,
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
	f.StringVarP(&o.file, "file", "f", "raybuild.yaml", "the recipe whose mirrors.fetch and trust are used; "+
		"local files lie beside it")
	f.StringArrayVarP(&o.names, "tag", "t", nil, "name the result `IMAGE` (default: the name of the image; repeatable)")
	f.BoolVar(&o.push, "push", false, "push the result")
	f.StringVar(&o.base, "base", "", "put it on the base `IMAGE` (default: the image's own base, as its tag is today)")
	f.StringArrayVar(&o.secrets, "secret", nil, "a secret for steps that run again, as for the build (repeatable)")
	f.BoolVar(smokeFlag(&o.buildOptions))
	f.BoolVar(sbomFlag(&o.buildOptions))
	f.BoolVar(earlierFlag(&o.buildOptions))
	signFlags(f, &o.buildOptions)
	trustFlag(f, &o.recipeOptions)
	f.StringVar(&o.metadataFile, "metadata-file", "", "write digest, steps, layers and bytes as JSON to `FILE`")
	jsonFlag(cmd, &o.asJSON)
	pushRetryFlag(f, &o.pushRetry)
	fetchFlag(cmd, &o.recipeOptions)
	o.graphTag, o.reuse = true, true
	completeValues(cmd, "progress", progressModes(), cobra.ShellCompDirectiveNoFileComp)
	completeTrust(cmd)
	return cmd
}

// rebaseReport is what rebase prints with --json.
type rebaseReport struct {
	Image   string       `json:"image"`   // the resulting image, by digest
	From    string       `json:"from"`    // the image that was rebased, by digest
	Rebased bool         `json:"rebased"` // false: the image already has this base
	Changes []lockChange `json:"changes"` // changes of the lock
}

func (a *app) rebase(ctx context.Context, o *rebaseOptions, image string) error {
	if err := o.check(a); err != nil {
		return err
	}
	project, build, err := a.libraryOptions(&o.buildOptions)
	if err != nil {
		return err
	}
	done, err := raybuild.Rebase(ctx, image, project, raybuild.RebaseOptions{BuildOptions: build, Base: o.base})
	if err != nil {
		return err
	}
	if err := a.showBuild(&o.buildOptions, done.Build, image); err != nil {
		return err
	}
	if o.asJSON {
		return a.printJSON(&rebaseReport{Image: done.Image, From: done.From, Rebased: done.Rebased,
			Changes: lockChanges(done.Changes)})
	}
	return a.print("%s", done.Image)
}
