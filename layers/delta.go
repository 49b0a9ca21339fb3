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
	// Kept has an entry for each layer of the new image: its index in the existing image, or BuiltLayer
	// if Graph builds it, or MadeLayer.
	Kept []int
}

// Layers that are not kept.
const (
	BuiltLayer = -1 // a builder builds it
	MadeLayer  = -2 // it is made of wheels, without a builder
)

// Nothing tells whether no layer must be built.
func (r *Delta) Nothing() bool {
	i := r.Graph.Images[0]
	return len(i.BaseLayers)+len(i.Layers) == 0
}

// Missing compares the graph, whose record is now, with an image whose record is old. It returns the
// layers that the image lacks. Two layers are the same if all operations that make them are the same
// (LayerRecord.Key). It returns nil if the graph can reuse no layer: if there are several platforms,
// if the image's layers have another compression or form, or if none is the same. With wheels it takes
// only layers of wheels from the image, so that a builder builds all others, and can export them.
func (g *Graph) Missing(now, old *BuildRecord, wheels bool) *Delta {
	if len(g.Images) != 1 || g.onto != nil || old == nil || old.Linear || old.Compression != now.Compression ||
		len(old.Platforms) != 1 {
		return nil
	}
	compared, _ := CompareRecords(old, now)
	var kept []int
	for _, f := range compared {
		for n := range f.Count {
			at := BuiltLayer
			if f.Status == Reused {
				at = f.OldAt + n
			}
			kept = append(kept, at)
		}
	}
	if wheels {
		for i := range kept {
			n := i - len(g.Images[0].BaseLayers)
			if n < 0 || n >= len(g.Images[0].Layers) || !isGiven(g.Images[0].Layers[n]) {
				kept[i] = BuiltLayer
			}
		}
	}
	r := g.delta(kept)
	if r == nil || !slices.ContainsFunc(r.Kept, func(at int) bool { return at >= 0 }) {
		return nil
	}
	return r
}

// Made tells which layers are made of wheels, without a builder, if no other image has any. It returns
// nil if there is none, or if a builder must pack them: several platforms, or another compression.
func (g *Graph) Made() *Delta {
	if len(g.Images) != 1 || g.onto != nil {
		return nil
	}
	kept := make([]int, len(g.Images[0].BaseLayers)+len(g.Images[0].Layers))
	for i := range kept {
		kept[i] = BuiltLayer
	}
	r := g.delta(kept)
	if r == nil || !slices.Contains(r.Kept, MadeLayer) {
		return nil
	}
	return r
}

func isGiven(l llb.Layer) bool {
	_, given := l.Stage.Given()
	return given
}

// MadeOnto is Made for a graph that puts a layer of wheels on an existing image (see OnImage): all
// layers of that image are kept.
func (g *Graph) MadeOnto() *Delta {
	if len(g.Images) != 1 || g.onto == nil || g.onto.Linear || len(g.Images[0].Layers) != 1 ||
		!isGiven(g.Images[0].Layers[0]) || !g.MakesWheels() || g.onto.Compression != g.packing() {
		return nil
	}
	r := &Delta{}
	for i := range g.Images[0].BaseLayers {
		r.Kept = append(r.Kept, i)
	}
	r.Kept = append(r.Kept, MadeLayer)
	rest := *g
	rest.Images = []llb.Image{{Platform: g.Images[0].Platform, Config: g.Images[0].Config,
		Created: g.Images[0].Created}}
	r.Graph = &rest
	return r
}

// delta is what a builder builds, if some layers are kept.
func (g *Graph) delta(kept []int) *Delta {
	whole, r := g.Images[0], &Delta{Kept: kept}
	front := len(whole.BaseLayers)
	if len(kept) != front+len(whole.Layers) {
		return nil
	}
	for n, l := range whole.Layers {
		if isGiven(l) && kept[front+n] < 0 && g.MakesWheels() {
			kept[front+n] = MadeLayer
		}
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
	for n, l := range whole.Layers {
		if r.Kept[front+n] == BuiltLayer {
			left.Layers = append(left.Layers, l)
		}
	}
	graph := *g
	graph.Images = []llb.Image{left}
	r.Graph = &graph
	return r
}
