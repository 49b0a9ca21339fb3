package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/registry"
)

// againstOptions are the flags of plan and why: the build's flags that change the graph.
type againstOptions struct {
	buildOptions
	asJSON bool
}

func (o *againstOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	o.recipeOptions.flags(f)
	insecureFlag(f, &o.insecure)
	f.StringVar(&o.compression, "compression", "", "as for the build: it is part of the graph's digest")
	f.StringArrayVar(&o.labels, "label", nil, "as for the build: `KEY=VALUE` (repeatable)")
	f.StringArrayVar(&o.annotations, "annotation", nil, "as for the build: `KEY=VALUE` (repeatable)")
	jsonFlag(cmd, &o.asJSON)
	fetchFlag(cmd, &o.recipeOptions)
	o.progress = "quiet"
}

// images accepts up to most image names as arguments.
func images(most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > most {
			return usagef("%q takes at most %d IMAGE, got %d: see %s --help", cmd.CommandPath(), most, len(args),
				cmd.CommandPath())
		}
		for _, name := range args {
			if _, err := registry.Host(name); err != nil {
				return &usageError{err}
			}
		}
		return nil
	}
}

// openToCompare opens the local project to compare it with an image.
func (a *app) openToCompare(ctx context.Context, o *againstOptions, image string) (*raybuild.Project,
	raybuild.CompareOptions, error) {
	if err := o.check(a); err != nil {
		return nil, raybuild.CompareOptions{}, err
	}
	project, build, err := a.libraryOptions(&o.buildOptions)
	if err != nil {
		return nil, raybuild.CompareOptions{}, err
	}
	p, err := raybuild.Open(ctx, project)
	return p, raybuild.CompareOptions{
		Image: image, Compression: build.Compression, Labels: build.Labels, Annotations: build.Annotations,
	}, err
}
