package llb_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/engine/enginetest"
	"github.com/raybuild/raybuild/llb"
)

// smokeOf is a check of the world's base by a script.
func smokeOf(w *world, script string) llb.Check {
	return llb.Check{Platform: amd64, Stage: llb.From(w.base).Run(sh("smoke", "try it", script))}
}

// A check that passes is a step of the result; the builder knows it the second time, unless it is
// to run in every build.
func TestCheckPasses(t *testing.T) {
	w, b := newWorld(t), connect(t)
	one := smokeOf(w, `test -e /etc/motd; echo seen > /written`)
	fresh := sh("smoke", "try it", "true")
	fresh.Fresh = true
	anew := llb.Check{Platform: amd64, Stage: llb.From(w.base).Run(fresh)}
	for _, tt := range []struct {
		name   string
		check  llb.Check
		cached bool
	}{{"the first time", one, false}, {"the second time", one, true}, {"one that always runs", anew, false},
		{"and runs again", anew, false}} {
		steps, err := b.Check(t.Context(), llb.Session{}, llb.SolveOptions{}, tt.check)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if len(steps) != 1 || steps[0].Layer != "smoke" || steps[0].Name != "try it" || steps[0].Cached != tt.cached {
			t.Errorf("%s: the steps are %+v, want the check's, cached: %v", tt.name, steps, tt.cached)
		}
	}
	// What a check writes is in no image.
	files, err := b.ReadFiles(t.Context(), llb.From(w.base), amd64, []string{"/written"}, llb.Session{})
	if err != nil || len(files) > 0 {
		t.Errorf("the base has %d files that the check wrote (%v)", len(files), err)
	}
}

// A check that fails is an error that names the step, its exit code and its last words; those after it do not run.
func TestCheckFails(t *testing.T) {
	w, b := newWorld(t), connect(t)
	later := smokeOf(w, "echo later")
	for range 2 { // a failure is not kept
		steps, err := b.Check(t.Context(), llb.Session{}, llb.SolveOptions{}, smokeOf(w, "true"),
			smokeOf(w, "echo its last words; exit 7"), later)
		var failed *llb.CheckError
		if !errors.As(err, &failed) {
			t.Fatalf("error %v, want a CheckError", err)
		}
		if s := failed.Step; llb.FormatPlatform(failed.Platform) != "linux/amd64" || s.Layer != "smoke" ||
			s.Step != "try it" || s.ExitCode != 7 || strings.Join(s.Log, "|") != "its last words" {
			t.Errorf("the error is of %+v: %+v", failed.Platform, s)
		}
		var step *llb.StepError
		if !errors.As(err, &step) || err.Error() != `layer smoke: step "try it": exit code 7` {
			t.Errorf("error %q (a StepError: %v)", err, step != nil)
		}
		if len(steps) != 2 {
			t.Errorf("the steps are %+v, want those of the two that ran", steps)
		}
	}
	if steps, err := b.Check(t.Context(), llb.Session{}, llb.SolveOptions{}, later); err != nil || steps[0].Cached {
		t.Errorf("what comes after a failure has run: %+v, %v", steps, err)
	}
}

// A check of what is here fetches nothing: a builder that lacks an artifact says so, or takes the
// stage that has it otherwise.
func TestCheckOfWhatIsHere(t *testing.T) {
	w, b := newWorld(t), connect(t)
	made := llb.Merge("image", llb.From(w.base), llb.Artifact(w.add("tool.whl", "wheel")))
	here := made.Run(sh("smoke", "try it", "test -e /tool.whl"))
	session := llb.Session{Artifacts: w}
	opened := func() int { return w.opened(w.add("tool.whl", "wheel").Digest) }

	steps, err := b.Check(t.Context(), session, llb.SolveOptions{}, llb.Check{Platform: amd64, Here: here})
	if !errors.Is(err, llb.ErrNotHere) || len(steps) > 0 || opened() > 0 {
		t.Errorf("without the artifact: %v, %+v, fetched %d times", err, steps, opened())
	}
	if _, err = b.Check(t.Context(), session, llb.SolveOptions{},
		llb.Check{Platform: amd64, Here: here, Stage: here}); err != nil || opened() != 1 {
		t.Errorf("with a stage to fall back on: %v, fetched %d times", err, opened())
	}
	if steps, err = b.Check(t.Context(), session, llb.SolveOptions{},
		llb.Check{Platform: amd64, Here: here}); err != nil || len(steps) != 1 || opened() != 1 {
		t.Errorf("with the artifact: %v, %+v, fetched %d times", err, steps, opened())
	}
	bad := made.Run(sh("smoke", "try it", "exit 3"))
	var failed *llb.CheckError
	if _, err = b.Check(t.Context(), session, llb.SolveOptions{},
		llb.Check{Platform: amd64, Here: bad, Stage: here}); !errors.As(err, &failed) {
		t.Errorf("an image that is here and fails is not tried in another way: %v", err)
	}
}

func TestCheckEndsWithItsContext(t *testing.T) {
	w, b := newWorld(t), connect(t)
	ctx, cancel := context.WithCancel(t.Context())
	progress := writer(func(p []byte) (int, error) {
		if strings.Contains(string(p), "started") && ctx.Err() == nil {
			cancel()
		}
		return len(p), nil
	})
	err := ended(t, func() error {
		_, err := b.Check(ctx, llb.Session{}, llb.SolveOptions{Progress: llb.ProgressPlain, ProgressTo: progress},
			smokeOf(w, "echo started; sleep 3600"))
		return err
	})
	var failed *llb.CheckError
	if !errors.Is(err, context.Canceled) || errors.As(err, &failed) {
		t.Errorf("ended with %v", err)
	}
}

func TestCheckThatIsNone(t *testing.T) {
	b := connect(t)
	for name, tt := range map[string]struct {
		check llb.Check
		says  string
	}{
		"no stage":        {llb.Check{Platform: amd64}, "no step"},
		"an empty stage":  {llb.Check{Platform: amd64, Stage: llb.Scratch()}, "no step"},
		"a stage's error": {llb.Check{Platform: amd64, Stage: llb.From("not a reference")}, "not a reference"},
	} {
		if _, err := b.Check(t.Context(), llb.Session{}, llb.SolveOptions{}, tt.check); err == nil ||
			!strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: error %v, want one that says %q", name, err, tt.says)
		}
	}
}

// A check sees stages that lie over its root as if they were merged, the last one on top, also where the builder has to
// merge them.
func TestCheckOverItsRoot(t *testing.T) {
	w, b := newWorld(t), connect(t)
	g := newGivenLayers()
	files := func(name, data string) llb.Stage {
		return llb.Scratch().Files("["+name+"] file", llb.File{Path: "/opt/" + name, Data: []byte(data)})
	}
	below := llb.From(w.base).Run(sh("below", "write",
		"mkdir -p /opt/deep; echo old > /opt/one\necho kept > /opt/deep/kept"))
	root := llb.Merge("[smoke] root", below, files("below", "below"))
	one := llb.GivenLayer("[one] take", g.add(t, "one", map[string]string{"opt/": "", "opt/one": "1\n", "opt/deep/": "",
		"opt/deep/one": "1\n"}))
	two := llb.GivenLayer("[two] take", g.add(t, "two", map[string]string{"opt/": "", "opt/one": "2\n"}))
	taken := llb.From(w.base).Run(sh("taken", "take away", "rm -rf /etc/motd; echo 3 > /etc/three"))
	step := llb.Diff("[step] layer", llb.From(w.base), taken)
	const script = `set -e; cat /opt/one /opt/deep/one /opt/deep/kept /opt/three /opt/below; echo
		test ! -e /.raybuild; echo written > /opt/one; `
	if info, err := b.Info(t.Context()); err != nil || info.Labels["raybuild.engine.over-root"] == "" &&
		info.Labels["org.mobyproject.buildkit.worker.snapshotter"] == "overlayfs" {
		t.Errorf("the engine does not lay layers over roots: %v, %v", info.Labels, err)
	}
	for name, c := range map[string]struct {
		over []llb.Stage
		says string
	}{
		"files and layers": {[]llb.Stage{one, two, files("three", "three")}, `test "$(cat /opt/deep/one)" = 1`},
		"the other order":  {[]llb.Stage{two, one, files("three", "three")}, `test "$(cat /opt/deep/one)" = 1`},
		"a step that takes away": {[]llb.Stage{one, two, files("three", "three"), step},
			`test ! -e /etc/motd -a -e /etc/three`},
	} {
		e := sh("smoke", "look", script+c.says)
		e.Fresh, e.Over = true, c.over
		stage := root.Run(e)
		steps, err := b.Check(t.Context(), llb.Session{Artifacts: w, Layers: g}, llb.SolveOptions{},
			llb.Check{Platform: amd64, Stage: stage})
		if err != nil || len(steps) != 1 {
			t.Errorf("%s: %d steps, %v", name, len(steps), err)
		}
		want := map[string]string{"the other order": "1"}[name]
		if want == "" {
			want = "2"
		}
		e = sh("smoke", "compare", `test "$(cat /opt/one)" = `+want)
		e.Over = c.over
		if _, err := b.Check(t.Context(), llb.Session{Artifacts: w, Layers: g}, llb.SolveOptions{},
			llb.Check{Platform: amd64, Stage: root.Run(e)}); err != nil {
			t.Errorf("%s: /opt/one is not %s: %v", name, want, err)
		}
	}
}

// A check sees the files that this machine has of a layer, at the layer's place, and the builder takes nothing of it.
// Files elsewhere are not believed: the builder takes the layer.
func TestCheckOverTrees(t *testing.T) {
	w, g := newWorld(t), newGivenLayers()
	o := enginetest.Options(enginetest.Home(t))
	o.Trees = filepath.Join(o.Home, "trees")
	b := connectTo(t, enginetest.StartWith(t, o))
	tree := func(dir, text string) string {
		err := errors.Join(os.MkdirAll(filepath.Join(dir, "opt"), 0o755),
			os.WriteFile(filepath.Join(dir, "opt/file"), []byte(text), 0o644), //nolint:gosec // a step reads it
			os.WriteFile(filepath.Join(dir, "opt", text), nil, 0o644))         //nolint:gosec // a step reads it
		if err != nil {
			t.Fatal(err)
		}
		return dir
	}
	var over []llb.Stage
	for _, name := range []string{"one", "two", "three", "four"} {
		key := g.add(t, name, map[string]string{"opt/": "", "opt/file": "layer " + name, "opt/layer-" + name: ""})
		over = append(over, llb.GivenLayer("["+name+"] take", key))
		switch name {
		case "two", "four":
			g.trees[key] = tree(filepath.Join(o.Trees, name), name)
		case "three":
			g.trees[key] = tree(filepath.Join(o.Home, "elsewhere", name), name)
		}
	}
	check := func(over []llb.Stage, script string) error {
		e := sh("smoke", "look", script)
		e.Over = over
		_, err := b.Check(t.Context(), llb.Session{Artifacts: w, Layers: g}, llb.SolveOptions{},
			llb.Check{Platform: amd64, Stage: llb.From(w.base).Run(e)})
		return err
	}
	if err := check(over, `set -e; cd /opt; test "$(cat file)" = four -a -z "${RAYBUILD_OVER_ROOT:-}"
		test -e layer-one -a -e two -a -e layer-three -a -e four; ! test -e layer-two; ! test -e three`); err != nil {
		t.Error(err)
	}
	if err := check([]llb.Stage{over[3], over[0]}, `test "$(cat /opt/file)" = "layer one"`); err != nil {
		t.Errorf("in another order: %v", err)
	}
	if err := check(over[1:2], `echo changed > /opt/file; rm /opt/two`); err != nil {
		t.Error(err)
	}
	if data, err := os.ReadFile(filepath.Join(o.Trees, "two/opt/file")); string(data) != "two" {
		t.Errorf("a step wrote %q into a tree (%v)", data, err)
	}
	if err := os.RemoveAll(filepath.Join(o.Trees, "two")); err != nil {
		t.Fatal(err)
	}
	var failed *llb.CheckError
	if err := check(over[1:2], "true"); err == nil || errors.As(err, &failed) ||
		!strings.Contains(err.Error(), "lay a layer's files over the root") {
		t.Errorf("without its tree the check ends with %v", err)
	}
}

// Only a command of Run takes stages over its filesystem: one of Make would not see them.
func TestOverIsForRun(t *testing.T) {
	t.Parallel()
	e := sh("made", "make", "true")
	e.Over = []llb.Stage{llb.Scratch().Files("[a] file", llb.File{Path: "/a"})}
	base := llb.From("docker.io/library/debian@sha256:" + strings.Repeat("0", 64))
	if err := base.Make(e, llb.Output{Path: "/out", On: llb.Scratch()}).Err(); err == nil {
		t.Error("Make takes stages that lie over the filesystem")
	}
	if err := base.Run(e).Err(); err != nil {
		t.Errorf("Run: %v", err)
	}
}
