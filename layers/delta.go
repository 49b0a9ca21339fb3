package layers

import (
	"slices"

	"github.com/raybuild/raybuild/llb"
)

// Delta lists the layers of a graph that an existing image lacks. It is for one platform.
type Delta struct {
	// Graph has only the layers that must be built, in the same order. It has no layer if the image
	// has all of them.
	Graph *Graph
	// Kept has an entry for each layer of the new image: its index in the existing image, or -1 if
	// Graph builds it.
	Kept []int
}

// Nothing tells whether no layer must be built.
func (r *Delta) Nothing() bool {
	i := r.Graph.Images[0]
	return len(i.BaseLayers)+len(i.Layers) == 0
}

// Missing compares the graph, whose record is now, with an image whose record is old. It returns the
// layers that the image lacks. Two layers are the same if all operations that make them are the same
// (LayerRecord.Key). It returns nil if the graph can reuse no layer: if there are several platforms,
// if the image's layers have another compression or form, or if none is the same.
func (g *Graph) Missing(now, old *BuildRecord) *Delta {
	if len(g.Images) != 1 || g.onto != nil || old == nil || old.Linear || old.Compression != now.Compression ||
		len(old.Platforms) != 1 {
		return nil
	}
	whole := g.Images[0]
	compared, _ := CompareRecords(old, now)
	r := &Delta{}
	for _, f := range compared {
		for n := range f.Count {
			at := -1
			if f.Status == Reused {
				at = f.OldAt + n
			}
			r.Kept = append(r.Kept, at)
		}
	}
	front := len(whole.BaseLayers)
	if len(r.Kept) != front+len(whole.Layers) {
		return nil
	}
	left := whole
	left.Base, left.BaseLayers, left.Layers = llb.Stage{}, nil, nil
	// The layers that are chained on the base are built together.
	for n := range front {
		if r.Kept[n] < 0 {
			left.Base, left.BaseLayers = whole.Base, whole.BaseLayers
		}
	}
	if left.BaseLayers != nil {
		for n := range front {
			r.Kept[n] = -1
		}
	}
	if !slices.ContainsFunc(r.Kept, func(at int) bool { return at >= 0 }) {
		return nil
	}
	for n, l := range whole.Layers {
		if r.Kept[front+n] < 0 {
			left.Layers = append(left.Layers, l)
		}
	}
	graph := *g
	graph.Images = []llb.Image{left}
	r.Graph = &graph
	return r
}
