package raybuild

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/fakebuilder"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// sent are the names of the layers that were not there before.
func sent(res *Result) (names []string) {
	for _, l := range res.Layers {
		if !l.Reused {
			names = append(names, l.Name)
		}
	}
	return names
}

// A build pushes the image with lock, recipe and record. The next one finds it, whatever the builder remembers.
func TestBuildPushesOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first, ran := s.build(BuildOptions{})
	if len(ran) == 0 || first.UpToDate || first.Engine != s.Builder.Addr() || first.Smoke != "passed" {
		t.Errorf("the first build ran %q: %+v", ran, first)
	}
	if got := s.DigestOf(s.Ref("ray:1")); got != first.Digest {
		t.Errorf("the registry has %s, want %s", got, first.Digest)
	}
	s.Builder.Forget()
	again, ran := s.build(BuildOptions{})
	if len(ran) > 0 || !again.UpToDate || again.Digest != first.Digest || again.Engine != "" || again.BytesPushed != 0 {
		t.Errorf("the second build ran %q: %+v", ran, again)
	}
	inspected, err := Inspect(t.Context(), s.Ref("ray:1"), s.options())
	if err != nil {
		t.Fatal(err)
	}
	if len(inspected.Platforms) != 1 {
		t.Errorf("inspected %+v", inspected)
	}
}

// An edit is made from the image before it: the builder makes what is new, and the digest is that of a whole build.
func TestEditTakesLayersFromTheImageBefore(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		edit func(*site)
		ran  []string // steps that run; nil: no builder is asked
		sent []string // layers
	}{
		"own file": {func(s *site) { s.Write("app/main.py", "print(2)\n") }, []string{}, []string{"files"}},
		"label":    {func(s *site) { s.Edit("raybuild.yaml", "team: a", "team: b") }, nil, nil},
		"step": {func(s *site) { s.Edit("raybuild.yaml", "echo hello", "echo bye") }, []string{"[note] run"},
			[]string{"note"}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			first, _ := s.build(BuildOptions{})
			c.edit(s)
			edited, ran := s.build(BuildOptions{})
			if edited.LayersFrom != s.Ref("ray@"+first.Digest) || edited.Digest == first.Digest {
				t.Errorf("layers come from %q, the image was %s and is %s", edited.LayersFrom, first.Digest,
					edited.Digest)
			}
			if (edited.Engine == "") != (c.ran == nil) {
				t.Errorf("the builder is %q", edited.Engine)
			}
			if !slices.Equal(withoutSmoke(ran), c.ran) {
				t.Errorf("%q ran, want %q", ran, c.ran)
			}
			if got := sent(edited); !slices.Equal(got, c.sent) {
				t.Errorf("layers %q were sent, want %q", got, c.sent)
			}
			whole, _ := s.build(BuildOptions{Names: []string{s.Ref("whole:1")}, NoReuse: true, NoGraphTag: true})
			if whole.Digest != edited.Digest {
				t.Errorf("a whole build gives %s, the edit %s", whole.Digest, edited.Digest)
			}
		})
	}
}

func withoutSmoke(titles []string) []string {
	return slices.DeleteFunc(slices.Clone(titles),
		func(title string) bool { return llb.LayerOf(title) == layers.SmokeLayer })
}

// An image that a registry has under another tag or in another repository is not built again.
func TestBuildFindsTheImageUnderOtherNames(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first, _ := s.build(BuildOptions{})
	s.Builder.Forget()
	for name, c := range map[string]struct {
		o   BuildOptions
		how string
	}{
		"another tag": {BuildOptions{Names: []string{s.Ref("ray:2")}}, retagged},
		"another repository": {BuildOptions{Names: []string{s.Ref("team/ray:1")},
			CacheFrom: []llb.CacheEntry{{Type: "registry", Attrs: map[string]string{"ref": s.Ref("ray:1")}}}}, copied},
	} {
		t.Run(name, func(t *testing.T) {
			res, ran := s.build(c.o)
			if len(ran) > 0 || res.Found == nil || res.Found.How != c.how || res.Digest != first.Digest ||
				res.BytesPushed != 0 {
				t.Errorf("it ran %q: %+v, %+v", ran, res, res.Found)
			}
			if got := s.DigestOf(c.o.Names[0]); got != first.Digest {
				t.Errorf("the registry has %s as %s, want %s", c.o.Names[0], got, first.Digest)
			}
			inspected, err := Inspect(t.Context(), c.o.Names[0], s.options())
			if err != nil || inspected.Lock == "" {
				t.Errorf("the image carries no lock under its new name: %+v, %v", inspected, err)
			}
		})
	}
}

// Plan and Why foresee what a build does, without a builder.
func TestPlanForeseesTheBuild(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.build(BuildOptions{})
	s.Edit("raybuild.yaml", "echo hello", "echo bye")
	s.Builder.Forget()
	p, err := Open(s.t.Context(), s.options())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	plan, err := p.Plan(t.Context(), CompareOptions{Image: s.Ref("ray:1")})
	if err != nil {
		t.Fatal(err)
	}
	why, err := p.Why(t.Context(), CompareOptions{Image: s.Ref("ray:1")})
	if err != nil {
		t.Fatal(err)
	}
	if ran := s.Builder.Ran(); len(ran) > 0 {
		t.Errorf("planning ran %q", ran)
	}
	var built []string
	for _, l := range plan.Layers {
		if l.Status != layers.Reused {
			built = append(built, l.Name)
		}
	}
	res, _ := s.build(BuildOptions{})
	if got := sent(res); !slices.Equal(got, built) {
		t.Errorf("layers %q were sent, the plan says %q", got, built)
	}
	if len(why.Layers) != 1 || why.Layers[0].Name != built[0] {
		t.Errorf("the difference is %+v, want that of %q", why.Layers, built)
	}
}

// A step that fails names itself and its last words, and nothing gets a name. What an image does
// not pass is told apart.
func TestFailedBuildNamesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.Fails["[note] run"] = "no room in /opt"
	res, _, err := s.tryBuild(BuildOptions{})
	var step *llb.StepError
	if !errors.As(err, &step) || step.Layer != "note" || !slices.Contains(step.Log, "no room in /opt") {
		t.Errorf("error %v, step %+v", err, step)
	}
	if !slices.ContainsFunc(res.Ran, func(s llb.Step) bool { return s.Failed }) {
		t.Errorf("the result does not have the failed step: %+v", res.Ran)
	}
	if got := s.DigestOf(s.Ref("ray:1")); got != "" {
		t.Errorf("the registry has %s", got)
	}
}

// An image that does not pass its test gets no name, and the error is the test's.
func TestImageThatFailsItsTestGetsNoName(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.Fails["[smoke] import ray[default], requests"] =
		`raybuild-smoke: {"failures": [{"modules": ["requests"], "packages": ["requests 2.32.0"], "error": "ImportError: no", "alone": true}]}` +
			strings.Repeat("\na late line of standard error", 30)
	res, ran, err := s.tryBuild(BuildOptions{})
	var failed *layers.SmokeError
	if !errors.As(err, &failed) || failed.Failures[0].Modules[0] != "requests" || len(ran) == len(withoutSmoke(ran)) {
		t.Errorf("error %v after %q", err, ran)
	}
	if got := s.DigestOf(s.Ref("ray:1")); got != "" || res.Digest != "" {
		t.Errorf("the registry has %s, the result %s", got, res.Digest)
	}
	delete(s.Fails, "[smoke] import ray[default], requests")
	again, ran := s.build(BuildOptions{})
	if again.Smoke != "passed" || len(withoutSmoke(ran)) > 0 {
		t.Errorf("the second build is %q and ran %q", again.Smoke, ran)
	}
}

// A builder that cannot merge makes an image of its own layout, and says so; none of its layers is taken by an edit.
func TestBuilderThatCannotMerge(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.Builder = fakebuilder.Start(t, fakebuilder.Options{Linear: true})
	s.build(BuildOptions{})
	if !slices.ContainsFunc(s.events, func(e Event) bool {
		return e.Kind == Note && strings.Contains(e.Text, "cannot merge")
	}) {
		t.Errorf("nobody was told: %v", s.events)
	}
	s.Write("app/main.py", "print(2)\n")
	if edited, _ := s.build(BuildOptions{}); edited.LayersFrom != "" {
		t.Errorf("layers were taken from %s", edited.LayersFrom)
	}
}

// A builder whose content nobody can read pushes by itself, the same image, and an edit is built whole.
func TestBuilderThatPushesItself(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	usual, _ := s.build(BuildOptions{Names: []string{s.Ref("usual:1")}, NoGraphTag: true})
	s.Builder = fakebuilder.Start(t, fakebuilder.Options{NoContent: true})
	first, _ := s.build(BuildOptions{})
	if first.Digest != usual.Digest || s.DigestOf(s.Ref("ray:1")) != first.Digest {
		t.Errorf("the registry has %s, the build made %s, raybuild's own push %s", s.DigestOf(s.Ref("ray:1")),
			first.Digest, usual.Digest)
	}
	told := func(text string) bool {
		return slices.ContainsFunc(s.events, func(e Event) bool { return strings.Contains(e.Text, text) })
	}
	if !told("the builder pushed") {
		t.Errorf("nobody was told: %v", s.events)
	}
	s.Write("app/main.py", "print(2)\n")
	edited, _ := s.build(BuildOptions{})
	if edited.LayersFrom != "" || !told("building the whole image") || s.DigestOf(s.Ref("ray:1")) != edited.Digest {
		t.Errorf("the edit takes layers from %q, the registry has %s, the build made %s: %v", edited.LayersFrom,
			s.DigestOf(s.Ref("ray:1")), edited.Digest, s.events)
	}
}

// A build that is stopped says how far it came.
func TestStoppedBuildSaysHowFarItCame(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ctx, stop := context.WithCancel(t.Context())
	s.Stops["[env] create ray with python 3.11.9"] = stop
	p, err := Open(s.t.Context(), s.options())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	_, err = p.Build(ctx, BuildOptions{Names: []string{s.Ref("ray:1")}, Push: true, Frozen: true})
	var interrupted *InterruptedError
	if !errors.As(err, &interrupted) || !strings.Contains(interrupted.State, "finished steps are kept") ||
		!errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	for name, call := range map[string]func() error{
		"build": func() error { _, err := p.Build(ctx, BuildOptions{}); return err },
		"lock":  func() error { _, err := p.Lock(ctx, LockOptions{Update: []string{"base"}}); return err },
		"plan":  func() error { _, err := p.Plan(ctx, CompareOptions{Image: s.Ref("ray:1")}); return err },
	} {
		if err := call(); !errors.As(err, &interrupted) || !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a context that has ended: %v", name, err)
		}
	}
	if _, ran := s.build(BuildOptions{}); slices.Contains(ran, "[miniconda] install miniconda py311_25.7.0-2") {
		t.Errorf("what had run ran again: %q", ran)
	}
}
