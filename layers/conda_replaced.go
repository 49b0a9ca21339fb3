package layers

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/raybuild/raybuild/internal/uv"
)

// condaTools are distributions that conda brings with each Python, though nobody asks for them: they are no reason to
// refuse what the recipe's Python packages need.
var condaTools = []string{"pip", "setuptools", "wheel"}

// replacedInput is the input of the environment's layer that names what is replaced.
const replacedInput = "replaced"

// asked are the conda packages that the recipe, its environment.yml or Ray needs by name.
func (e env) asked() []string {
	specs := slices.Concat(e.Conda, e.pins)
	if e.file != nil {
		specs = slices.Concat(specs, e.file.Conda)
	}
	out := make([]string, len(specs))
	for i, s := range specs {
		out[i] = condaName(s)
	}
	return out
}

// tools are the distributions of conda's that may be replaced: those that nobody asked conda for.
func (e env) tools() []string {
	asked := e.asked()
	return slices.DeleteFunc(slices.Clone(condaTools), func(name string) bool { return slices.Contains(asked, name) })
}

// replacedPackages are the packages of an environment in whose place wheels come: the only distribution that each
// brings is one of the Python packages of the lock.
func replacedPackages(locked *LockPlatform) []Artifact {
	python := runtimePackages(locked.layer("ray"))
	var out []Artifact
	for _, a := range locked.layer("env") {
		if dists := distsNamed(a.For[forDists]); len(dists) == 1 && has(python, dists[0].Name) {
			out = append(out, a)
		}
	}
	return out
}

// namesOf are the names of artifacts.
func namesOf(artifacts []Artifact) []string {
	out := make([]string, len(artifacts))
	for i, a := range artifacts {
		out[i] = a.Name
	}
	return out
}

// common are those of names that one of the lists has.
func common(names []string, lists ...[]string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return !slices.Contains(slices.Concat(lists...), name)
	})
}

// has tells whether artifacts include a Python package.
func has(artifacts []Artifact, name string) bool {
	return slices.ContainsFunc(artifacts, func(a Artifact) bool { return a.Name == NormalName(name) })
}

// distNames are the names of conda packages as their files in conda-meta have them.
func distNames(packages []Artifact) []string {
	out := make([]string, len(packages))
	for i, a := range packages {
		out[i] = strings.TrimSuffix(strings.TrimSuffix(a.Filename(), ".conda"), ".tar.bz2")
	}
	slices.Sort(out)
	return out
}

// withoutInstalled leaves out installed distributions by their names.
func withoutInstalled(all []uv.Installed, names []string) []uv.Installed {
	return slices.DeleteFunc(slices.Clone(all), func(d uv.Installed) bool {
		return slices.Contains(names, NormalName(d.Name))
	})
}

// named are those of names that a text speaks of.
func named(text string, names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return !regexp.MustCompile(`(?i)(?:^|[^A-Za-z0-9-])` + regexp.QuoteMeta(name) +
			`(?:$|[^A-Za-z0-9-])`).MatchString(text)
	})
}

// askFreely asks uv. Where it finds nothing, it is asked again without those of conda's tools that are in the way.
func (r *Resolver) askFreely(ctx context.Context, resolver PythonResolver, q uv.Question,
	e env) (*uv.Answer, error) {
	installed := q.Installed
	for {
		answer, err := r.askUV(ctx, resolver, q)
		none, refused := errors.AsType[*uv.NoSolutionError](err)
		if !refused {
			return answer, err
		}
		free := named(none.Text, e.tools())
		left := withoutInstalled(q.Installed, free)
		if len(left) == len(q.Installed) {
			return nil, condaHint(err, none.Text, installed, e)
		}
		q.Installed = left
	}
}

// wanted are the versions that uv or pip say that somebody asks for of a package, such as ">=77,<80". Both also say
// which versions there are, in the same form.
func wanted(text, name, but string) string {
	expr := regexp.MustCompile(`(?i)(?:requires?|requested|depends on|asks for)\s+` + regexp.QuoteMeta(name) +
		` *((?:[<>=!~]=?[0-9][A-Za-z0-9.*]*,? ?)+)`)
	for _, m := range expr.FindAllStringSubmatch(text, -1) {
		if versions := strings.Trim(strings.ReplaceAll(m[1], " ", ""), ",."); versions != "=="+but {
			return versions
		}
	}
	return "=VERSION"
}

// condaHint says which of conda's packages an explanation names, and how to have other versions. Those that may be
// replaced are not in the way.
func condaHint(err error, text string, installed []uv.Installed, e env) error {
	tools, asked := e.tools(), e.asked()
	for _, d := range installed {
		name := NormalName(d.Name)
		if len(named(text, []string{name})) == 0 || slices.Contains(tools, name) {
			continue
		}
		from := "comes with conda's packages"
		if slices.Contains(asked, name) {
			from = "comes from conda by env.conda"
		}
		err = fmt.Errorf("%w\n%s %s %s; set env.conda: [%q]", err, name, d.Version, from,
			name+wanted(text, name, d.Version))
	}
	return err
}

// installed are the Python packages that the environment's conda packages bring, as far as the lock says.
func (r *Resolver) installed() []uv.Installed {
	var out []uv.Installed
	for _, a := range r.locked.layer("env") {
		out = append(out, distsNamed(a.For[forDists])...)
	}
	return out
}

// settleTools leaves out wheels of the very versions that conda brings, and tells in the place of which of conda's
// others come.
func (r *Resolver) settleTools(artifacts []Artifact, installed []uv.Installed) []Artifact {
	for _, d := range installed {
		i := slices.IndexFunc(artifacts, func(a Artifact) bool { return a.Name == NormalName(d.Name) })
		switch {
		case i < 0:
		case artifacts[i].Version == d.Version && artifacts[i].Origin != originLocal:
			artifacts = slices.Delete(artifacts, i, i+1)
		default:
			r.in.Log("ray: %s %s takes the place of %s, which came with conda's Python: the recipe's packages need it",
				artifacts[i].Name, artifacts[i].Version, d.Version)
		}
	}
	return artifacts
}
