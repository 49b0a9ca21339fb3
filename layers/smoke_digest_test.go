package layers

import (
	"context"
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
)

// An image is tested again where modules may come from other layers, or the test is another one;
// never for a label, an own file, a Debian package more or a patched base.
func TestSmokeRunsAgainWhereModulesMayBeOthers(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(*subject, *Smoke)
		again  bool
	}{
		"nothing":            {func(*subject, *Smoke) {}, false},
		"a label":            {func(s *subject, _ *Smoke) { s.recipe.Image.Labels["team"] = "b" }, false},
		"an annotation":      {func(s *subject, _ *Smoke) { s.o.Annotations = map[string]string{"a.b": "c"} }, false},
		"the workdir":        {func(s *subject, _ *Smoke) { s.recipe.Image.Workdir = "/work" }, false},
		"own files":          {func(s *subject, _ *Smoke) { s.recipe.Files = nil }, false},
		"the image's mirror": {func(s *subject, _ *Smoke) { s.recipe.Mirrors.Image = nil }, false},
		"the compression":    {func(s *subject, _ *Smoke) { s.o.Compression = "zstd" }, false},
		"a newer Debian package": {func(s *subject, _ *Smoke) {
			artifact(s.lock, "apt", "wget").SHA256 = sum("wget2")
		}, false},
		"a Debian package less": {func(s *subject, _ *Smoke) { artifact(s.lock, "apt", "wget").Name = "curl" }, true},
		"the base patched": {func(s *subject, _ *Smoke) {
			s.lock.Platforms[amd64].Base.Digest = digest.FromString("patched")
		}, false},
		"another base": {func(s *subject, _ *Smoke) {
			s.lock.Platforms[amd64].Base.Reference = "example.com/slim:22.04"
		}, true},
		"the tool stage": {func(s *subject, _ *Smoke) {
			s.lock.Platforms[amd64].Tool.Digest = digest.FromString("tool")
		}, true},
		"ray": {func(s *subject, _ *Smoke) { artifact(s.lock, "ray", "ray").SHA256 = sum("ray2") }, true},
		"a small package": {func(s *subject, _ *Smoke) { artifact(s.lock, "ray", "click").SHA256 = sum("click2") },
			true},
		"what is named": {func(s *subject, _ *Smoke) { s.recipe.Pip.Packages = append(s.recipe.Pip.Packages, "click") },
			true},
		"a variable": {func(s *subject, _ *Smoke) { s.recipe.Image.Env = map[string]string{"PYTHONPATH": "/srv"} },
			true},
		"a command of one's own": {func(_ *subject, how *Smoke) {
			how.Command = "true"
		}, true},
	}
	testOf := func(t *testing.T, change func(*subject, *Smoke)) (SmokeTest, *BuildRecord) {
		t.Helper()
		s, how := newSubject(t), Smoke{}
		s.recipe.Steps = nil // they stand on all that comes before them
		change(s, &how)
		g, err := NewGraph(context.Background(), s.recipe, s.lock, s.o)
		if err != nil {
			t.Fatal(err)
		}
		in, err := g.Record(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		all, err := g.SmokeTests(how, in)
		if err != nil || len(all) != 1 {
			t.Fatalf("%d tests: %v", len(all), err)
		}
		if in.Platforms[0].Smoke != "" {
			t.Error("a record says that an image has passed which nobody has tested")
		}
		return all[0], in.Passed(all...)
	}
	_, before := testOf(t, func(*subject, *Smoke) {})
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			if now, _ := testOf(t, c.change); now.PassedBy(before) == c.again {
				t.Errorf("the image is tested again: %v, want %v", !c.again, c.again)
			}
		})
	}
	// A command may look at everything.
	own := func(more func(*subject)) func(*subject, *Smoke) {
		return func(s *subject, how *Smoke) {
			how.Command = "true"
			more(s)
		}
	}
	_, passed := testOf(t, own(func(*subject) {}))
	for name, c := range map[string]struct {
		change func(*subject)
		again  bool
	}{
		"a label":   {func(s *subject) { s.recipe.Image.Labels["team"] = "b" }, false},
		"own files": {func(s *subject) { s.recipe.Files = nil }, true},
		"a newer Debian package": {func(s *subject) {
			artifact(s.lock, "apt", "wget").SHA256 = sum("wget2")
		}, true},
	} {
		if now, _ := testOf(t, own(c.change)); now.PassedBy(passed) == c.again {
			t.Errorf("own command, %s: it runs again: %v, want %v", name, !c.again, c.again)
		}
	}
	if now, _ := testOf(t, func(*subject, *Smoke) {}); now.PassedBy(nil) || now.PassedBy(&BuildRecord{}) {
		t.Error("an image without a record has passed")
	}
}

// The packages that are tested are those that the recipe names and the lock has.
func TestSmokePackagesAreThoseThatTheRecipeNames(t *testing.T) {
	t.Parallel()
	r := loadText(t, "pip: {packages: ['Requests[socks]>=2', 'gone ; python_version < \"3\"', ray-like], "+
		"added: [[Einops]]}")
	r.Required = []Requirement{{Name: "zipp"}, {Name: "requests"}}
	r.EnvFile = &EnvFile{Pip: []string{"idna"}}
	made := func(name, origin string) Artifact { return Artifact{Kind: KindWheel, Name: name, Origin: origin} }
	locked := &LockPlatform{Layers: []LockLayer{
		{Name: "ray", Artifacts: []Artifact{made("ray", "pypi"), made("requests", "pypi"), made("zipp", "pypi"),
			made("idna", "pypi"), made("click", "pypi"),
			made("own_wheel", originLocal)}},
		{Name: "add-1", Artifacts: []Artifact{made("einops", "pypi")}},
	}}
	got := smokePackages(r, locked)
	if want := "[requests zipp idna own-wheel einops]"; want != fmt.Sprint(got) {
		t.Errorf("packages %v, want %s", got, want)
	}
}
