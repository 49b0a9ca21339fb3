package raybuild

import (
	"context"
	"fmt"
	"strings"

	"github.com/raybuild/raybuild/internal/show"
	"github.com/raybuild/raybuild/layers"
)

// Difference says which inputs make layers differ from an image's layers. Its JSON is that
// of "raybuild why --json".
type Difference struct {
	Image  string             `json:"image"`            // by digest
	Newer  string             `json:"newer,omitempty"`  // by digest; "": the local recipe
	Same   bool               `json:"same"`             // nothing differs
	Stale  []StaleLayer       `json:"stale"`            // layers that the lock does not fit
	Layers []LayerDifference  `json:"layers"`           // layers that differ
	Config []ConfigDifference `json:"config,omitempty"` // what differs in configs
}

// LayerDifference is a layer that differs.
type LayerDifference struct {
	Platform string               `json:"platform"`
	Name     string               `json:"name"`
	Status   layers.LayerStatus   `json:"fate"`
	Changes  []layers.InputChange `json:"changes,omitempty"`
	Because  []string             `json:"because,omitempty"` // changed layers that it depends on
	isNew    bool
}

// Why says which inputs of recipe and lock differ from those of an image. It needs only the record
// that the image carries. It builds, resolves and pulls nothing.
func (p *Project) Why(ctx context.Context, o CompareOptions) (_ *Difference, err error) {
	defer public(ctx, &err)
	g, err := p.compare(ctx, o)
	if err != nil {
		return nil, err
	}
	switch {
	case g.image == nil && o.Image == "":
		return nil, optionErrorf("Image", "is missing: nothing was pushed from this recipe on this machine")
	case g.image == nil:
		return nil, fmt.Errorf("the registry has no image %q: name one that was pushed", o.Image)
	case g.inputs == nil:
		return nil, &StaleLockError{Lock: p.env.lock(), Layers: staleLayers(g.stale)}
	}
	p.env.unsure(g.image)
	d := &Difference{Image: g.image.Ref, Stale: staleLayers(g.stale)}
	return d, d.compare(g.image, g.inputs)
}

// WhyImages says which inputs make layers of two images differ, according to the records that they carry.
func WhyImages(ctx context.Context, older, newer string, o Options) (_ *Difference, err error) {
	defer public(ctx, &err)
	e := newEnv(o)
	c := e.client()
	old, err := loadPushedImage(ctx, c, older)
	if err != nil {
		return nil, err
	}
	now, err := loadPushedImage(ctx, c, newer)
	if err != nil {
		return nil, err
	}
	if now.record == nil {
		return nil, noRecord(newer)
	}
	e.unsure(old)
	e.unsure(now)
	d := &Difference{Image: old.Ref, Newer: now.Ref, Stale: []StaleLayer{}}
	return d, d.compare(old, now.record)
}

// unsure notes that nothing shows that an image's record is its own.
func (e *env) unsure(c *pushedImage) {
	if c.record != nil && c.doubt != nil {
		e.note("what is said of %s comes from a record that may be another image's: %v", c.Ref, c.doubt)
	}
}

func (d *Difference) compare(old *pushedImage, now *layers.BuildRecord) error {
	if old.record == nil {
		return noRecord(d.Image)
	}
	compared, configs := layers.CompareRecords(old.record, now)
	d.Layers = []LayerDifference{}
	for _, f := range compared {
		if f.Status != layers.Reused {
			d.Layers = append(d.Layers, newLayerDifference(f))
		}
	}
	for _, p := range now.Platforms {
		if c := configs[p.Platform]; len(c) > 0 {
			d.Config = append(d.Config, ConfigDifference{p.Platform, c})
		}
	}
	d.Same = len(d.Layers)+len(d.Config) == 0
	return nil
}

func newLayerDifference(f layers.LayerComparison) LayerDifference {
	return LayerDifference{f.Platform, f.Name, f.Status, f.Changes, f.Because, f.OldCount == 0}
}

// Lines describes the difference in words, one line for each input that changed.
func (l LayerDifference) Lines() []string {
	name := show.Printable(l.Name)
	switch {
	case l.Status == layers.Removed:
		return []string{name + ": is no longer there"}
	case l.isNew:
		return []string{name + ": is new"}
	}
	var lines []string
	for _, c := range l.Changes {
		lines = append(lines, fmt.Sprintf("%s: %s", name, show.OneLine(show.Printable(c.Text()), 160)))
	}
	if len(l.Because) > 0 {
		lines = append(lines, fmt.Sprintf("%s: stands on %s", name, show.Printable(strings.Join(l.Because, ", "))))
	}
	return lines
}
