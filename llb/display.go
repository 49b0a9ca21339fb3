package llb

import (
	"context"
	"time"

	"github.com/moby/buildkit/client"
	digest "github.com/opencontainers/go-digest"
)

// Display shows work of the caller as builds show theirs, and the solves that name it in [SolveOptions.Display].
type Display struct{ view *view }

// OpenDisplay begins to show. Close ends it.
func OpenDisplay(ctx context.Context, o SolveOptions) (*Display, error) {
	v, err := newView(ctx, o)
	return &Display{v}, err
}

// Close ends what is shown.
func (d *Display) Close() error { return d.view.close() }

// Content shows the push of an image that no builder made. Its Open has nothing.
func (d *Display) Content(res *Result) *Content {
	return &Content{Result: res, view: d.view, shown: map[digest.Digest]*client.Vertex{},
		last: map[digest.Digest]time.Time{}}
}

// ShowStep shows a step that the caller itself carries out: begun, or ended if it has a time of completion or was
// cached.
func (p *Content) ShowStep(s Step) { p.view.step(s) }

// ShowStep shows a step as [Content.ShowStep] does.
func (d *Display) ShowStep(s Step) { d.view.step(s) }

func (v *view) step(s Step) {
	name := s.Name
	if s.Layer != "" {
		name = "[" + s.Layer + "] " + name
	}
	x := &client.Vertex{Digest: digest.FromString("step " + name), Name: name, Cached: s.Cached}
	if !s.Started.IsZero() {
		x.Started = &s.Started
	}
	if s.Cached {
		now := time.Now()
		x.Started, x.Completed = &now, &now
	} else if !s.Completed.IsZero() {
		x.Completed = &s.Completed
	}
	if s.Failed {
		x.Error = "failed"
	}
	v.show(&client.SolveStatus{Vertexes: []*client.Vertex{x}})
}
