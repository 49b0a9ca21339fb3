package raybuild

import (
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/layers"
)

// Plan says what a build would do, compared with an image in a registry. Sizes are in bytes. Its
// JSON is that of "raybuild plan --json".
type Plan struct {
	Image     string             `json:"image,omitempty"` // the image's present reference, by digest
	Graph     string             `json:"graph,omitempty"` // digest; "" if the lock is stale
	UpToDate  bool               `json:"up_to_date"`      // the image was built from this graph
	Stale     []StaleLayer       `json:"stale"`           // layers that a build would resolve first
	Layers    []PlanLayer        `json:"layers"`          // of each platform, in the image's order
	Config    []ConfigDifference `json:"config"`          // how configs differ
	Steps     int                `json:"steps"`           // run and file operations that are expected to run
	StepsMost int                `json:"steps_most"`      // operations of all layers that are built or may be rebuilt
	// size of the layers that are expected to be new in the image's repository
	Push     int64 `json:"push_bytes"`
	PushMost int64 `json:"push_bytes_most"` // the same if all layers that may be rebuilt are new
	Pull     int64 `json:"pull_bytes"`      // what a node that has the image pulls
	PullMost int64 `json:"pull_bytes_most"` // the same if all layers that may be rebuilt are new
	// the build will test the image, which counts as a step; false: an equal test passed before,
	// or the image is not tested
	Smoke   bool                 `json:"smoke"`
	Seconds *float64             `json:"seconds,omitempty"` // of all StepsMost steps; nil: not all were measured before
	Notes   []string             `json:"notes"`
	history buildHistory         // of the last builds
	steps   map[string]stepCount // of each platform and layer
}

// ConfigDifference says how the config of one platform differs.
type ConfigDifference struct {
	Platform string               `json:"platform"`
	Changes  []layers.InputChange `json:"changes"`
}

// PlanLayer says what a build would do with a layer.
type PlanLayer struct {
	Platform string             `json:"platform"`
	Name     string             `json:"name"`
	Status   layers.LayerStatus `json:"fate"`
	Expect   string             `json:"expect"` // new or reused; for a layer that may be rebuilt: the likely one
	Count    int                `json:"count"`  // how many layers of the image it is
	// how many of them the image does not have, including layers that may be rebuilt
	New      int                  `json:"new"`
	Pushed   int                  `json:"pushed"`            // how many of the new ones its repository does not have
	Digests  []digest.Digest      `json:"digests,omitempty"` // if they are known
	Size     int64                `json:"size"`              // size of all these layers
	Estimate bool                 `json:"estimate"`          // Size is an estimate
	Changes  []layers.InputChange `json:"changes,omitempty"`
	Because  []string             `json:"because,omitempty"`
	push     int64                // bytes of the layers that are pushed
	Reason   string               `json:"-"` // why it differs, in one line
	runs     bool                 // its steps are expected to run
	known    bool                 // the image has a layer with this name
}

// Plan says what a build would do. It starts no builder, resolves nothing and changes nothing. It
// fetches new Debian packages to estimate the layer's size. The next build would fetch them too.
func (p *Project) Plan(ctx context.Context, o CompareOptions) (_ *Plan, err error) {
	defer public(ctx, &err)
	g, err := p.compare(ctx, o)
	if err != nil {
		return nil, err
	}
	return g.plan(ctx, o.Image)
}

// plan makes the plan.
func (g *comparison) plan(ctx context.Context, name string) (*Plan, error) {
	r := &Plan{Stale: staleLayers(g.stale), Layers: []PlanLayer{}, Config: []ConfigDifference{}, Notes: []string{}}
	var err error
	if r.history, err = g.p.recall(); err != nil {
		return nil, err
	}
	if g.image != nil {
		r.Image = g.image.Ref
	} else if name == "" {
		r.note("no image to compare with: name one, or push one first")
	} else {
		r.note("the registry has no %s: all layers are new there", name)
	}
	if g.graph == nil {
		r.note("plan needs a lock that fits to say more: raybuild lock writes it")
		return r, nil
	}
	if len(g.stale) == 0 {
		r.Graph = g.graph.Digest.String()
		if r.UpToDate, err = g.upToDate(ctx); err != nil {
			return nil, err
		}
	}
	var old *layers.BuildRecord
	if g.image != nil {
		if old = g.image.record; old != nil && g.image.doubt != nil {
			old, g.image.record = nil, nil
			r.note("the image's layers are not reused: %v", g.image.doubt)
		} else if old == nil {
			r.note("the image carries no record of its inputs, so plan cannot say which layers are reused: push it " +
				"again with this raybuild")
		} else if old.Linear {
			r.note("the image's builder could not merge layers: all layers after a built layer are built too")
		}
	}
	if r.steps, err = stepCounts(ctx, g.graph); err != nil {
		return nil, err
	}
	compared, configs := layers.CompareRecords(old, g.inputs)
	expected := newExpectation()
	for _, f := range compared {
		expect, runs := expected.of(f, old != nil && old.Linear)
		r.add(ctx, g, f, expect, runs)
	}
	for _, p := range g.inputs.Platforms {
		if c := configs[p.Platform]; len(c) > 0 {
			r.Config = append(r.Config, ConfigDifference{p.Platform, c})
		}
	}
	if r.Smoke, err = g.smokes(old); err != nil {
		return nil, err
	}
	needsNone := !slices.ContainsFunc(r.Layers, func(l PlanLayer) bool {
		return l.New > 0 && !g.given(l.Platform, l.Name)
	})
	if r.Smoke && needsNone && g.onlyAdds(old) {
		r.Smoke = false // no builder is used, see planSmoke
	}
	r.sum(g)
	return r, nil
}

// upToDate tells whether the image is the one that a build makes. It also finds out whether the image's record can
// be believed.
func (g *comparison) upToDate(ctx context.Context) (bool, error) {
	if g.image == nil {
		return false, nil
	}
	if err := g.p.nameDocuments(ctx, g.graph); err != nil {
		return false, err
	}
	if g.image.record != nil {
		if g.image.doubt = g.p.mayTrust(ctx, g.image.Ref); g.image.doubt == nil {
			g.image.doubt = g.p.believe(ctx, g.graph, g.inputs, g.image)
		}
	}
	if g.image.Annotations[layers.GraphAnnotation] != g.graph.Digest.String() {
		return false, nil
	}
	return g.p.isGraphs(ctx, g.graph, registry.Descriptor{Ref: g.image.Ref, Annotations: g.image.Annotations}), nil
}

func (r *Plan) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// add adds one layer to the plan: what happens to it and how large it will be.
func (r *Plan) add(ctx context.Context, g *comparison, f layers.LayerComparison, expect string, runs bool) {
	l := PlanLayer{
		Platform: f.Platform, Name: f.Name, Status: f.Status, Expect: expect, runs: runs, known: f.OldCount > 0,
		Count: f.Count, Changes: f.Changes, Because: f.Because, Reason: reason(f, 100),
	}
	had := map[digest.Digest]bool{}
	var oldSize int64
	if p := g.image.platform(f.Platform); p != nil && f.OldCount > 0 && g.image.record != nil {
		for _, layer := range p.Layers[f.OldAt : f.OldAt+f.OldCount] {
			had[layer.Digest] = true
			oldSize += layer.Size
			l.Digests = append(l.Digests, layer.Digest)
		}
	}
	l.Size = oldSize
	if f.Status != layers.Reused && f.Status != layers.Removed {
		l.New, l.Estimate = f.Count, true
		l.Digests = nil
		if f.Name == "apt" && f.OldBytes > 0 && oldSize > 0 {
			l.Size = r.aptSize(ctx, g, f, oldSize)
		} else if f.OldBytes > 0 && f.Bytes > 0 && oldSize > 0 {
			l.Size = int64(float64(oldSize) * float64(f.Bytes) / float64(f.OldBytes))
		} else if oldSize == 0 {
			l.Size = f.Bytes
		}
		if made, ok := g.made(f); ok {
			l.Size, l.Estimate, l.Digests = made.Size, false, []digest.Digest{made.Digest}
		}
	}
	if f.Name == "base" && f.Status == layers.Built {
		r.base(ctx, g, &l, had)
	} else {
		l.Pushed = l.New
		if l.New > 0 {
			l.push = l.Size
		}
	}
	r.Layers = append(r.Layers, l)
}

// base asks the registry for the base's layers, because they are known before the build. Some
// registries share layers among repositories.
func (r *Plan) base(ctx context.Context, g *comparison, l *PlanLayer, had map[digest.Digest]bool) {
	l.Pushed, l.push = l.New, l.Size
	if slices.ContainsFunc(g.stale, func(s layers.StaleLayer) bool { return s.Layer == "base" }) {
		return
	}
	locked := g.p.lock.Platforms[l.Platform].Base
	image, err := g.p.registry.Inspect(ctx, locked.Reference+"@"+locked.Digest.String())
	if err != nil || len(image.Platforms) != 1 {
		r.note("the size of the base %s is not known: %v", locked.Reference, err)
		return
	}
	l.Size, l.New, l.Estimate = 0, 0, false
	l.Pushed, l.push = 0, 0
	for _, layer := range image.Platforms[0].Layers {
		l.Digests = append(l.Digests, layer.Digest)
	}
	has := map[digest.Digest]bool{}
	inReach := g.image != nil && mounted(g.image.Ref, locked.Reference)
	if g.image != nil && !inReach {
		if has, err = g.p.registry.Has(ctx, g.image.Ref, l.Digests...); err != nil {
			r.note("it is not known which layers of the base the repository has: %v", err)
		}
	}
	for _, layer := range image.Platforms[0].Layers {
		if had[layer.Digest] {
			continue
		}
		l.New++
		l.Size += layer.Size
		if !inReach && !has[layer.Digest] {
			l.Pushed++
			l.push += layer.Size
		}
	}
}

// sum computes the plan's totals.
func (r *Plan) sum(g *comparison) {
	if r.UpToDate {
		r.Smoke = false
		return
	}
	seconds, measured := 0.0, true
	if r.Smoke {
		r.Steps, r.StepsMost = r.Steps+1, r.StepsMost+1
		seconds, measured = r.history.Seconds[layers.SmokeLayer], r.history.Seconds[layers.SmokeLayer] > 0
	}
	for _, l := range r.Layers {
		if l.Status == layers.Reused || l.Status == layers.Removed {
			continue
		}
		n := r.steps[l.Platform+" "+l.Name].of(l)
		if l.runs {
			r.Steps += n
		}
		r.PullMost, r.PushMost = r.PullMost+l.Size, r.PushMost+l.push
		if l.Expect == expectNew {
			r.Pull, r.Push = r.Pull+l.Size, r.Push+l.push
		}
		r.StepsMost += n
		name := l.Name
		if name == "originals" {
			name = "mirrors"
		}
		took, ok := r.history.Seconds[name]
		measured = measured && (ok || n == 0)
		if n > 0 {
			seconds += took
		}
	}
	for _, p := range g.inputs.Platforms { // the config is always new, and about as large as before
		if was := g.image.platform(p.Platform); was != nil {
			config := was.Size
			for _, l := range was.Layers {
				config -= l.Size
			}
			r.Pull, r.PullMost = r.Pull+config, r.PullMost+config
			r.Push, r.PushMost = r.Push+config, r.PushMost+config
		}
	}
	if measured {
		r.Seconds = &seconds
	}
}

// smokes tells whether a build would test the image.
func (g *comparison) smokes(old *layers.BuildRecord) (bool, error) {
	how, on := SmokeByRecipe.tests(g.p.recipe)
	if !on {
		return false, nil
	}
	all, err := g.graph.SmokeTests(how, g.inputs)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(all, func(t layers.SmokeTest) bool {
		return testedHere(t, len(all)) && !t.PassedBy(old) && !g.p.passedHere(&t)
	}), nil
}
