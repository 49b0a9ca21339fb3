package raybuild

import (
	"context"
	"fmt"
	"strings"

	"github.com/raybuild/raybuild/internal/show"
	"github.com/raybuild/raybuild/layers"
)

// CompareOptions say which image a project is compared with. The zero value means the image that
// was pushed last from this recipe on this machine.
type CompareOptions struct {
	// Image is a reference. Default: the image that was pushed last from this recipe on this machine.
	Image string
	// Compression, Labels and Annotations are those of the build, because the graph's digest depends on them.
	Compression         string
	Labels, Annotations map[string]string
}

// comparison has the graph of the local recipe and lock, and the image of a registry to compare it with.
type comparison struct {
	p      *Project
	graph  *layers.Graph // nil: the lock lacks a platform, or is too stale for a graph
	inputs *layers.BuildRecord
	stale  []layers.StaleLayer
	image  *pushedImage // nil: there is no image
}

// compare uses recipe and lock as they are, without resolving anything, and reads the image from the registry.
func (p *Project) compare(ctx context.Context, o CompareOptions) (*comparison, error) {
	g := &comparison{p: p}
	if err := g.local(ctx, o.build()); err != nil {
		return nil, err
	}
	name := o.Image
	if name == "" {
		m, err := p.recall()
		if err != nil {
			return nil, err
		}
		name = m.Image
	}
	if name == "" {
		return g, nil
	}
	found, ok, err := p.registry.Head(ctx, name)
	if err != nil || !ok {
		return g, err
	}
	g.image, err = loadPushedImage(ctx, p.registry, found.Ref)
	return g, err
}

// local makes the graph, and marks in its record which layers the lock does not fit.
func (g *comparison) local(ctx context.Context, o *BuildOptions) (err error) {
	p := g.p
	if err := o.Check(); err != nil {
		return err
	}
	if g.stale, err = layers.Stale(p.recipe, p.lock, p.env.Layers...); err != nil {
		return err
	}
	if len(g.stale) > 0 && len(p.env.Set) > 0 && p.env.Lock == "" {
		aside, err := p.overrideLockPath()
		if err != nil {
			return err
		}
		if p.useOverrideLock(aside) {
			g.stale = nil
		}
	}
	for _, platform := range p.platform {
		if p.locked()[platform] == nil {
			return nil
		}
	}
	if g.graph, err = p.graph(ctx, o); err != nil {
		if len(g.stale) == 0 {
			return err
		}
		g.graph = nil // a lock that does not fit may allow no graph
		return nil
	}
	if g.inputs, err = g.graph.Record(ctx); err != nil {
		return err
	}
	g.inputs.Unresolved(g.stale)
	return nil
}

// reason says why a layer differs from the image's layer, in one line of at most n characters. It
// escapes control characters, because texts from an image are not trusted.
func reason(f layers.LayerComparison, n int) string {
	var parts []string
	const most = 4
	for i, c := range f.Changes {
		if i == most {
			parts = append(parts, fmt.Sprintf("and %d more", len(f.Changes)-most))
			break
		}
		parts = append(parts, show.Printable(c.Text()))
	}
	if f.Status == layers.Built && f.OldCount == 0 {
		parts = []string{"new"}
	}
	if f.Status == layers.Removed {
		parts = nil
	}
	if len(f.Because) > 0 {
		parts = append(parts, show.Printable("stands on "+strings.Join(f.Because, ", ")))
	}
	return show.OneLine(strings.Join(parts, "; "), n)
}

// build returns the options of a build that the graph depends on.
func (o CompareOptions) build() *BuildOptions {
	return &BuildOptions{Compression: o.Compression, Labels: o.Labels, Annotations: o.Annotations}
}
