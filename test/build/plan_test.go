package build

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/world"
	"github.com/raybuild/raybuild/layers"
)

// planned is the part of plan --json that the tests look at.
type planned struct {
	UpToDate bool `json:"up_to_date"`
	Stale    []struct{ Layer string }
	Layers   []struct {
		Name          string
		Status        layers.LayerStatus `json:"fate"`
		Count, Pushed int
		Size          int64
	}
	Push     int64 `json:"push_bytes"`
	PushMost int64 `json:"push_bytes_most"`
}

// plan asks for a plan, which must end with the code.
func (h *home) plan(ref string, code int) planned {
	h.t.Helper()
	out := h.run("plan", "--json", ref)
	if out.code != code {
		h.t.Fatalf("raybuild plan: exit %d, want %d\n%s%s", out.code, code, out.stdout, out.stderr)
	}
	var p planned
	if err := json.Unmarshal([]byte(out.stdout), &p); err != nil {
		h.t.Fatal(err)
	}
	return p
}

// held compares what plan said of each layer with what the push did. Layers that follow may come out either way.
func (p planned) held(t *testing.T, m metadata) {
	t.Helper()
	i := 0
	for _, l := range p.Layers {
		if l.Status == layers.Removed {
			continue
		}
		pushed := 0
		for range l.Count {
			if i >= len(m.Raybuild.Layers) {
				t.Fatalf("the plan has more layers than the image's %d", len(m.Raybuild.Layers))
			}
			if !m.Raybuild.Layers[i].Reused {
				pushed++
			}
			i++
		}
		// The world's bases are in the registry that is pushed to, so a new base is mounted from there.
		if l.Name == "base" && pushed == 0 {
			continue
		}
		if l.Status == layers.MayRebuild && pushed <= l.Pushed {
			t.Logf("layer %s follows, and was pushed: %v", l.Name, pushed > 0)
		} else if pushed != l.Pushed {
			t.Errorf("layer %s: plan said %s and %d to push, the push had %d", l.Name, l.Status, l.Pushed, pushed)
		}
	}
	if i != len(m.Raybuild.Layers) {
		t.Errorf("the plan has %d layers, the image %d", i, len(m.Raybuild.Layers))
	}
}

// why asks for the inputs that changed, as "layer: input"; layers that only follow are left out.
func (h *home) why(ref string) []string {
	h.t.Helper()
	out := h.run("why", "--json", ref)
	if out.code != 0 {
		h.t.Fatalf("raybuild why: exit %d\n%s", out.code, out.stderr)
	}
	type change struct{ Input string }
	var r struct {
		Layers []struct {
			Name    string
			Changes []change
		}
		Config []struct{ Changes []change }
	}
	if err := json.Unmarshal([]byte(out.stdout), &r); err != nil {
		h.t.Fatal(err)
	}
	var all []string
	for _, l := range r.Layers {
		for _, c := range l.Changes {
			all = append(all, l.Name+": "+c.Input)
		}
	}
	for _, p := range r.Config {
		for _, c := range p.Changes {
			all = append(all, "config: "+c.Input)
		}
	}
	return all
}

// Each edit in turn, on one tag: plan says beforehand which layers the push will send, and why names the input.
func TestPlanAndWhyForeseeThePush(t *testing.T) {
	h := warmHome(t)
	dst := ref(t, "1")
	if p := h.plan(dst, 2); len(p.Layers) == 0 || p.UpToDate {
		t.Errorf("without an image the plan is %+v", p)
	}
	h.push(dst)
	if p := h.plan(dst, 0); !p.UpToDate {
		t.Errorf("after the push the plan is %+v", p)
	}
	first := h.push(dst).meta.Digest
	h.write("app/main.py", "print(1)\n")
	edits := []struct {
		name      string
		old, text string // of the recipe
		before    func()
		why       string
	}{
		{name: "label", text: "image: {labels: {team: a}}\n", why: "config: label team"},
		{name: "own files", text: "files: [{from: app, to: /home/ray/app}]\n", why: "files: file app/main.py"},
		{name: "own file", before: func() { h.write("app/main.py", "print(2)\n") }, why: "files: file app/main.py"},
		{name: "apt list", old: "apt: [less]", text: "apt: [less, bc]", why: "apt: deb bc"},
		{name: "ray", old: "ray: {version: " + world.RayOld, text: "ray: {version: " + world.RayNew,
			why: "ray: wheel ray"},
		{name: "image mirrors", old: "mirrors: {", text: "mirrors: {image: tuna, ", why: "mirrors: mirrors.image"},
		{name: "base patched", old: "base: " + testEnv.Base, text: "base: " + testEnv.BasePatched, why: "base: base"},
	}
	for _, e := range edits {
		if !t.Run(e.name, func(t *testing.T) { h.edited(t, dst, e.old, e.text, e.before, e.why) }) {
			t.FailNow()
		}
	}
	h.compared(repository(dst)+"@"+first, dst)
}

// edited makes one edit and pushes it, with a plan before.
func (h *home) edited(t *testing.T, dst, old, text string, before func(), why string) {
	h.t = t
	recipe := h.read("raybuild.yaml")
	if old != "" && !strings.Contains(recipe, old) {
		t.Fatalf("the recipe has no %q:\n%s", old, recipe)
	}
	if old == "" {
		recipe += text
	} else {
		recipe = strings.Replace(recipe, old, text, 1)
	}
	h.write("raybuild.yaml", recipe)
	if before != nil {
		before()
	}
	lock := h.read("raybuild.lock")
	stale := h.plan(dst, 2)
	if h.read("raybuild.lock") != lock {
		t.Error("plan wrote the lock")
	}
	if out := h.run("lock"); out.code != 0 {
		t.Fatalf("raybuild lock: exit %d\n%s", out.code, tail(out.stderr, 40))
	}
	if changed := h.read("raybuild.lock") != lock; changed != (len(stale.Stale) > 0) {
		t.Errorf("the lock changed: %v; plan called stale %v", changed, stale.Stale)
	}
	p := h.plan(dst, 2)
	if got := h.why(dst); !slices.Contains(got, why) {
		t.Errorf("why names %q, want %q", got, why)
	}
	m := h.push(dst).meta
	p.held(t, m)
	t.Logf("plan: %d to %d bytes; pushed %d", p.Push, p.PushMost, m.Raybuild.BytesPushed)
	if p = h.plan(dst, 0); !p.UpToDate {
		t.Error("after the push plan sees something to do")
	}
}

// compared checks what diff says of the first and the last of the edits' images.
func (h *home) compared(first, last string) {
	h.t.Helper()
	out := h.run("diff", "--json", first, last)
	if out.code != 0 {
		h.t.Fatalf("raybuild diff: exit %d\n%s", out.code, out.stderr)
	}
	var d struct {
		Locks    bool
		Packages []struct{ Kind, Change, Name, From, To string }
		Config   []struct{ Key, To string }
		Layers   []struct {
			State string
			Size  int64
		}
		Pull int64 `json:"pull_bytes"`
	}
	if err := json.Unmarshal([]byte(out.stdout), &d); err != nil {
		h.t.Fatal(err)
	}
	var said []string
	for _, p := range d.Packages {
		said = append(said, fmt.Sprintf("%s %s %s", p.Kind, p.Change, p.Name))
		if p.Name == "ray" && (p.From != world.RayOld || p.To != world.RayNew) {
			h.t.Errorf("ray went from %s to %s", p.From, p.To)
		}
	}
	for _, c := range d.Config {
		said = append(said, "config "+c.Key)
	}
	for _, want := range []string{"apt added bc", "pip changed ray", "base changed " + testEnv.BasePatched,
		"config label team"} {
		if !slices.Contains(said, want) {
			h.t.Errorf("diff does not say %q: %q", want, said)
		}
	}
	var fresh int64
	shared := 0
	for _, l := range d.Layers {
		switch l.State {
		case "new":
			fresh += l.Size
		case "shared":
			shared++
		}
	}
	if !d.Locks || shared < 3 || d.Pull < fresh || d.Pull > fresh+100_000 {
		h.t.Errorf("locks %v, %d layers shared, %d bytes to pull, %d of new layers", d.Locks, shared, d.Pull, fresh)
	}
	// An image that raybuild did not make has no lock: what can be compared is.
	if out := h.run("diff", testEnv.Base, testEnv.BasePatched); out.code != 0 ||
		!strings.Contains(out.stdout, "no lock") {
		h.t.Errorf("diff of images without locks: exit %d\n%s%s", out.code, out.stdout, out.stderr)
	}
	h.refused(1, []string{"carries no record"}, "why", testEnv.Base)
}
