package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild/layers"
)

func (a *app) planCommand() *cobra.Command {
	o := &againstOptions{}
	cmd := &cobra.Command{
		Use:   "plan [IMAGE]",
		Short: "Say what a build would do, before any work; exit code 2 if anything",
		Long: `plan compares recipe and lock here with what IMAGE, as the registry has it now, was made of, and says which layers are
reused, which are built and pushed, and what a node that has that image will pull. It starts no engine, resolves nothing and
changes nothing; Debian packages that are new it fetches, as the build after it would, to see how much is in them. Without IMAGE it
takes the one that was pushed last from this recipe, on this machine.

Layers: reused (made of the same: it is the same blob), built (an input of its own is another one, which is named), follows
(stands on a layer that is built: its step runs again if that comes out with other bytes, and it is pushed if it itself does; what
is likely is counted, what is possible is told beside it), recompressed, gone. A base that the registry itself has is not pushed.

A build tests the image (smoke) where modules may come from a layer that is another one, or where IMAGE was not tested.

Sizes of reused layers and of a base are those of the registry; a size with ~ is an estimate: the size that the layer had, in the
proportion of its artifacts' sizes in the two locks, and what new Debian packages hold. Seconds are those that the layers' steps took when they last ran on this
machine, one after the other, without fetching and pushing; where one never ran here, no time is given.

A lock that does not fit the recipe is not resolved: plan says what would be. Exit codes: 0 IMAGE is this graph already, 2 something
would change, 1 failed.`,
		Example: `  raybuild plan registry.example/ray:2.60.0
  raybuild plan --json registry.example/ray:latest
  raybuild plan --set ray.version=2.60.0 registry.example/ray:2.59.0
  raybuild plan registry.example/ray:main || test $? -eq 2     # in CI`,
		Args: images(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.recipeOptions.set(cmd)
			return a.plan(cmd.Context(), o, strings.Join(args, ""))
		},
	}
	o.flags(cmd)
	return cmd
}

// planReport is what plan prints with --json. Sizes are bytes.
type planReport struct {
	Image     string               `json:"image,omitempty"`   // by digest, as it is now
	Graph     string               `json:"graph,omitempty"`   // digest; none where the lock is stale
	UpToDate  bool                 `json:"up_to_date"`        // the image is this graph
	Stale     []staleReport        `json:"stale"`             // what a build would resolve first
	Layers    []planLayer          `json:"layers"`            // of each platform, in the image's order
	Config    []configReport       `json:"config"`            // what changes in configs
	Steps     int                  `json:"steps"`             // run and file operations that are expected to run
	StepsMost int                  `json:"steps_most"`        // those of all layers that are built or follow
	Push      int64                `json:"push_bytes"`        // of layers that are expected to be new in the image's repository
	PushMost  int64                `json:"push_bytes_most"`   // where all that follow come out new
	Pull      int64                `json:"pull_bytes"`        // by a node that has the image
	PullMost  int64                `json:"pull_bytes_most"`   // where all that follow come out new
	Smoke     bool                 `json:"smoke"`             // the image will be tested, a step that counts; else one alike has passed, or nobody wants it
	Seconds   *float64             `json:"seconds,omitempty"` // of all these steps, where each was measured
	Notes     []string             `json:"notes"`
	memory    memory               // of the last builds
	steps     map[string]stepCount // of each platform and layer
}

type staleReport struct {
	Platform string `json:"platform"`
	Layer    string `json:"layer"`
	Why      string `json:"why"`
}

type configReport struct {
	Platform string               `json:"platform"`
	Changes  []layers.InputChange `json:"changes"`
}

type planLayer struct {
	Platform string               `json:"platform"`
	Name     string               `json:"name"`
	Fate     layers.Fate          `json:"fate"`
	Expect   string               `json:"expect"`            // new or reused; of a layer that follows, what is likely
	Count    int                  `json:"count"`             // of the image's layers
	New      int                  `json:"new"`               // of these that the image does not have; those that follow counted
	Pushed   int                  `json:"pushed"`            // of the new ones, those that its repository does not have
	Digests  []digest.Digest      `json:"digests,omitempty"` // where they are known
	Size     int64                `json:"size"`              // of all of them
	Estimate bool                 `json:"estimate"`          // the size is one
	Changes  []layers.InputChange `json:"changes,omitempty"`
	Because  []string             `json:"because,omitempty"`
	push     int64                // bytes of those that are pushed
	reason   string
	runs     bool // its steps are expected to run
	known    bool // the image has one of that name
}

func (a *app) plan(ctx context.Context, o *againstOptions, name string) error {
	g, err := a.compare(ctx, o, name)
	if err != nil {
		return err
	}
	r, err := g.plan(ctx, name)
	if err != nil {
		return err
	}
	if o.asJSON {
		err = a.printJSON(r)
	} else {
		err = a.print("%s", r.text())
	}
	if err == nil && !r.UpToDate {
		err = changesError{}
	}
	return err
}

// plan makes the report.
func (g *against) plan(ctx context.Context, name string) (*planReport, error) {
	r := &planReport{Stale: []staleReport{}, Layers: []planLayer{}, Config: []configReport{}, Notes: []string{}}
	for _, s := range g.stale {
		r.Stale = append(r.Stale, staleReport(s))
	}
	var err error
	if r.memory, err = g.j.recall(); err != nil {
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
		r.note("without a lock that fits nothing more can be said: raybuild lock writes it")
		return r, nil
	}
	if len(g.stale) == 0 {
		r.Graph = g.graph.Digest.String()
		r.UpToDate = g.image != nil && g.image.Annotations[layers.GraphAnnotation] == r.Graph
	}
	var old *layers.Inputs
	if g.image != nil {
		if old = g.image.record; old == nil {
			r.note("the image carries no record of what it was made of, so no layer is known to be reused: push it anew with this raybuild")
		} else if old.Line {
			r.note("the image was built where layers cannot be merged: what follows a built layer is built too")
		}
	}
	if r.steps, err = stepCounts(ctx, g.graph); err != nil {
		return nil, err
	}
	fates, configs := layers.Fates(old, g.inputs)
	expected := newExpectation()
	for _, f := range fates {
		expect, runs := expected.of(f, old != nil && old.Line)
		r.add(ctx, g, f, expect, runs)
	}
	for _, p := range g.inputs.Platforms {
		if c := configs[p.Platform]; len(c) > 0 {
			r.Config = append(r.Config, configReport{p.Platform, c})
		}
	}
	if r.Smoke, err = g.smokes(old); err != nil {
		return nil, err
	}
	r.sum(g)
	return r, nil
}

func (r *planReport) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// add says of one layer what becomes of it and how large it will be.
func (r *planReport) add(ctx context.Context, g *against, f layers.LayerFate, expect string, runs bool) {
	l := planLayer{
		Platform: f.Platform, Name: f.Name, Fate: f.Fate, Expect: expect, runs: runs, known: f.OldCount > 0, Count: f.Count, Changes: f.Changes, Because: f.Because, reason: reason(f, 100),
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
	if f.Fate != layers.Reused && f.Fate != layers.Gone {
		l.New, l.Estimate = f.Count, true
		l.Digests = nil
		if f.Name == "apt" && f.OldBytes > 0 && oldSize > 0 {
			l.Size = r.aptSize(ctx, g, f, oldSize)
		} else if f.OldBytes > 0 && f.Bytes > 0 && oldSize > 0 {
			l.Size = int64(float64(oldSize) * float64(f.Bytes) / float64(f.OldBytes))
		} else if oldSize == 0 {
			l.Size = f.Bytes
		}
	}
	if f.Name == "base" && f.Fate == layers.Built {
		r.base(ctx, g, &l, had)
	} else {
		l.Pushed = l.New
		if l.New > 0 {
			l.push = l.Size
		}
	}
	r.Layers = append(r.Layers, l)
}

// base asks the registry for the layers of the base, which are known before anything is built; some registries share them
// among repositories.
func (r *planReport) base(ctx context.Context, g *against, l *planLayer, had map[digest.Digest]bool) {
	l.Pushed, l.push = l.New, l.Size
	if slices.ContainsFunc(g.stale, func(s layers.StaleLayer) bool { return s.Layer == "base" }) {
		return
	}
	locked := g.j.lock.Platforms[l.Platform].Base
	image, err := g.j.registry.Inspect(ctx, locked.Reference+"@"+locked.Digest.String())
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
		if has, err = g.j.registry.Has(ctx, g.image.Ref, l.Digests...); err != nil {
			r.note("what the repository has of the base is not known: %v", err)
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

// sum adds up what is done.
func (r *planReport) sum(g *against) {
	if r.UpToDate {
		r.Smoke = false
		return
	}
	seconds, measured := 0.0, true
	if r.Smoke {
		r.Steps, r.StepsMost = r.Steps+1, r.StepsMost+1
		seconds, measured = r.memory.Seconds[layers.SmokeLayer], r.memory.Seconds[layers.SmokeLayer] > 0
	}
	for _, l := range r.Layers {
		if l.Fate == layers.Reused || l.Fate == layers.Gone {
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
		took, ok := r.memory.Seconds[name]
		measured = measured && (ok || n == 0)
		if n > 0 {
			seconds += took
		}
	}
	for _, p := range g.inputs.Platforms { // the config is always new, and about as large as it was
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
func (g *against) smokes(old *layers.Inputs) (bool, error) {
	how, on := (&buildOptions{}).tests(g.j.recipe)
	if !on {
		return false, nil
	}
	all, err := g.graph.SmokeTests(how, g.inputs)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(all, func(t layers.SmokeTest) bool {
		return testedHere(t, len(all)) && !t.PassedBy(old) && !g.j.passedHere(&t)
	}), nil
}

// text is the report for people.
func (r *planReport) text() string {
	var b strings.Builder
	line := func(key, format string, args ...any) { fmt.Fprintf(&b, "%-8s%s\n", key, fmt.Sprintf(format, args...)) }
	if r.Image != "" {
		line("image", "%s", r.Image)
	}
	if r.UpToDate {
		line("", "is this graph already: there is nothing to do")
		return strings.TrimSpace(b.String())
	}
	for _, n := range r.Notes {
		line("note", "%s", n)
	}
	for _, s := range r.Stale {
		line("stale", "%s, %s: %s", s.Layer, s.Platform, s.Why)
	}
	if len(r.Stale) > 0 {
		line("", "the lock does not fit: a build would resolve this first, and versions may change")
	}
	if len(r.Layers) == 0 {
		return strings.TrimSpace(b.String())
	}
	rows := [][]string{{"LAYER", "", "SIZE", "WHY"}}
	for _, l := range r.Layers {
		mark := ""
		if l.Estimate {
			mark = "~"
		}
		rows = append(rows, []string{printable(l.Name), string(l.Fate), mark + size(l.Size), l.reason})
	}
	fmt.Fprintf(&b, "\n%s\n\n", table(rows))
	for _, c := range r.Config {
		for _, change := range c.Changes {
			line("config", "%s", oneLine(printable(change.Text()), 120))
		}
	}
	if r.Smoke {
		line("smoke", "the image will be tested before it gets its name")
	}
	line("steps", "%s", upTo(fmt.Sprint(r.Steps), fmt.Sprint(r.StepsMost)))
	line("push", "about %s", upTo(size(r.Push), size(r.PushMost)))
	line("pull", "about %s, by a node that has the image", upTo(size(r.Pull), size(r.PullMost)))
	if r.Seconds != nil {
		line("time", "at most about %.1f s in steps, by what they took here last; fetching and pushing come on top", *r.Seconds)
	}
	return strings.TrimSpace(b.String())
}

func upTo(least, most string) string {
	if least == most {
		return least
	}
	return fmt.Sprintf("%s (at most %s, if all that follow come out new)", least, most)
}
