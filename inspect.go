package raybuild

import (
	"context"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/layers"
)

// Inspection is what a registry tells of an image. Its JSON is that of "raybuild inspect --json".
type Inspection struct {
	registry.Image
	Graph string `json:"graph,omitempty"` // digest of the graph that it was built from
	Lock  string `json:"lock,omitempty"`  // its lock, as text
}

// Inspect asks a registry what an image is. No layer is pulled.
func Inspect(ctx context.Context, ref string, o Options) (*Inspection, error) {
	c := newEnv(o).client()
	image, err := c.Inspect(ctx, ref)
	if err != nil {
		return nil, err
	}
	locks, err := c.Attached(ctx, image.Ref, lockType)
	if err != nil {
		return nil, err
	}
	out := &Inspection{Image: image, Graph: image.Annotations[layers.GraphAnnotation]}
	if len(locks) > 0 {
		out.Lock = string(locks[len(locks)-1].Data)
	}
	return out, nil
}
