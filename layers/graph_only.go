package layers

import (
	"fmt"
	"slices"
	"strings"

	"github.com/raybuild/raybuild/internal/strictyaml"
	"github.com/raybuild/raybuild/llb"
)

// BaseLayer names the layers that are chained on the base, and the base's own: they are made together.
const BaseLayer = "base"

// Only is the graph of some of the layers, by their names, for all platforms. A name that no platform has is an error.
func (g *Graph) Only(names []string) (*Graph, error) {
	out := *g
	out.Images = nil
	known := []string{BaseLayer}
	for _, image := range g.Images {
		left := image
		left.Layers = nil
		for _, l := range image.Layers {
			known = append(known, l.Name)
			if slices.Contains(names, l.Name) {
				left.Layers = append(left.Layers, l)
			}
		}
		if !slices.Contains(names, BaseLayer) {
			left.Base, left.BaseLayers = llb.Stage{}, nil
		}
		out.Images = append(out.Images, left)
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			slices.Sort(known)
			known = slices.Compact(known)
			return nil, fmt.Errorf("find layer %q: the image has none of this name; %s", name,
				strings.TrimSuffix(strictyaml.DidYouMean(name, known), "?"))
		}
	}
	return &out, nil
}

// LayerNames are the names of an image's layers as it has them, the lowest first.
func LayerNames(image llb.Image) []string {
	out := slices.Repeat([]string{BaseLayer}, len(image.BaseLayers))
	for _, l := range image.Layers {
		out = append(out, l.Name)
	}
	return out
}
