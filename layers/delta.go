package layers

import (
	"slices"

	"github.com/raybuild/raybuild/llb"
)

// Delta is what is left of a graph of one platform where an image is there that has some of its layers.
type Delta struct {
	// Graph is what is to be built: the graph with those layers alone that the image does not have, in the same order.
	// It has none where the image has all.
	Graph *Graph
	// Kept has for each layer of the whole image its place in the image that is there, or -1 where
	// it is one of Graph's.
	Kept []int
}

// Nothing tells that nothing is to be built.
func (r *Delta) Nothing() bool {
	i := r.Graph.Images[0]
	return len(i.BaseLayers)+len(i.Layers) == 0
}

// Missing is what an image with the record old lacks of the graph, whose own record is now. Layers
// are the same where all operations that make them are (LayerRecord.Key). Nil: nothing can be taken
// from it, for it has several platforms, its layers are of another kind, or none is the same.
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
	// The layers that are bound to the base are one chain: they are built together.
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
