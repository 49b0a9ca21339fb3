package raybuild

import (
	"context"
	"slices"
	"strings"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// What plan expects of a layer.
const (
	expectNew    = "new"
	expectReused = "reused"
)

// expectation guesses what will happen to each layer that may be rebuilt. Its step runs if it
// depends on a layer that is expected to be new. The step is expected to give the same layer again,
// except for steps that write data of their parents into their own files.
type expectation struct {
	layers map[string]string // by platform and layer: "new" or "reused"
	// platforms whose Python gets another minor version, so the packages' directory changes
	python map[string]bool
}

func newExpectation() *expectation {
	return &expectation{layers: map[string]string{}, python: map[string]bool{}}
}

// of returns what is expected of a layer, and whether its steps run. It must get the layers in the image's order.
func (e *expectation) of(f layers.LayerComparison, line bool) (expect string, runs bool) {
	defer func() { e.layers[f.Platform+" "+f.Name] = expect }()
	for _, c := range f.Changes {
		if minor(c.From) != minor(c.To) && strings.HasSuffix(c.Input, " python") {
			e.python[f.Platform] = true
		}
	}
	switch f.Status {
	case layers.Reused, layers.Removed:
		return expectReused, false
	case layers.Built:
		return expectNew, true
	case layers.Recompressed:
		return expectNew, false
	}
	runs = slices.ContainsFunc(f.Because, func(on string) bool { return e.layers[f.Platform+" "+on] == expectNew })
	switch {
	case line:
		return expectNew, true
	case f.Name == "apt" && slices.Contains(f.Because, "base"): // dpkg's database lists the base's packages
		return expectNew, true
	case e.python[f.Platform] && slices.Contains(f.Because, "env"):
		return expectNew, true
	}
	return expectReused, runs
}

// minor returns the minor version of an artifact: "3.11" of "3.11.2 sha256:… conda-forge/…".
func minor(value string) string {
	version, _, _ := strings.Cut(value, " ")
	parts := strings.SplitN(version, ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}

// mounted tells whether the base is in the registry that the image is pushed to. If so, the push
// mounts the base's layers and does not send them.
func mounted(image, base string) bool {
	a, err := registry.Host(image)
	if err != nil {
		return false
	}
	b, err := registry.Host(base)
	return err == nil && a == b
}

// stepCount counts the operations that make a layer.
type stepCount struct {
	run     int // commands
	written int // files that list what to install
	fixed   int // files that no lock changes, so an earlier build of the layer has made them
}

// stepCounts returns the counts of each layer, by platform and name.
func stepCounts(ctx context.Context, graph *layers.Graph) (map[string]stepCount, error) {
	out := map[string]stepCount{}
	for _, image := range graph.Images {
		def, err := image.Marshal(ctx, false)
		if err != nil {
			return nil, err
		}
		vertices, err := def.Vertices()
		if err != nil {
			return nil, err
		}
		platform := llb.FormatPlatform(image.Platform)
		for _, s := range vertices {
			key := platform + " " + s.Layer
			switch { // steps of a separate layer that have another layer's title
			case s.Kind == "run" && s.Layer == "mirrors":
				key = platform + " originals"
			case s.Layer == "env" && strings.HasPrefix(s.Name, "activate "):
				key = platform + " activate"
			}
			n := out[key]
			switch {
			case s.Kind == "run":
				n.run++
			case s.Kind == "file" && strings.HasPrefix(s.Name, "make "):
				n.fixed++
			case s.Kind == "file":
				n.written++
			}
			out[key] = n
		}
		for _, l := range image.Layers {
			if _, given := l.Stage.Given(); given { // raybuild itself makes it
				n := out[platform+" "+l.Name]
				n.run++
				out[platform+" "+l.Name] = n
			}
		}
	}
	return out, nil
}

// of returns how many of the layer's operations will run, by the layer's status.
func (n stepCount) of(l PlanLayer) int {
	switch {
	case l.Status == layers.Recompressed:
		return 0
	case l.Status == layers.MayRebuild:
		return n.run
	case l.known:
		return n.run + n.written
	}
	return n.run + n.written + n.fixed
}
