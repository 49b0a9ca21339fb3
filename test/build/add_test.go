package build

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Packages are put on an image with nothing but what travels with it: one layer more, and no other touched.
func TestAddPutsOneLayerOnAnImage(t *testing.T) {
	h := warmHome(t)
	dst, more := ref(t, "1"), ref(t, "more")
	h.write("app/main.py", "print(1)\n")
	h.write("raybuild.yaml", shortRecipe("files: [{from: app, to: /home/ray/app}]"))
	before := h.push(dst).meta
	// What the recipe was made of is not here.
	h.write("raybuild.yaml", "mirrors: {fetch: ["+testEnv.A.Fetch()+"]}\n")
	for _, gone := range []string{"raybuild.lock", "app"} {
		if err := os.RemoveAll(filepath.Join(h.cwd, gone)); err != nil {
			t.Fatal(err)
		}
	}
	out := h.run("add", "--push", "--json", "--metadata-file", "meta.json", "-t", more, "uvicorn[standard]",
		"--onto", dst)
	if out.code != 0 {
		t.Fatalf("raybuild add: exit %d\n%s", out.code, tail(out.stderr, 40))
	}
	var r struct {
		Image, From string
		Added       bool
		Changes     []struct{ Layer, Name, From string }
	}
	var after metadata
	if err := errors.Join(json.Unmarshal([]byte(out.stdout), &r),
		json.Unmarshal([]byte(h.read("meta.json")), &after)); err != nil {
		t.Fatal(err)
	}
	if !r.Added || r.Image != repository(more)+"@"+after.Digest || r.From != repository(dst)+"@"+before.Digest {
		t.Errorf("the report is %+v", r)
	}
	var names []string
	for _, c := range r.Changes {
		if names = append(names, c.Name); c.Layer != "add-1" || c.From != "" {
			t.Errorf("the lock changed in %s by %s %s: what is there stays", c.Layer, c.Name, c.From)
		}
	}
	for _, want := range []string{"uvicorn", "uvloop", "h11"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s was not added, only %v", want, names)
		}
	}
	if ran := after.ran(); !slices.Equal(ran, []string{"add-1"}) || !after.tested() {
		t.Errorf("steps ran in %v, want the added layer's alone; the image was tested: %v", ran, after.tested())
	}
	old, now := before.Raybuild.Layers, after.Raybuild.Layers
	if len(now) != len(old)+1 || now[len(now)-1].Name != "add-1" {
		t.Fatalf("the image went from %d layers to %d, want one more", len(old), len(now))
	}
	for i := range old {
		if old[i].Digest != now[i].Digest || !now[i].Reused {
			t.Errorf("layer %q went from %s to %s (reused: %v), want it kept", old[i].Name, old[i].Digest,
				now[i].Digest, now[i].Reused)
		}
	}
	if after.Raybuild.BytesPushed != now[len(now)-1].Size {
		t.Errorf("%d bytes were pushed, want the new layer's %d", after.Raybuild.BytesPushed, now[len(now)-1].Size)
	}
	for what, said := range inContainer(t, more, map[string]string{
		"python has the packages": "python -c 'import uvicorn, uvloop, ray'",
		"pip finds nothing wrong": "python -m pip check",
		"files are there":         "test -e ~/app/main.py",
	}) {
		t.Errorf("%s: failed:\n%s", what, said)
	}
	addedIsKnown(t, h, dst, more, r.Image)
}

// addedIsKnown checks that what was added travels with the image, and is not added again.
func addedIsKnown(t *testing.T, h *home, dst, more, image string) {
	t.Helper()
	again := h.run("add", "--push", "-t", more, "uvicorn[standard]", "--onto", dst)
	if again.code != 0 || strings.TrimSpace(again.stdout) != image || !strings.Contains(again.stderr, "up to date") ||
		strings.Contains(again.stderr, "resolve") {
		t.Errorf("the same call again: exit %d, %q, want %q without a solve\n%s", again.code, again.stdout,
			image, again.stderr)
	}
	inPlace := h.run("add", "--push", "uvicorn", "--onto", more)
	if inPlace.code != 0 || strings.TrimSpace(inPlace.stdout) != image ||
		!strings.Contains(inPlace.stderr, "already has what you ask for") {
		t.Errorf("adding what is there: exit %d, %q\n%s", inPlace.code, inPlace.stdout, inPlace.stderr)
	}
	if diff := h.run("diff", dst, more); !strings.Contains(diff.stdout, "uvloop") {
		t.Errorf("diff does not name what was added:\n%s", diff.stdout)
	}
	if why := h.run("why", dst, more); !strings.Contains(why.stdout, "add-1: is new") ||
		strings.Contains(why.stdout, "env:") {
		t.Errorf("why does not say that the added layer alone is new:\n%s%s", why.stdout, why.stderr)
	}
	// The recipe with the same list is the same graph.
	h.write("raybuild.lock", h.run("inspect", "--lock", more).stdout)
	h.write("app/main.py", "print(1)\n")
	h.write("raybuild.yaml", shortRecipe("files: [{from: app, to: /home/ray/app}]",
		"pip: {added: [['uvicorn[standard]']]}"))
	if out := h.push(more, "--frozen"); !out.meta.Raybuild.UpToDate || repository(more)+"@"+out.meta.Digest != image {
		t.Errorf("the recipe with what was added is not the image:\n%s", tail(out.stderr, 20))
	}
	h.refused(1, []string{"conflicting-pkg", "requests", "the image has"}, "add", "--push", "conflicting-pkg",
		"--onto", more)
	h.refused(1, []string{"no wheel", "wrong_platform", "linux/amd64", "pip.wheels"}, "add", "--push", "wrong-platform",
		"--onto", more)
	h.refused(1, []string{"carries no recipe", "pip.added"}, "add", "six", "--onto", testEnv.Base)
}
