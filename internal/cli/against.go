package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// againstOptions are the flags of plan and why: those of a build that its graph follows from.
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
	o.progress, o.fetch = "quiet", "session"
}

// images allows up to most names of images.
func images(most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > most {
			return usagef("%q takes at most %d IMAGE, got %d: see %s --help", cmd.CommandPath(), most, len(args), cmd.CommandPath())
		}
		for _, name := range args {
			if _, err := registry.Host(name); err != nil {
				return &usageError{err}
			}
		}
		return nil
	}
}

// against is the graph of recipe and lock here, beside an image of a registry.
type against struct {
	j      *job
	graph  *layers.Graph // nil where the lock does not even have the platforms
	inputs *layers.Inputs
	stale  []layers.StaleLayer
	image  *carried // nil: there is none
}

// carried is an image with the record that it carries.
type carried struct {
	registry.Image
	record *layers.Inputs // nil: it has none, or none that fits it
}

// compare loads recipe and lock as they are, resolving nothing, and looks at the image. Without a name it is the one that was
// pushed last from this recipe.
func (a *app) compare(ctx context.Context, o *againstOptions, name string) (*against, error) {
	if err := o.check(a); err != nil {
		return nil, err
	}
	j := a.newJob(o.recipeOptions, o.builderOptions)
	if err := j.load(); err != nil {
		return nil, err
	}
	g := &against{j: j}
	if err := g.local(ctx, &o.buildOptions); err != nil {
		return nil, err
	}
	if name == "" {
		m, err := j.recall()
		if err != nil {
			return nil, err
		}
		name = m.Image
	}
	if name == "" {
		return g, nil
	}
	found, ok, err := j.registry.Look(ctx, name)
	if err != nil || !ok {
		return g, err
	}
	g.image, err = carriedBy(ctx, j.registry, found.Ref)
	return g, err
}

// local makes the graph, and marks in its record what the lock does not answer.
func (g *against) local(ctx context.Context, o *buildOptions) (err error) {
	j := g.j
	if g.stale, err = layers.Stale(j.recipe, j.lock); err != nil {
		return err
	}
	if len(g.stale) > 0 && len(j.o.sets) > 0 && !j.o.lockGiven {
		aside, err := j.asideFile()
		if err != nil {
			return err
		}
		if j.useAside(aside) {
			g.stale = nil
		}
	}
	for _, p := range j.platform {
		if j.locked()[p] == nil {
			return nil
		}
	}
	if g.graph, err = j.graph(ctx, o); err != nil {
		if len(g.stale) == 0 {
			return err
		}
		g.graph = nil // a lock that does not fit may come to no graph at all
		return nil
	}
	if g.inputs, err = g.graph.Inputs(ctx); err != nil {
		return err
	}
	g.inputs.Unresolved(g.stale)
	return nil
}

// carriedBy reads an image and its record. A record that does not fit the image's layers is none.
func carriedBy(ctx context.Context, c *registry.Client, ref string) (*carried, error) {
	image, err := c.Inspect(ctx, ref, inputsType)
	if err != nil {
		return nil, err
	}
	out := &carried{Image: image}
	record, err := recordFor(image.Ref, image.Attached[inputsType], image.Annotations[layers.GraphAnnotation])
	if err != nil || record == nil {
		return out, err
	}
	for _, p := range record.Platforms {
		count := 0
		for _, l := range p.Layers {
			count += l.Count
		}
		if found := out.platform(p.Platform); found == nil || len(found.Layers) != count {
			return out, nil
		}
	}
	out.record = record
	return out, nil
}

// platform is the image of one platform, or nil.
func (c *carried) platform(name string) *registry.PlatformImage {
	if c == nil {
		return nil
	}
	for i := range c.Platforms {
		if llb.FormatPlatform(c.Platforms[i].Platform) == name {
			return &c.Platforms[i]
		}
	}
	return nil
}

// reason is why a layer is not the one that it was, in one line of at most n characters; what comes from an image is not
// trusted to be printable.
func reason(f layers.LayerFate, n int) string {
	var parts []string
	const most = 4
	for i, c := range f.Changes {
		if i == most {
			parts = append(parts, fmt.Sprintf("and %d more", len(f.Changes)-most))
			break
		}
		parts = append(parts, printable(c.Text()))
	}
	if f.Fate == layers.Built && f.OldCount == 0 {
		parts = []string{"new"}
	}
	if f.Fate == layers.Gone {
		parts = nil
	}
	if len(f.Because) > 0 {
		parts = append(parts, printable("stands on "+strings.Join(f.Because, ", ")))
	}
	return oneLine(strings.Join(parts, "; "), n)
}

// printable escapes what a terminal would act on.
func printable(text string) string {
	var b strings.Builder
	for _, r := range text {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}

// staleText is what the lock does not answer.
func staleText(stale []layers.StaleLayer) string {
	var b strings.Builder
	for _, s := range stale {
		fmt.Fprintf(&b, "\n  %s, %s: %s", s.Layer, s.Platform, s.Why)
	}
	return b.String()
}
