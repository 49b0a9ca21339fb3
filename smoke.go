package raybuild

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/wholefile"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// smoke has the tests of the image that is built.
type smoke struct {
	run    []layers.SmokeTest // tests to run
	passed []layers.SmokeTest // tests that an earlier image has passed
	by     string             // the earlier image; "": an image that was built here
	added  bool               // passed is of the earlier image: this one adds packages, and needs no builder
	anew   bool               // the tests run even if the builder has their result in its cache
}

// tests returns how images are tested, and whether they are tested.
func (m SmokeMode) tests(r *layers.Recipe) (layers.Smoke, bool) {
	how := r.Smoke
	if m != SmokeByRecipe {
		how.Off = m == SmokeNever
	}
	return how, !how.Off
}

// planSmoke finds the tests that the graph's images need. k is the image whose layers are
// reused; nil: there is none.
func (p *Project) planSmoke(ctx context.Context, o *BuildOptions, graph *layers.Graph, k *reuse) error {
	p.smoke = &smoke{anew: o.Smoke == SmokeAlways || o.NoCache}
	how, on := o.Smoke.tests(p.recipe)
	if !on {
		return nil
	}
	inputs, err := p.inputs(ctx, graph)
	if err != nil {
		return err
	}
	all, err := graph.SmokeTests(how, inputs)
	if err != nil {
		return err
	}
	before := p.passedBefore(ctx, o, k)
	for _, t := range all {
		if !testedHere(t, len(all)) {
			p.env.note("the image of %s is not tested: of several platforms only this machine's is",
				llb.FormatPlatform(t.Platform))
			continue
		}
		by := ""
		for _, c := range before {
			if !p.smoke.anew && by == "" && t.PassedBy(c.record) {
				by = c.Ref
			}
		}
		if by == "" && !p.smoke.anew && k != nil && k.old != nil && k.rest.Nothing() && o.Smoke == SmokeByRecipe {
			switch {
			case t.OnlyAdds(k.old.record):
				by, p.smoke.added = k.old.Ref, true
			case p.onlyAddsHere(&t):
				by, p.smoke.added = "an image that was built here", true
			}
		}
		if by != "" || !p.smoke.anew && p.passedHere(&t) {
			p.smoke.passed, p.smoke.by = append(p.smoke.passed, t), by
		} else {
			p.smoke.run = append(p.smoke.run, t)
		}
	}
	return ctx.Err()
}

// testedHere tells whether this build tests an image that is one of n. If the build makes only one
// image, the builder runs its programs, so it can test it.
func testedHere(t layers.SmokeTest, n int) bool {
	return n == 1 || t.Platform.Architecture == runtime.GOARCH
}

// passedBefore returns images whose records may say that they passed an equal test.
func (p *Project) passedBefore(ctx context.Context, o *BuildOptions, k *reuse) []*pushedImage {
	switch {
	case k != nil && k.old != nil:
		return []*pushedImage{k.old}
	case p.tried != nil || o.NoReuse || o.NoCache || o.Smoke == SmokeAlways || p.onto != nil:
		return p.tried
	case len(o.Names) == 0 || !o.Push && len(cacheRefs(o)) == 0 || !p.sameRegistry(o.Names):
		return nil // this build uses no registry
	}
	var all []*pushedImage
	for c := range p.before(ctx, o) { // layers cannot be reused, because a cache is exported or nothing is pushed
		if c.doubt == nil {
			all = append(all, c)
		}
	}
	return all
}

// passedFile returns the file that says that an image built here has passed a test. The
// image's name does not matter.
func (p *Project) passedFile(t *layers.SmokeTest) (string, error) {
	home, err := p.env.homeDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(home, testedDir, t.Digest.Encoded()+".json"), nil
}

// passedHere tells whether an image that was built here has passed an equal test.
func (p *Project) passedHere(t *layers.SmokeTest) bool {
	file, err := p.passedFile(t)
	if err != nil {
		return false
	}
	passed, ok := readPassed(file)
	return ok && t.PassedWith(passed.Debs)
}

// passedTest is what is kept of a test that an image has passed here.
type passedTest struct {
	Debs    []string        `json:"debs"`              // names of its Debian packages
	Modules []digest.Digest `json:"modules,omitempty"` // its layers with modules, as layers.SmokeTest.Modules has them
}

func readPassed(file string) (passedTest, bool) {
	var passed passedTest
	data, err := os.ReadFile(file)
	if err == nil && json.Unmarshal(data, &passed) != nil {
		err = json.Unmarshal(data, &passed.Debs) // of an earlier version
	}
	return passed, err == nil
}

// onlyAddsHere tells whether the image only adds packages to one that was built here and has passed.
func (p *Project) onlyAddsHere(t *layers.SmokeTest) bool {
	file, err := p.passedFile(t)
	if err != nil {
		return false
	}
	all, _ := filepath.Glob(filepath.Join(filepath.Dir(file), "*.json")) // the pattern is well formed
	for _, file := range all {
		test := digest.NewDigestFromEncoded(digest.SHA256, strings.TrimSuffix(filepath.Base(file), ".json"))
		if passed, ok := readPassed(file); ok && t.OnlyAddsTo(test, passed.Modules, passed.Debs) {
			return true
		}
	}
	return false
}

// keepPassed keeps which tests the built image has passed. An error does not fail a finished build.
func (p *Project) keepPassed() {
	for _, t := range p.smoke.run {
		file, err := p.passedFile(&t)
		if err != nil {
			continue
		}
		data, err := json.Marshal(passedTest{t.With(), t.Modules()})
		if err = errors.Join(err, os.MkdirAll(filepath.Dir(file), 0o700)); err == nil {
			err = wholefile.Write(file, data, 0o600)
		}
		if err != nil {
			p.env.warn("the next image will be tested again: %v", err)
		}
	}
}

// checks returns the tests for the builder. here says that the builder makes only a part of the image.
func (s *smoke) checks(here bool) []llb.Check {
	var all []llb.Check
	for _, t := range s.run {
		if here {
			all = append(all, t.CheckHere(s.anew))
		} else {
			all = append(all, t.Check(s.anew))
		}
	}
	return all
}

// ofImage returns the tests of the image that the registry has.
func (s *smoke) ofImage(name string, root digest.Digest) ([]llb.Check, error) {
	ref, err := registry.Pin(name, root.String())
	if err != nil {
		return nil, err
	}
	var all []llb.Check
	for _, t := range s.run {
		all = append(all, t.CheckImage(ref, s.anew))
	}
	return all, nil
}

// explain adds to the error of a failed test what the test found.
func (s *smoke) explain(err error) error {
	var failed *llb.CheckError
	if s == nil || !errors.As(err, &failed) {
		return err
	}
	for _, t := range s.run {
		if llb.FormatPlatform(t.Platform) == llb.FormatPlatform(failed.Platform) {
			return t.Explain(failed)
		}
	}
	return err
}

// passes waits until the pushed image has passed its tests. If layers were reused from a registry, the builder
// may not have them. Then the push stores the image without a name, and the builder pulls it to test it.
func (k *reuse) passes(ctx context.Context, p *Project, name string, image *llb.Build,
	store func(context.Context) error) error {
	checks := p.smoke.checks(true)
	if len(checks) == 0 {
		return nil
	}
	var err error
	run := func(checks ...llb.Check) error { return p.checkAlone(ctx, k, checks) }
	if image != nil {
		run = func(checks ...llb.Check) error {
			for _, one := range checks {
				if err := image.Check(ctx, one); err != nil {
					return err
				}
			}
			return nil
		}
		err = image.Checked(ctx)
	} else {
		err = run(checks...)
	}
	if !errors.Is(err, llb.ErrNotHere) {
		return err
	}
	if err := store(ctx); err != nil {
		return err
	}
	if checks, err = p.smoke.ofImage(name, k.made.Result.Digest); err != nil {
		return err
	}
	err = run(checks...)
	var failed *llb.CheckError
	if err != nil && ctx.Err() == nil && !errors.As(err, &failed) {
		//nolint:errorlint // it has failed for good
		return fmt.Errorf("%w: the builder does not have all layers, and cannot pull the image to test it: %v",
			errCannotReuse, err)
	}
	return err
}

// checkAlone runs tests of an image whose layers are all reused.
func (p *Project) checkAlone(ctx context.Context, k *reuse, checks []llb.Check) error {
	b, err := p.connect(ctx)
	if err != nil {
		return err
	}
	session := p.session(nil)
	session.Artifacts = nil
	o := llb.SolveOptions{HostNetwork: p.recipe.HostNetwork(), Progress: p.env.Progress, ProgressTo: p.env.ProgressTo,
		Title: "Testing", Limits: p.recipe.Limits}
	steps, err := b.Check(ctx, session, o, checks...)
	k.made.Result.Steps = append(k.made.Result.Steps, steps...)
	return err
}

// tested says how the image was tested: word for programs, text for people.
func (t *tally) tested(res *llb.Result) (word, text string) {
	s := t.p.smoke
	switch {
	case s == nil:
		return "", ""
	case len(s.run) > 0:
		for _, step := range res.Steps {
			switch {
			case step.Layer != layers.SmokeLayer:
			case step.Cached:
				return "passed before", "tested: " + step.Name + ": this builder has passed it before"
			default:
				return "passed", fmt.Sprintf("tested: %s: passed in %.1f s", step.Name, step.Seconds)
			}
		}
		return "", ""
	case s.added:
		return "skipped", "not tested: it only adds packages to " + s.by + ", which has passed, and took no builder " +
			"(--smoke tests it)"
	case len(s.passed) > 0 && s.by == "":
		return "passed before", "tested: what it imports has passed here before"
	case len(s.passed) > 0:
		return "passed before", "tested: it imports the same as " + s.by + ", which has passed"
	}
	return "off", ""
}

// passedIn returns the record with the tests that the image will have passed when the record is attached to it.
func (s *smoke) passedIn(record *layers.BuildRecord) *layers.BuildRecord {
	if s == nil {
		return record.Passed()
	}
	return record.Passed(slices.Concat(s.run, s.passed)...)
}

// smokeOf returns the tests that an image of the graph has passed, according to its record.
func (p *Project) smokeOf(ctx context.Context, graph *layers.Graph, how layers.Smoke,
	record *layers.BuildRecord) (*smoke, error) {
	inputs, err := p.inputs(ctx, graph)
	if err != nil {
		return nil, err
	}
	all, err := graph.SmokeTests(how, inputs)
	if err != nil {
		return nil, err
	}
	s := &smoke{}
	for _, t := range all {
		if t.PassedBy(record) {
			s.passed = append(s.passed, t)
		}
	}
	return s, nil
}
