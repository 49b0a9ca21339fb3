package world

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/layers"
)

// silent is what a source says that does not answer.
var errSilent = errors.New("no answer")

func TestQuickRecipeTakesEachSourceFromWhereItAnswers(t *testing.T) {
	t.Parallel()
	w := &World{A: newMirror("http://127.0.0.1:1", nil), Base: "127.0.0.1:2/world/debian:bookworm",
		Installers: []Installer{{Distribution: "miniconda", Version: "py311_26.7.1-1",
			SHA256: strings.Repeat("0", 64)}}}
	for name, c := range map[string]struct {
		sources Sources
		has     []string
		hasNot  []string
	}{
		"all answer": {Sources{}, []string{"base: ubuntu:22.04", "fetch: [host, official]"},
			[]string{"127.0.0.1", "miniconda:", "python:"}},
		"only the Python index": {Sources{Base: errSilent, Apt: errSilent, Conda: errSilent, Installer: errSilent},
			[]string{"base: " + w.Base, "apt: http", "conda: http", "installer: http", `python: "3.11"`,
				"miniconda: {version: py311_26.7.1-1"}, []string{"pip: http"}},
		"no Ubuntu archive": {Sources{Apt: errSilent}, []string{"base: " + w.Base, "apt: http"},
			[]string{"conda: http", "installer: http"}},
		"no registry of its base": {Sources{Base: errSilent}, []string{"base: " + w.Base, "apt: http"},
			[]string{"conda: http"}},
		"no conda channel": {Sources{Conda: errSilent}, []string{"base: ubuntu:22.04", "conda: http", `python: "3.11"`},
			[]string{"apt: http", "installer: http"}},
		"no installer": {Sources{Installer: errSilent}, []string{"installer: http", "miniconda:"},
			[]string{"conda: http", "python:"}},
	} {
		t.Run(name, func(t *testing.T) {
			text := string(w.QuickRecipe(c.sources))
			recipe, err := layers.LoadRecipe([]byte(text), "raybuild.yaml", nil)
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			if recipe.Ray.Version != RayReal {
				t.Errorf("Ray %s, want %s", recipe.Ray.Version, RayReal)
			}
			for _, want := range c.has {
				if !strings.Contains(text, want) {
					t.Errorf("the recipe has no %q:\n%s", want, text)
				}
			}
			for _, no := range c.hasNot {
				if strings.Contains(text, no) {
					t.Errorf("the recipe has %q:\n%s", no, text)
				}
			}
		})
	}
}

func TestLineSaysWhatIsReal(t *testing.T) {
	t.Setenv("PIP_INDEX_URL", "")
	lock := &layers.LockPlatform{Base: layers.LockImage{ID: "debian", Release: "12"}, Layers: []layers.LockLayer{
		{Name: "env", Artifacts: []layers.Artifact{{Kind: layers.KindConda, Name: "python", Version: "3.11.2"},
			{Kind: layers.KindConda, Name: "pip", Version: "23"}}},
		{Name: "ray", Artifacts: []layers.Artifact{{Kind: layers.KindWheel, Name: "ray", Version: "2.60.0"},
			{Kind: layers.KindWheel, Name: "click"}, {Kind: layers.KindSdist, Name: "gputil"}}},
	}}
	const all = "real: Ray 2.60.0 and 2 packages from PyPI, Debian 12, Python 3.11"
	if got := Line(lock, false, false); got != all {
		t.Errorf("all real: %q", got)
	}
	if got, want := Line(lock, true, true), all+" · stand-in: conda channel, Miniconda installer"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	t.Setenv("PIP_INDEX_URL", "https://who:secret@pypi.example/simple/")
	if got := Line(lock, false, true); !strings.Contains(got, "packages from pypi.example,") ||
		strings.Contains(got, "secret") {
		t.Errorf("an index of the company's own: %q", got)
	}
}

func TestRealRecipeIsWrittenWhereTheIndexAnswers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := &World{A: newMirror("http://127.0.0.1:1", nil), Base: "127.0.0.1:2/world/debian:bookworm"}
	for _, c := range []struct {
		why  error
		line string
	}{{nil, "WORLD_REAL=1\n"}, {errSilent, "WORLD_REAL=\n"}} { // the second world finds the first one's files
		w.NotReal = c.why
		if err := w.Write(dir); err != nil {
			t.Fatal(err)
		}
		env, err := os.ReadFile(filepath.Join(dir, "env"))
		if err != nil || !strings.Contains(string(env), c.line) {
			t.Errorf("%v: env has no %q: %v\n%s", c.why, c.line, err, env)
		}
		recipe, err := os.ReadFile(filepath.Join(dir, "real.yaml"))
		if (err == nil) != (c.why == nil) || err == nil &&
			!strings.Contains(string(recipe), "pip: http://127.0.0.1:1/real/simple") {
			t.Errorf("%v: real.yaml: %v\n%s", c.why, err, recipe)
		}
		if read, err := Read(dir); err != nil || read.A.Real != w.A.Real || read.Base != w.Base {
			t.Errorf("%v: another process reads %+v, %v", c.why, read, err)
		}
	}
}
