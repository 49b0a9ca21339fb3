package layers

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

// builtinLayers are the layers that every image has, in the order of their graph.
var builtinLayers = []string{"user", "apt", "miniconda", "env", "ray", "mirrors", "files"}

// reservedNames are further names that a step cannot have: those of the two
// roots, and of what progress shows beside layers.
var reservedNames = []string{"base", "tool", "conda", "pip", "python", "wheels", "image", "steps", "smoke",
	"internal", "context"}

// contradictions finds settings that exclude each other.
func (t *recipeReader) contradictions(r *Recipe) {
	t.imageRules(r)
	t.aptRules(r)
	t.condaRules(r)
	t.pipRules(r)
	t.fileRules(r)
	t.stepRules(r)
	r.Trust.Check(&t.Reader, "trust")
}

func (t *recipeReader) imageRules(r *Recipe) {
	for _, name := range []string{"CONDA_PREFIX", "CONDA_DEFAULT_ENV", "HOME"} {
		if _, ok := r.Image.Env[name]; ok {
			t.Add("image.env."+name, "is set by raybuild", "choose the environment with env.name and the home "+
				"with image.user")
		}
	}
	if p, ok := r.Image.Env["PATH"]; ok {
		name := r.Env.Name
		setDefault(&name, "ray")
		bin := condaPrefix + "/envs/" + name + "/bin"
		if !slices.Contains(strings.Split(p, ":"), bin) {
			t.Add("image.env.PATH", "leaves out the environment, so that ray would not be found", "put "+bin+" into it")
		}
	}
}

func (t *recipeReader) aptRules(r *Recipe) {
	versions := map[string]string{}
	for _, p := range r.Apt.Packages {
		name, version, _ := strings.Cut(p, "=")
		if other, ok := versions[name]; ok && other != version {
			t.Add("apt", fmt.Sprintf("%s is listed with two versions", name), "keep one of the two")
		}
		versions[name] = version
	}
	for i, repo := range r.Apt.Repositories {
		key := fmt.Sprintf("apt.repositories[%d]", i)
		flat := strings.HasSuffix(repo.Suite, "/")
		switch {
		case repo.Suite == "":
		case flat && len(repo.Components) > 0:
			t.Add(key+".components", "a flat repository has none",
				"remove components, or name a suite without a slash at its end")
		case !flat && len(repo.Components) == 0:
			t.Add(key, "has no components", "add components, such as [main]")
		}
	}
}

func (t *recipeReader) condaRules(r *Recipe) {
	m := r.Miniconda
	forge := m.Distribution == "miniforge"
	switch {
	case forge && strings.HasPrefix(m.Version, "py3"):
		t.Add("miniconda.version", fmt.Sprintf("%q is a version of Miniconda, and the distribution is miniforge",
			m.Version), `write a version such as "26.7.2-0", or distribution: miniconda`)
	case !forge && m.Version != "" && !strings.HasPrefix(m.Version, "py3") && strings.Contains(m.Version, "-"):
		t.Add("miniconda.version", fmt.Sprintf("%q is a version of Miniforge, and the distribution is miniconda",
			m.Version), `write a version such as "py312_26.7.1-1", or distribution: miniforge`)
	}
	if m.SHA256 != "" && m.Version == "" {
		t.Add("miniconda.sha256", "is that of an installer without a version", "add miniconda.version")
	}
	if m.SHA256 != "" && len(r.Platforms) > 1 {
		t.Add("miniconda.sha256", fmt.Sprintf("one digest cannot fit the installers of %d platforms", len(r.Platforms)),
			"remove it and take a version of raybuild's own table, or build one platform at a time")
	}
	if !m.AcceptAnacondaTerms {
		for i, c := range r.Env.Channels {
			if anacondaChannel(c) {
				t.Add(fmt.Sprintf("env.channels[%d]", i),
					fmt.Sprintf("%q is bound to Anaconda's terms of service, which are not accepted", c),
					"read https://www.anaconda.com/legal and set miniconda.accept_anaconda_terms: true, or "+
						"use conda-forge")
			}
		}
	}
	for _, spec := range r.Env.Conda {
		if c := onlyFrom(spec); anacondaChannel(c) && !m.AcceptAnacondaTerms {
			t.Add("env.conda", termsOfSpec(spec), termsFix)
		}
		switch condaName(spec) {
		case "python":
			t.Add("env.conda", fmt.Sprintf("%q belongs under env.python", spec), "remove it and set env.python")
		case "ray", "ray-core", "ray-default", "ray-all", "ray-tune", "ray-rllib", "ray-serve", "ray-train", "ray-data":
			t.Add("env.conda", fmt.Sprintf("%q belongs under ray", spec),
				"remove it: Ray is installed from its own wheels, by ray.version and ray.extras")
		}
	}
}

// termsFix is what to do where Anaconda's terms are not accepted.
const termsFix = "read https://www.anaconda.com/legal and set miniconda.accept_anaconda_terms: true in the recipe, " +
	"or use conda-forge"

// termsOfSpec says that a specification insists on a channel of Anaconda's.
func termsOfSpec(spec string) string {
	return fmt.Sprintf("%q comes from a channel that is bound to Anaconda's terms of service, which are not accepted",
		spec)
}

// anacondaChannel tells whether the use of a conda channel is bound to
// Anaconda's terms of service: its own channels on repo.anaconda.com
// (anaconda.com/docs, terms of service).
func anacondaChannel(channel string) bool {
	c := strings.TrimPrefix(strings.TrimPrefix(channel, "https://"), "http://")
	return c == "defaults" || c == "anaconda" || strings.HasPrefix(c, "pkgs/") ||
		strings.HasPrefix(c, "repo.anaconda.com/") || c == "conda.anaconda.org/anaconda"
}

func (t *recipeReader) pipRules(r *Recipe) {
	for i, p := range r.Pip.Packages {
		req, message, _ := parseRequirement(p)
		if message != "" {
			continue
		}
		if req.Name == "ray" {
			key := fmt.Sprintf("pip.packages[%d]", i)
			if t.Place(key) == nil {
				key = fmt.Sprintf("pip[%d]", i)
			}
			t.Add(key, fmt.Sprintf("%s belongs under ray", quoteShort(p)),
				"remove it and set ray.version and ray.extras")
		}
	}
	owner := map[string]int{}
	for i, x := range r.Pip.ExtraIndexes {
		key := fmt.Sprintf("pip.extra_indexes[%d].packages", i)
		for _, name := range x.Packages {
			if other, ok := owner[name]; ok {
				t.Add(key, fmt.Sprintf("%q is already taken from pip.extra_indexes[%d]", name, other),
					"keep it in one of the two")
			}
			owner[name] = i
		}
	}
}

func (t *recipeReader) fileRules(r *Recipe) {
	to := map[string]int{}
	for i, f := range r.Files {
		if f.To == "" {
			continue
		}
		if other, ok := to[f.To]; ok {
			t.Add(fmt.Sprintf("files[%d].to", i), fmt.Sprintf("%q is already written by files[%d]", f.To, other),
				"give each its own place")
		}
		to[f.To] = i
	}
	seen := map[string]bool{}
	for i, f := range r.Pip.Requirements {
		if seen[f] {
			t.Add(fmt.Sprintf("pip.requirements[%d]", i), fmt.Sprintf("%q is listed twice", f), "keep one of the two")
		}
		seen[f] = true
	}
	for i, w := range r.Pip.Wheels {
		if _, err := path.Match(w, ""); err != nil {
			t.Add(fmt.Sprintf("pip.wheels[%d]", i), fmt.Sprintf("%s is not a pattern", quoteShort(w)),
				`write a path such as "./dist/*.whl"`)
		}
	}
}

func (t *recipeReader) stepRules(r *Recipe) {
	known := slices.Clone(builtinLayers)
	all := slices.Clone(builtinLayers)
	for _, s := range r.Steps {
		all = append(all, s.Name)
	}
	for i, s := range r.Steps {
		key := fmt.Sprintf("steps[%d]", i)
		switch {
		case s.Name != "" && (slices.Contains(reservedNames, s.Name) || slices.Contains(builtinLayers, s.Name) ||
			isAdded(s.Name)):
			t.Add(key+".name", fmt.Sprintf("%q is the name of a layer of raybuild's own", s.Name), "use another name")
		case s.Name != "" && slices.Contains(known, s.Name):
			t.Add(key+".name", fmt.Sprintf("two steps are named %q", s.Name), "use another name")
		}
		for j, need := range s.Needs {
			at := fmt.Sprintf("%s.needs[%d]", key, j)
			switch {
			case need == s.Name:
				t.Add(at, "a step cannot need itself", "remove it")
			case slices.Contains(s.Needs[:j], need):
				t.Add(at, fmt.Sprintf("%q is listed twice", need), "keep one of the two")
			case slices.Contains(known, need):
			case slices.Contains(all, need):
				t.Add(at, fmt.Sprintf("the step %q comes later", need), fmt.Sprintf("move it before %q", s.Name))
			default:
				t.Add(at, fmt.Sprintf("no layer or step is named %s", quoteShort(need)),
					strictyaml.DidYouMean(need, all))
			}
		}
		if s.Name != "" {
			known = append(known, s.Name)
		}
	}
}
