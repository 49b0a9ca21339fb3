package layers

import (
	"path/filepath"
	"slices"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

// LoadRecipe reads a recipe in the form of raybuild.yaml. sets are overrides KEY=VALUE, with a dotted
// key and a VALUE in YAML. They are applied in order, before anything is checked. Empty data gives the
// default recipe: Ray's newest known release with Python 3.12 from conda-forge on Ubuntu 22.04, from
// the official sources, for linux/amd64. filename names the recipe in errors, and its directory becomes
// Dir.
//
// All problems come at once, as a *RecipeError. LoadRecipe reads no other file; LoadFiles does.
func LoadRecipe(data []byte, filename string, sets []string) (*Recipe, error) {
	root, problems := strictyaml.Parse(data, filename, recipeLimits())
	t := &recipeReader{}
	t.Tell(problems...)
	if root == nil && len(problems) > 0 {
		return nil, recipeError(t.Err())
	}
	if root == nil {
		root = &strictyaml.Node{Kind: strictyaml.Mapping, File: filename}
	}
	r := &Recipe{Dir: filepath.Dir(filename)}
	for _, set := range sets {
		root = t.applySet(root, set)
	}
	t.Read(root, "", recipeValue(r))
	t.contradictions(r)
	if err := recipeError(t.Err()); err != nil {
		return nil, err
	}
	r.fillDefaults()
	return r, nil
}

// recipeValue reads a recipe into r, as it is written.
func recipeValue(r *Recipe) strictyaml.Value {
	return strictyaml.Map(recipeKeys(r)...).Then(func() {
		r.Apt.Packages = sorted(r.Apt.Packages)
		r.Env.Conda = sorted(r.Env.Conda)
		r.Ray.Extras = sorted(r.Ray.Extras)
		r.Platforms = sorted(r.Platforms)
	})
}

// recipeLimits keep the reading of any recipe below half a second and 100 MB.
func recipeLimits() strictyaml.Limits {
	return strictyaml.Limits{Bytes: 1 << 20, Depth: 32, Tokens: 100_000}
}

const defaultPython = "3.12"

// fillDefaults gives every field that is still empty its default.
func (r *Recipe) fillDefaults() {
	setDefault(&r.Base, "ubuntu:22.04")
	if len(r.Mirrors.Fetch) == 0 {
		r.Mirrors.Fetch = []Mirror{mustPreset("official")}
	}
	setDefault(&r.Env.Name, "ray")
	if r.Env.File == "" { // else the file may say so, and LoadFiles reads it
		setDefault(&r.Env.Python, defaultPython)
		if len(r.Env.Channels) == 0 {
			r.Env.Channels = []string{"conda-forge"}
		}
	}
	setDefault(&r.Miniconda.Distribution, "miniconda")
	setDefault(&r.Miniconda.Version, newestInstaller(r.Miniconda.Distribution))
	if !r.readsFiles() { // else a file may say so, and LoadFiles reads it
		r.fillRay()
	}
	setDefault(&r.Image.User, "ray")
	setDefault(&r.Image.Workdir, home(r.Image.User))
	r.Layers = r.Layers.filled()
	if len(r.Platforms) == 0 {
		r.Platforms = []string{"linux/amd64"}
	}
}

// readsFiles tells whether the recipe names files that LoadFiles reads.
func (r *Recipe) readsFiles() bool {
	return r.Env.File != "" || len(r.Pip.Requirements) > 0 || r.Pip.Pylock.File != ""
}

// fillRay gives Ray its default version and extras.
func (r *Recipe) fillRay() {
	setDefault(&r.Ray.Version, newestRay())
	if r.Ray.Extras == nil {
		r.Ray.Extras = defaultExtras(r.Ray.Version)
	}
}

func setDefault(s *string, value string) {
	if *s == "" {
		*s = value
	}
}

// recipeReader reads a recipe and finds what contradicts itself there.
type recipeReader struct{ strictyaml.Reader }

// sorted is the list in order and without repetitions; nil stays nil.
func sorted(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}
