package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/testneeds"
	"github.com/raybuild/raybuild/layers"
)

// want is what raybuild does in a row: the layers whose steps run, and those that are pushed. All
// others are reused. smoke is the test of the image, which runs where modules may come from another
// layer.
type want struct{ ran, pushed string }

// wheels are the layers of Python packages of the matrix's image.
const wheels = "pip-1 pip-2 pip-3 ray tensorflow torch"

var wants = map[string]want{
	"cold": {"apt env files pip-1 pip-2 pip-3 ray smoke tensorflow torch user",
		"activate apt env files miniconda " + wheels + " user"},
	"same-warm":         {},
	"same-empty-runner": {},
	"apt-list":          {"apt", "apt"},
	"base-patched":      {"apt user", "apt"}, // the base is mounted
	"fetch-mirror":      {},
	"image-mirrors":     {"mirrors", "mirrors"}, // two layers: its files, and copies of those that they cover
	"miniconda":         {"env miniconda smoke", "miniconda"},
	"python-patch":      {"env smoke", "env"},
	"ray-bumped":        {"ray smoke", "ray"},
	"small-added":       {"pip-4", "pip-4"},
	"big-bumped":        {"smoke torch", "torch"},
	"own-file":          {"files", "files"},
	"label":             {},
}

// Each row of the matrix at the small scale, once: what raybuild runs and pushes is what the edit
// needs, and plan says it before. Stand-ins: Miniconda, conda, ray and the other Python packages.
func TestMatrixDoesWhatEachEditNeeds(t *testing.T) {
	b := testBench(t)
	s := b.states[0]
	for _, r := range rows() {
		if r.kind == kindLock {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			v, old, ref := b.first, s.old, s.repo+":"+r.name
			var err error
			switch {
			case r.name == "cold":
				old, ref = "", s.old
			case r.name == "same-empty-runner":
				if err := s.fresh(t.Context(), true); err != nil {
					t.Fatal(err)
				}
				defer func() {
					if err := s.restore(t.Context()); err != nil {
						t.Fatal(err)
					}
				}()
				fallthrough
			case r.kind == kindSame:
				ref = s.old
			default:
				var w wanted
				if w, err = r.edit(t.Context(), b, b.start, 1); err == nil {
					v, err = b.vary(t.Context(), r.name, w, b.first)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			b.held(t, s, v, old, ref, wants[r.name])
		})
	}
}

// testBench is a bench with raybuild alone, which resolves on the builder that it is measured on: that is less work.
func testBench(t *testing.T) *bench {
	t.Helper()
	testneeds.Root(t, "runc", "mmdebstrap")
	//nolint:usetesting // a socket's path has to be short; t.TempDir has the test's name in it
	dir, err := os.MkdirTemp("", "rbm")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "raybuild")
	build := exec.Command("go", "build", "-o", program, "github.com/raybuild/raybuild/cmd/raybuild")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build raybuild: %v\n%s", err, out)
	}
	// The world serves until it is closed, which is after the test's own context.
	ctx := context.WithoutCancel(t.Context())
	b, err := newBench(ctx, options{raybuild: program, buildctl: program, dir: filepath.Join(dir, "b"), scale: "small",
		runs: 1}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(b.close(ctx), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	ours := &ourselves{b: b}
	if err := ours.fresh(ctx, false); err != nil {
		t.Fatal(err)
	}
	b.lockHome = ours.home
	b.states = []*state{{name: "raybuild", peer: ours, repo: b.registry.host + "/bench/raybuild",
		old: b.registry.host + "/bench/raybuild:base"}}
	if b.first, err = b.vary(ctx, "base", b.start, nil); err != nil {
		t.Fatal(err)
	}
	return b
}

// planned is the part of plan --json that the test looks at.
type planned struct {
	UpToDate bool `json:"up_to_date"`
	Layers   []plannedLayer
	Steps    int
	Push     int64 `json:"push_bytes"`
	Pull     int64 `json:"pull_bytes"`
}

type plannedLayer struct {
	Name          string
	Status        layers.LayerStatus `json:"fate"`
	Expect        string
	Count, Pushed int
}

// did is the part of --metadata-file.
type did struct {
	Raybuild struct {
		UpToDate    bool  `json:"up_to_date"`
		BytesPushed int64 `json:"bytes_pushed"`
		Steps       []struct {
			Layer  string
			Cached bool
		}
		Layers []struct {
			Name   string
			Reused bool
		}
	}
}

// held plans, builds and compares.
func (b *bench) held(t *testing.T, s *state, v *variation, old, ref string, want want) {
	t.Helper()
	var plan planned
	if old != "" {
		out, err := b.Command(t.Context(), b.lockHome, b.Raybuild, "plan", "--json", "-f", v.recipeFile(), old)
		var exit *exec.ExitError
		if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 2) {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(out), &plan); err != nil {
			t.Fatal(err)
		}
	}
	got, err := b.measure(t.Context(), s, v, ref, old, "")
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(v.dir, "meta.json"))
	if err != nil {
		t.Fatal(err)
	}
	var m did
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	var ran, pushed []string
	for _, l := range m.Raybuild.Steps {
		if !l.Cached {
			ran = append(ran, l.Layer)
		}
	}
	for _, l := range m.Raybuild.Layers {
		if !l.Reused {
			pushed = append(pushed, l.Name)
		}
	}
	if text := sortedWords(ran); text != want.ran {
		t.Errorf("steps of %q ran, want %q", text, want.ran)
	}
	if text := sortedWords(pushed); text != want.pushed {
		t.Errorf("layers %q were pushed, want %q", text, want.pushed)
	}
	if old == "" {
		return
	}
	plan.foresaw(t, m, got)
}

func sortedWords(words []string) string {
	slices.Sort(words)
	return strings.Join(slices.Compact(words), " ")
}

// foresaw compares what plan said with what came: every layer that it called reused is, and every
// other one is not; steps are equal; and bytes differ by 2 % at most, or by what is too little to
// matter.
func (p planned) foresaw(t *testing.T, m did, got sample) {
	t.Helper()
	if p.UpToDate {
		if len(m.Raybuild.Steps) > 0 && got.steps > 0 || m.Raybuild.BytesPushed > 0 || got.pulled > 0 {
			t.Errorf("plan saw nothing to do: %d steps ran, %d bytes were pushed, %d are pulled", got.steps,
				m.Raybuild.BytesPushed, got.pulled)
		}
		return
	}
	i := 0
	for _, l := range p.Layers {
		if l.Status == layers.Removed {
			continue
		}
		for range l.Count {
			if i >= len(m.Raybuild.Layers) {
				t.Fatalf("the plan has more layers than the image's %d", len(m.Raybuild.Layers))
			}
			expect := l.Expect == "new" && l.Pushed > 0
			if sent := !m.Raybuild.Layers[i].Reused; sent != expect {
				t.Errorf("layer %s: plan said %s, %s, %d to push; it was pushed: %v", l.Name, l.Status, l.Expect,
					l.Pushed, sent)
			}
			i++
		}
	}
	if i != len(m.Raybuild.Layers) {
		t.Errorf("the plan has %d layers, the image %d", i, len(m.Raybuild.Layers))
	}
	if p.Steps != got.steps {
		t.Errorf("plan said that %d steps run; %d did", p.Steps, got.steps)
	}
	near := func(what string, said, was int64) {
		t.Logf("%s: plan said %d, it was %d", what, said, was)
		if off := max(said-was, was-said); float64(off) > 0.02*float64(was)+bytesFloor {
			t.Errorf("%s: plan said %d, it was %d: %d off", what, said, was, off)
		}
	}
	near("bytes pushed", p.Push, m.Raybuild.BytesPushed)
	near("bytes that a node with the old image pulls", p.Pull, got.pulled)
}
