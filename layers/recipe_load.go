package layers

import (
	"path/filepath"
	"slices"
	"strings"
)

// DefaultRecipe is the recipe of a project that has none: Ray's newest known
// release with Python 3.12 from conda-forge on Ubuntu 22.04, from the official
// sources, for linux/amd64.
func DefaultRecipe() *Recipe {
	r := &Recipe{Dir: "."}
	r.fillDefaults()
	return r
}

// LoadRecipe reads a recipe in the form of raybuild.yaml. sets are overrides of
// the form KEY=VALUE with a dotted key and a VALUE in YAML, applied in order
// before anything is checked. No data is the default recipe. filename names the
// recipe in errors, and its directory becomes Dir.
//
// Everything that is wrong comes at once, as a *RecipeError. No other file is
// read: see LoadFiles.
func LoadRecipe(data []byte, filename string, sets []string) (*Recipe, error) {
	root, bad := parseYAML(data, filename, recipeLimits())
	if bad != nil {
		return nil, bad
	}
	if root == nil {
		root = &yamlNode{kind: yamlMap, file: filename}
	}
	r := &Recipe{Dir: filepath.Dir(filename)}
	t := &recipeReader{}
	for _, set := range sets {
		root = t.applySet(root, set)
	}
	t.recipe(root, r)
	t.contradictions(r)
	if err := t.err(); err != nil {
		return nil, err
	}
	r.fillDefaults()
	return r, nil
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
	setDefault(&r.Ray.Version, newestRay())
	if r.Ray.Extras == nil {
		r.Ray.Extras = defaultExtras(r.Ray.Version)
	}
	setDefault(&r.Image.User, "ray")
	setDefault(&r.Image.Workdir, home(r.Image.User))
	r.Layers = r.Layers.filled()
	if len(r.Platforms) == 0 {
		r.Platforms = []string{"linux/amd64"}
	}
}

func setDefault(s *string, value string) {
	if *s == "" {
		*s = value
	}
}

// recipeReader reads a tree into a Recipe.
type recipeReader struct{ treeReader }

func (t *recipeReader) recipe(n *yamlNode, r *Recipe) {
	t.mapping(n, "",
		treeField{"base", t.text(&r.Base, baseReference)},
		treeField{"mirrors", func(n *yamlNode, key string) { t.mirrors(n, key, &r.Mirrors) }},
		treeField{"apt", func(n *yamlNode, key string) { t.apt(n, key, &r.Apt) }},
		treeField{"miniconda", func(n *yamlNode, key string) {
			t.mapping(n, key,
				treeField{"distribution", t.text(&r.Miniconda.Distribution, oneOf("miniconda", "miniforge"))},
				treeField{"version", t.text(&r.Miniconda.Version, installerVersion)},
				treeField{"sha256", t.text(&r.Miniconda.SHA256, nameSHA256)},
				treeField{"accept_anaconda_terms", t.boolean(&r.Miniconda.AcceptAnacondaTerms)},
			)
		}},
		treeField{"env", func(n *yamlNode, key string) {
			t.mapping(n, key,
				treeField{"name", t.text(&r.Env.Name, envName)},
				treeField{"python", t.text(&r.Env.Python, namePython)},
				treeField{"conda", t.texts(&r.Env.Conda, matchSpec)},
				treeField{"channels", t.texts(&r.Env.Channels, channelName)},
				treeField{"file", t.path(&r.Env.File)},
			)
		}},
		treeField{"ray", func(n *yamlNode, key string) {
			t.mapping(n, key,
				treeField{"version", t.text(&r.Ray.Version, nameRayVersion)},
				treeField{"extras", t.texts(&r.Ray.Extras, nameExtra)},
			)
		}},
		treeField{"pip", func(n *yamlNode, key string) { t.pip(n, key, &r.Pip) }},
		treeField{"files", func(n *yamlNode, key string) { t.files(n, key, r) }},
		treeField{"steps", func(n *yamlNode, key string) { t.steps(n, key, r) }},
		treeField{"layers", func(n *yamlNode, key string) { t.layers(n, key, &r.Layers) }},
		treeField{"image", func(n *yamlNode, key string) { t.image(n, key, &r.Image) }},
		treeField{"platforms", t.texts(&r.Platforms, platformName)},
		treeField{"smoke", func(n *yamlNode, key string) { t.smoke(n, key, &r.Smoke) }},
	)
	if r.Ray.Extras == nil && t.places["ray.extras"] != nil {
		r.Ray.Extras = []string{} // none at all, which is not the default
	}
	r.Apt.Packages = sorted(r.Apt.Packages)
	r.Env.Conda = sorted(r.Env.Conda)
	r.Ray.Extras = sorted(r.Ray.Extras)
	r.Platforms = sorted(r.Platforms)
}

// sorted is the list in order and without repetitions; nil stays nil.
func sorted(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// path reads a local path and writes it clean.
func (t *recipeReader) path(dst *string) func(*yamlNode, string) {
	return func(n *yamlNode, key string) {
		if s, ok := t.string(n, key, localPath); ok {
			*dst = cleanLocal(s)
		}
	}
}

func cleanLocal(p string) string { return filepath.ToSlash(filepath.Clean(p)) }

func (t *recipeReader) paths(dst *[]string, g grammar) func(*yamlNode, string) {
	read := t.texts(dst, g)
	return func(n *yamlNode, key string) {
		read(n, key)
		for i, p := range *dst {
			(*dst)[i] = cleanLocal(p)
		}
	}
}

func oneOf(words ...string) grammar {
	return func(s string) (string, string) {
		if slices.Contains(words, s) {
			return "", ""
		}
		return quoteShort(s) + " is not known", didYouMean(s, words)
	}
}

func (t *recipeReader) apt(n *yamlNode, key string, a *Apt) {
	if n.kind == yamlList {
		t.texts(&a.Packages, nameApt)(n, key)
		return
	}
	t.mapping(n, key,
		treeField{"packages", t.texts(&a.Packages, nameApt)},
		treeField{"repositories", func(n *yamlNode, key string) {
			t.list(n, key, "a list of repositories", func(n *yamlNode, key string) {
				var r AptRepository
				t.mapping(n, key,
					treeField{"url", t.url(&r.URL)},
					treeField{"suite", t.text(&r.Suite, nameSuite)},
					treeField{"components", t.texts(&r.Components, nameComponent)},
					treeField{"key", t.path(&r.Key)},
				)
				t.required(n, key, "url", "suite", "key")
				a.Repositories = append(a.Repositories, r)
			})
		}},
	)
}

// url reads a URL without the slashes at its end.
func (t *recipeReader) url(dst *string) func(*yamlNode, string) {
	return func(n *yamlNode, key string) {
		if s, ok := t.string(n, key, plainURL); ok {
			*dst = strings.TrimRight(s, "/")
		}
	}
}

// required reports keys that a mapping must have.
func (t *recipeReader) required(n *yamlNode, key string, names ...string) {
	if n.kind != yamlMap && n.kind != yamlNull {
		return
	}
	for _, name := range names {
		if n.get(name) == nil {
			fix := "add it"
			if name == "key" {
				fix = "add the path of the OpenPGP key that signs the repository: unsigned ones are refused"
			}
			t.addAt(n, key, "has no "+name, fix)
		}
	}
}

func (t *recipeReader) pip(n *yamlNode, key string, p *Pip) {
	if n.kind == yamlList {
		t.requirements(&p.Packages)(n, key)
		return
	}
	t.mapping(n, key,
		treeField{"packages", t.requirements(&p.Packages)},
		treeField{"requirements", t.paths(&p.Requirements, localPath)},
		treeField{"wheels", t.paths(&p.Wheels, wheelPattern)},
		treeField{"added", func(n *yamlNode, key string) { t.added(n, key, &p.Added) }},
		treeField{"extra_indexes", func(n *yamlNode, key string) {
			t.list(n, key, "a list of indexes", func(n *yamlNode, key string) {
				var x ExtraIndex
				t.mapping(n, key,
					treeField{"url", t.url(&x.URL)},
					treeField{"packages", t.texts(&x.Packages, projectName)},
				)
				t.required(n, key, "url", "packages")
				for i, name := range x.Packages {
					x.Packages[i] = NormalName(name)
				}
				x.Packages = sorted(x.Packages)
				p.ExtraIndexes = append(p.ExtraIndexes, x)
			})
		}},
	)
}

// requirements reads requirements and writes them in one form.
func (t *recipeReader) requirements(dst *[]string) func(*yamlNode, string) {
	read := t.texts(dst, requirementText)
	return func(n *yamlNode, key string) {
		read(n, key)
		for i, text := range *dst {
			req, _, _ := parseRequirement(text)
			(*dst)[i] = req.String()
		}
	}
}

func projectName(s string) (string, string) {
	if pep508Name().FindString(s) != s || len(s) > 128 || s == "" {
		return quoteShort(s) + " is not the name of a Python package", "write the name alone, without version or extras"
	}
	return "", ""
}

func (t *recipeReader) files(n *yamlNode, key string, r *Recipe) {
	t.list(n, key, "a list of {from, to}", func(n *yamlNode, key string) {
		var f FileCopy
		t.mapping(n, key, treeField{"from", t.path(&f.From)}, treeField{"to", t.text(&f.To, imagePath)})
		t.required(n, key, "from", "to")
		r.Files = append(r.Files, f)
	})
}

func (t *recipeReader) steps(n *yamlNode, key string, r *Recipe) {
	t.list(n, key, "a list of steps", func(n *yamlNode, key string) {
		var s Step
		t.mapping(n, key,
			treeField{"name", t.text(&s.Name, nameStep)},
			treeField{"run", t.text(&s.Run, scriptText)},
			treeField{"needs", t.texts(&s.Needs, freeText)},
			treeField{"network", t.boolean(&s.Network)},
			treeField{"secrets", t.texts(&s.Secrets, nameSecret)},
		)
		t.required(n, key, "name", "run")
		s.Secrets = sorted(s.Secrets)
		r.Steps = append(r.Steps, s)
	})
}

func (t *recipeReader) image(n *yamlNode, key string, c *ImageConfig) {
	t.mapping(n, key,
		treeField{"user", t.text(&c.User, userName)},
		treeField{"workdir", t.text(&c.Workdir, imagePath)},
		treeField{"env", t.pairs(&c.Env, nameVariable, freeText)},
		treeField{"labels", t.pairs(&c.Labels, nameLabel, linesText)},
		treeField{"annotations", t.pairs(&c.Annotations, nameLabel, linesText)},
		treeField{"entrypoint", t.texts(&c.Entrypoint, linesText)},
		treeField{"cmd", t.texts(&c.Cmd, linesText)},
	)
}
