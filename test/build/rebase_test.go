package build

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// An image is put on a patched base with nothing but what travels with it, and the mirrors to fetch from.
func TestRebaseKeepsAllButTheBase(t *testing.T) {
	h := warmHome(t)
	dst, patched := ref(t, "1"), ref(t, "patched")
	h.write("app/main.py", "print(1)\n")
	h.write("raybuild.yaml", shortRecipe("files: [{from: app, to: /home/ray/app}]", "image: {labels: {team: a}}"))
	before := h.push(dst, "--label", "build=7").meta
	h.write("raybuild.yaml", "mirrors: {fetch: ["+testEnv.A.Fetch()+"]}\n")
	if err := os.Remove(filepath.Join(h.cwd, "raybuild.lock")); err != nil {
		t.Fatal(err)
	}
	out := h.run("rebase", "--push", "--json", "--metadata-file", "meta.json", "--base", testEnv.BasePatched,
		"-t", patched, dst)
	if out.code != 0 {
		t.Fatalf("raybuild rebase: exit %d\n%s", out.code, tail(out.stderr, 40))
	}
	var r struct {
		Image, From string
		Rebased     bool
		Changes     []struct{ Layer string }
	}
	if err := json.Unmarshal([]byte(out.stdout), &r); err != nil {
		t.Fatal(err)
	}
	if !r.Rebased || !strings.HasPrefix(r.Image, repository(patched)+"@sha256:") ||
		r.From != repository(dst)+"@"+before.Digest {
		t.Errorf("the report is %+v", r)
	}
	for _, c := range r.Changes {
		if c.Layer != "base" && c.Layer != "apt" {
			t.Errorf("the lock changed in %s: a rebase moves base and apt alone", c.Layer)
		}
	}
	var after metadata
	if err := json.Unmarshal([]byte(h.read("meta.json")), &after); err != nil {
		t.Fatal(err)
	}
	for _, l := range []string{"miniconda", "env", "ray", "files"} {
		if before.layer(l) == "" || before.layer(l) != after.layer(l) {
			t.Errorf("layer %s went from %q to %q, want it kept", l, before.layer(l), after.layer(l))
		}
	}
	// The builder is shared: another test may have made the user on this base already.
	if ran := after.ran(); !slices.Equal(ran, []string{"apt"}) && !slices.Equal(ran, []string{"apt", "user"}) {
		t.Errorf("steps ran in %v, want those on the base alone: apt and user", ran)
	}
	diff := h.run("diff", dst, patched)
	if !strings.Contains(diff.stdout, testEnv.BasePatched) || strings.Contains(diff.stdout, "label") {
		t.Errorf("the images differ in\n%s\nwant the base, and no label", diff.stdout)
	}
	// What was rebased carries all that the next rebase needs; there is nothing to do.
	again := h.run("rebase", "--push", patched)
	if again.code != 0 || strings.TrimSpace(again.stdout) != r.Image || !strings.Contains(again.stderr, "up to date") {
		t.Errorf("a second rebase: exit %d, %q\n%s", again.code, again.stdout, again.stderr)
	}
	h.refused(1, []string{"carries no recipe", "raybuild lock --update base"}, "rebase", testEnv.Base)
	h.write("app/main.py", "print(2)\n")
	h.refused(1, []string{"made of other files", "file app/main.py", "where its recipe is"}, "rebase", "--push", dst)
}
