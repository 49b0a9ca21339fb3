package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/layers"
)

func (a *app) whyCommand() *cobra.Command {
	o := &againstOptions{}
	cmd := &cobra.Command{
		Use:   "why [IMAGE [NEWER]]",
		Short: "Name the inputs for which layers differ from an image's",
		Long: `why names, for each layer that differs between what recipe and lock here come to and what IMAGE was made of, the very inputs
that changed: a key of the recipe, an artifact with its old and new version, the base's digest, the text of a step, the tool root, a
file. It needs nothing but the record that raybuild attaches to what it pushes, so it tells of images that other machines have
built. Without IMAGE it takes the one that was pushed last from this recipe, on this machine. With two images it compares their
records, and needs no recipe.

A layer that differs only because of what it stands on names that layer. Nothing is built, resolved or pulled.`,
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

// whyReport is what why prints with --json.
type whyReport struct {
	Image  string         `json:"image"`            // by digest
	Newer  string         `json:"newer,omitempty"`  // by digest; "" is the recipe here
	Same   bool           `json:"same"`             // nothing differs
	Stale  []staleReport  `json:"stale"`            // what the lock does not answer
	Layers []whyLayer     `json:"layers"`           // those that differ
	Config []configReport `json:"config,omitempty"` // what differs in configs
}

type whyLayer struct {
	Platform string               `json:"platform"`
	Name     string               `json:"name"`
	Fate     layers.Fate          `json:"fate"`
	Changes  []layers.InputChange `json:"changes,omitempty"`
	Because  []string             `json:"because,omitempty"`
}

func (a *app) why(ctx context.Context, o *againstOptions, name string) error {
	g, err := a.compare(ctx, o, name)
	if err != nil {
		return err
	}
	switch {
	case g.image == nil && name == "":
		return usagef("nothing was pushed from this recipe on this machine: name an IMAGE")
	case g.image == nil:
		return fmt.Errorf("the registry has no image %q: name one that was pushed", name)
	case g.inputs == nil:
		return fmt.Errorf("the lock does not fit the recipe:%s\nbring it up with raybuild lock", staleText(g.stale))
	}
	r := &whyReport{Image: g.image.Ref, Stale: []staleReport{}}
	for _, s := range g.stale {
		r.Stale = append(r.Stale, staleReport(s))
	}
	return a.tellWhy(r, g.image, g.inputs, o.asJSON)
}

// whyTwo compares the records of two images.
func (a *app) whyTwo(ctx context.Context, o *againstOptions, older, newer string) error {
	c := registry.New(registry.Options{Insecure: o.insecure})
	old, err := carriedBy(ctx, c, older)
	if err != nil {
		return err
	}
	now, err := carriedBy(ctx, c, newer)
	if err != nil {
		return err
	}
	if now.record == nil {
		return noRecord(newer)
	}
	return a.tellWhy(&whyReport{Image: old.Ref, Newer: now.Ref, Stale: []staleReport{}}, old, now.record, o.asJSON)
}

func noRecord(ref string) error {
	return fmt.Errorf("image %q carries no record of what it was made of: it was not pushed by this raybuild, or copied without its referrers; raybuild diff compares layers and locks", ref)
}

func (a *app) tellWhy(r *whyReport, old *carried, now *layers.Inputs, asJSON bool) error {
	if old.record == nil {
		return noRecord(r.Image)
	}
	fates, configs := layers.Fates(old.record, now)
	r.Layers = []whyLayer{}
	var lines []string
	for _, f := range fates {
		if f.Fate == layers.Reused {
			continue
		}
		r.Layers = append(r.Layers, whyLayer{f.Platform, f.Name, f.Fate, f.Changes, f.Because})
		lines = append(lines, whyLines(f)...)
	}
	for _, p := range now.Platforms {
		if c := configs[p.Platform]; len(c) > 0 {
			r.Config = append(r.Config, configReport{p.Platform, c})
			for _, change := range c {
				lines = append(lines, fmt.Sprintf("config: %s", oneLine(printable(change.Text()), 160)))
			}
		}
	}
	r.Same = len(lines) == 0
	if asJSON {
		return a.printJSON(r)
	}
	if len(r.Stale) > 0 {
		a.say("note: the lock does not fit the recipe; raybuild lock brings it up")
	}
	if r.Same {
		return a.print("nothing differs from %s", r.Image)
	}
	return a.print("%s", strings.Join(lines, "\n"))
}

// whyLines are one line for each input of a layer that changed.
func whyLines(f layers.LayerFate) []string {
	name := printable(f.Name)
	switch {
	case f.Fate == layers.Gone:
		return []string{name + ": is no longer there"}
	case f.OldCount == 0:
		return []string{name + ": is new"}
	}
	var lines []string
	for _, c := range f.Changes {
		lines = append(lines, fmt.Sprintf("%s: %s", name, oneLine(printable(c.Text()), 160)))
	}
	if len(f.Because) > 0 {
		lines = append(lines, fmt.Sprintf("%s: stands on %s", name, printable(strings.Join(f.Because, ", "))))
	}
	return lines
}
