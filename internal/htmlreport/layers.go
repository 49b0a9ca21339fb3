package htmlreport

import (
	"cmp"
	"slices"
	"strings"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/show"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// platformPage shows the image of one platform: a column of layers, lines between layers that need
// each other, and a treemap of their contents.
type platformPage struct {
	Name         string
	Layers       []layerRow
	Arcs         []arc
	Gutter       int // width of the lines' column
	Height       int
	Wide, Narrow []tile
	Packages     []packageRow
	InImage      bool // sizes of the image's layers; else of the lock's artifacts
}

// layerRow is a layer, or all layers of the base.
type layerRow struct {
	Name     string
	Count    int
	Needs    string
	Class    string // built, kept, failed, waiting
	Build    string // what happened to its steps
	Registry string // pushed, reused, or ""
	Steps    string
	Seconds  string
	Size     int64
	SizeText string
	Digests  []string
	packages []packageRow
	ran      int
}

// packageRow is an artifact of the lock.
type packageRow struct {
	Layer, Kind, Name, Version string
	Size                       int64
	SizeText                   string
}

func (b *Build) platforms(inputs *layers.BuildRecord, f *failure) []platformPage {
	var all []platformPage
	at := 0
	known := b.Result.Layers
	for _, in := range inputs.Platforms {
		out := platformPage{Name: in.Platform}
		count := 0
		for _, l := range in.Layers {
			count += l.Count
		}
		var mine []raybuild.LayerResult
		if at+count <= len(known) {
			mine, out.InImage = known[at:at+count], true
		}
		at += count
		artifacts := b.artifacts(in.Platform)
		for _, l := range in.Layers {
			row := layerRow{Name: show.Printable(l.Name), Count: l.Count,
				Needs: show.Printable(strings.Join(l.On, ", "))}
			row.packages = packagesOf(l, artifacts)
			row.steps(b, l, f)
			if mine != nil {
				row.sizes(b, mine[:l.Count])
				mine = mine[l.Count:]
			}
			row.sum()
			out.Packages = append(out.Packages, row.packages...)
			out.Layers = append(out.Layers, row)
		}
		slices.SortStableFunc(out.Packages, func(a, b packageRow) int { return cmp.Compare(b.Size, a.Size) })
		out.draw(in)
		all = append(all, out)
	}
	return all
}

// artifacts returns the artifacts of one platform by digest.
func (b *Build) artifacts(platform string) map[string]layers.Artifact {
	all := map[string]layers.Artifact{}
	if b.Result.Lock == nil {
		return all
	}
	if locked := b.Result.Lock.Platforms[platform]; locked != nil {
		for _, l := range locked.Layers {
			for _, a := range l.Artifacts {
				all[a.Digest().String()] = a
			}
		}
	}
	return all
}

// packagesOf returns the artifacts that a layer's inputs name, largest first.
func packagesOf(l layers.LayerRecord, artifacts map[string]layers.Artifact) []packageRow {
	var all []packageRow
	for _, value := range l.Values {
		fields := strings.Fields(value)
		if len(fields) < 2 {
			continue
		}
		if a, ok := artifacts[fields[1]]; ok {
			all = append(all, packageRow{show.Printable(l.Name), a.Kind, show.Printable(a.Name),
				show.Printable(a.Version), a.Size, show.Size(a.Size)})
		}
	}
	slices.SortFunc(all, func(a, b packageRow) int {
		return cmp.Or(cmp.Compare(b.Size, a.Size), cmp.Compare(a.Name, b.Name))
	})
	return all
}

// steps says what happened to the steps that make the layer.
func (r *layerRow) steps(b *Build, l layers.LayerRecord, f *failure) {
	seconds, count, unfinished := 0.0, 0, false
	for _, s := range b.Result.Ran {
		if stepLayer(s) != l.Name {
			continue
		}
		count++
		seconds += s.Seconds
		if !s.Cached {
			r.ran++
			unfinished = unfinished || s.Failed || s.Completed.IsZero()
		}
	}
	r.Steps, r.Seconds = "none", "–"
	if count > 0 {
		r.Steps = numberOf(r.ran, count)
	}
	if r.ran > 0 {
		r.Seconds = secondsText(seconds)
	}
	switch {
	case f != nil && f.Layer != "" && f.Layer == l.Name:
		r.Class, r.Build = "failed", "failed"
	case unfinished:
		r.Class, r.Build = "waiting", "stopped"
	case r.ran > 0:
		r.Class, r.Build = "built", "built"
	case f != nil:
		r.Class, r.Build = "waiting", "not run"
	default:
		r.Class, r.Build = "kept", "kept"
	}
}

// stepLayer returns the image layer that a step makes. Steps of "mirrors" that copy the original
// files make a separate layer, "originals".
func stepLayer(s llb.Step) string {
	if s.Layer == "mirrors" && strings.Contains(s.Name, "original") {
		return "originals"
	}
	return s.Layer
}

// sizes sets the sizes and states of the layer in the image and in the registry.
func (r *layerRow) sizes(b *Build, all []raybuild.LayerResult) {
	pushed := 0
	for _, l := range all {
		r.Size += l.Size
		r.Digests = append(r.Digests, show.Short(l.Digest.String()))
		if !l.Reused {
			pushed++
		}
	}
	if !b.Push || b.Result.Digest == "" && !b.Result.Pushing {
		return
	}
	r.Registry = "pushed"
	if pushed == 0 {
		r.Registry = "reused"
	} else if pushed < len(all) {
		r.Registry = numberOf(pushed, len(all)) + " pushed"
	}
	if pushed > 0 && r.Class == "kept" { // an earlier build made it, but it is new in this registry
		r.Class = "pushed"
	}
}

// sum sets the size. If the layer's size is not known, it is the sum of its artifacts' sizes.
func (r *layerRow) sum() {
	if r.Digests == nil {
		for _, a := range r.packages {
			r.Size += a.Size
		}
	}
	r.SizeText = "–"
	if r.Size > 0 {
		r.SizeText = show.Size(r.Size)
	}
}
