package llb

import (
	"context"
	"time"

	"github.com/moby/buildkit/client"
	digest "github.com/opencontainers/go-digest"
)

// Display shows work of the caller as builds show theirs, where no builder is used.
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
func (p *Content) ShowStep(s Step) {
	name := s.Name
	if s.Layer != "" {
		name = "[" + s.Layer + "] " + name
	}
	v := &client.Vertex{Digest: digest.FromString("step " + name), Name: name, Cached: s.Cached}
	if !s.Started.IsZero() {
		v.Started = &s.Started
	}
	if s.Cached {
		now := time.Now()
		v.Started, v.Completed = &now, &now
	} else if !s.Completed.IsZero() {
		v.Completed = &s.Completed
	}
	if s.Failed {
		v.Error = "failed"
	}
	p.view.show(&client.SolveStatus{Vertexes: []*client.Vertex{v}})
}
