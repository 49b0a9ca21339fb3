package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/show"
)

func (a *app) whyCommand() *cobra.Command {
	o := &againstOptions{}
	cmd := &cobra.Command{
		Use:   "why [IMAGE [NEWER]]",
		Short: "Name the inputs that make layers differ from an image's",
		Long: `why names the inputs that changed, for each layer that differs between IMAGE and
what recipe and lock build now: a key of the recipe, an artifact with its old
and new version, the base's digest, the text of a step, the tool stage, a file.
It needs only the record that travels with an image that raybuild pushed, so it
works for images that other machines built. Without IMAGE it takes the image
that was pushed last from this recipe on this machine. With two images it
compares their records, and needs no recipe.

If a layer differs only because of a layer that it stands on, why names that
layer. Nothing is built, resolved or pulled.`,
		Example: `  raybuild why registry.example/ray:main
  raybuild why --json registry.example/ray:main
  raybuild why registry.example/ray:2.59.0 registry.example/ray:2.60.0`,
		Args: images(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.recipeOptions.set(cmd)
			if len(args) == 2 {
				return a.whyTwo(cmd.Context(), o, args[0], args[1])
			}
			return a.why(cmd.Context(), o, strings.Join(args, ""))
		},
	}
	o.flags(cmd)
	return cmd
}

func (a *app) why(ctx context.Context, o *againstOptions, image string) error {
	p, compare, err := a.openToCompare(ctx, o, image)
	if err != nil {
		return err
	}
	defer p.Close()
	d, err := p.Why(ctx, compare)
	if err != nil {
		return err
	}
	return a.tellWhy(d, o.asJSON)
}

// whyTwo compares two images.
func (a *app) whyTwo(ctx context.Context, o *againstOptions, older, newer string) error {
	d, err := raybuild.WhyImages(ctx, older, newer, a.imageOptions(o.insecure))
	if err != nil {
		return err
	}
	return a.tellWhy(d, o.asJSON)
}

func (a *app) tellWhy(d *raybuild.Difference, asJSON bool) error {
	if asJSON {
		return a.printJSON(d)
	}
	if len(d.Stale) > 0 {
		a.say("note: the lock does not fit the recipe; raybuild lock updates it")
	}
	if d.Same {
		return a.print("nothing differs from %s", d.Image)
	}
	var lines []string
	for _, l := range d.Layers {
		lines = append(lines, l.Lines()...)
	}
	for _, c := range d.Config {
		for _, change := range c.Changes {
			lines = append(lines, "config: "+show.OneLine(show.Printable(change.Text()), 160))
		}
	}
	return a.print("%s", strings.Join(lines, "\n"))
}
