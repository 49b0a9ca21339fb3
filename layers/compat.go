package layers

import (
	"fmt"
	"slices"
	"strings"

	"github.com/raybuild/raybuild/internal/pylock"
	"github.com/raybuild/raybuild/internal/strictyaml"
)

// Note is something that the user should know about a recipe, but not an error.
type Note struct {
	// Key of the recipe that it is about, dotted: "ray.version".
	Key string
	// Message is one sentence.
	Message string
}

// Check compares a recipe with the tables of versions that work together. A combination that cannot
// work is an error, which names one that works; all errors come at once, as a *RecipeError. For each
// known breakage it adds constraints to r.Pins and r.CondaPins and gives a note. It allows a version
// that the tables do not know, with a note. A second call gives the same result as the first.
func Check(r *Recipe) ([]Note, error) {
	c := checker{r: r}
	c.ray()
	c.installer()
	c.base()
	r.Pins, r.CondaPins = nil, nil
	c.breakages()
	return c.notes, recipeError(c.Err())
}

type checker struct {
	strictyaml.Problems
	r     *Recipe
	notes []Note
}

func (c *checker) note(key, format string, args ...any) {
	c.notes = append(c.notes, Note{Key: key, Message: fmt.Sprintf(format, args...)})
}

func (c *checker) installer() {
	m := c.r.Miniconda
	row := m.row()
	for _, p := range c.r.Platforms {
		switch machine := machineOf(p); {
		case len(row.Machines) > 0 && !slices.Contains(row.Machines, machine):
			c.AddAt(nil, "miniconda.version", fmt.Sprintf("%s %s was not built for %s", m.Distribution, m.Version, p),
				"use "+newestInstaller(m.Distribution))
		case m.Installer(p).SHA256 == "":
			c.AddAt(nil, "miniconda.version", fmt.Sprintf("the digest of %s is not known", m.Installer(p).Filename()),
				fmt.Sprintf("add miniconda.sha256 with the digest that %s gives, or use %s",
					installerIndex(m.Distribution), newestInstaller(m.Distribution)))
		}
	}
}

// base checks what is known of a base image by its name alone.
func (c *checker) base() {
	release, known := baseRelease(c.r.Base)
	if !known {
		return
	}
	if end := release.EOL; end < knownDay() {
		switch {
		case release.lts():
			c.note("base", "the standard support of Ubuntu %s ended on %s: security updates since then need "+
				"Ubuntu Pro (ESM)", release.Version, end)
		default:
			c.note("base", "the support of Ubuntu %s ended on %s: there are no updates since then",
				release.Version, end)
		}
	}
	if m, f := glibcProblem(c.r.Miniconda, "ubuntu:"+release.Version, release.Glibc); m != "" {
		c.AddAt(nil, "miniconda.version", m, f)
	}
	if slices.Contains(c.r.Apt.Packages, "python-software-properties") && compareDotted(release.Version, "14.10") >= 0 {
		c.AddAt(nil, "apt", fmt.Sprintf("Ubuntu %s has no package python-software-properties", release.Version),
			"use software-properties-common")
	}
}

// baseRelease is the release of Ubuntu that an image is of by its reference.
func baseRelease(ref string) (releaseRow, bool) {
	ref, _, _ = strings.Cut(ref, "@")
	for _, prefix := range []string{"docker.io/library/", "index.docker.io/library/", "library/"} {
		ref = strings.TrimPrefix(ref, prefix)
	}
	name, tag, _ := strings.Cut(ref, ":")
	if name != "ubuntu" {
		return releaseRow{}, false
	}
	tag, _, _ = strings.Cut(tag, "-")
	return ubuntuRelease(func(r releaseRow) bool { return r.Version == tag || r.Codename == tag })
}

// checkGlibc tells whether the installer runs on an image with that glibc. what
// names the image, such as "ubuntu:16.04". The error is a *RecipeError.
func checkGlibc(m Miniconda, what, glibc string) error {
	message, fix := glibcProblem(m, what, glibc)
	if message == "" {
		return nil
	}
	return &RecipeError{Problems: []Problem{{Key: "miniconda.version", Message: message, Fix: fix}}}
}

func glibcProblem(m Miniconda, what, glibc string) (message, fix string) {
	need := m.minGlibc()
	if need == "" || glibc == "" || compareDotted(glibc, need) >= 0 {
		return "", ""
	}
	message = fmt.Sprintf("the installer of %s %s needs glibc %s, and %s has %s", m.Distribution, m.Version,
		need, what, glibc)
	if compareDotted(glibc, "2.17") < 0 {
		return message, "use a newer base"
	}
	return message, fmt.Sprintf("use {distribution: miniforge, version: %s}, an older Miniconda such as py37_4.8.2, "+
		"or a newer base", newestInstaller("miniforge"))
}

// breakages adds the constraints of known breakages, except for packages that
// the user has a say about.
func (c *checker) breakages() {
	v := c.r.Ray.Version
	own := c.ownPackages()
	for _, b := range breakageRows() {
		if b.Since != "" && compareDotted(v, b.Since) < 0 || b.Until != "" && compareDotted(v, b.Until) >= 0 {
			continue
		}
		if len(b.Extra) > 0 && !slices.ContainsFunc(c.r.Ray.Extras,
			func(e string) bool { return slices.Contains(b.Extra, e) }) {
			continue
		}
		if b.Conda != "" {
			c.condaBreakage(b)
			continue
		}
		req, _, _ := parseRequirement(b.Pin)
		if c.r.PythonLock.has(req.Name) {
			c.lockedBreakage(b, req)
			continue
		}
		if by, ok := own[req.Name]; ok {
			c.note("pip", "Ray %s is known to need %s (%s); the recipe's own %q is used instead", v, b.Pin,
				b.Why, by.String())
			continue
		}
		c.r.Pins = append(c.r.Pins, req.String())
		c.note("ray.version", "Ray %s: constrained to %s (%s)", v, b.Pin, b.Why)
	}
	slices.Sort(c.r.Pins)
}

// lockedBreakage tells which versions of a lock of another tool are known to break Ray. They stay.
func (c *checker) lockedBreakage(b breakageRow, pin Requirement) {
	for _, v := range c.r.PythonLock.source.Versions(pin.Name) {
		if has, ok := pylock.Specifier(pin.Specifier).Has(v); ok && !has {
			c.note("pip.pylock", "Ray %s is known to need %s (%s); %s has %s, which stays", c.r.Ray.Version, b.Pin,
				b.Why,
				c.r.Pip.Pylock.File, v)
		}
	}
}

// condaBreakage adds a spec to the environment, unless the recipe has one for that package.
func (c *checker) condaBreakage(b breakageRow) {
	v := c.r.Ray.Version
	own := slices.Clone(c.r.Env.Conda)
	if c.r.EnvFile != nil {
		own = append(own, c.r.EnvFile.Conda...)
	}
	name := condaName(b.Conda)
	if i := slices.IndexFunc(own, func(spec string) bool { return condaName(spec) == name }); i >= 0 {
		c.note("env.conda", "Ray %s is known to need %s (%s); the recipe's own %q is used instead", v, b.Conda,
			b.Why, own[i])
		return
	}
	c.r.CondaPins = append(c.r.CondaPins, b.Conda)
	c.note("ray.version", "Ray %s: the environment is made with %s (%s)", v, b.Conda, b.Why)
}

// ownPackages are the requirements in which the user names a version, by package.
func (c *checker) ownPackages() map[string]Requirement {
	own := map[string]Requirement{}
	add := func(req Requirement) {
		if req.Specifier != "" {
			own[req.Name] = req
		}
	}
	texts := slices.Clone(c.r.Pip.Packages)
	if c.r.EnvFile != nil {
		texts = append(texts, c.r.EnvFile.Pip...)
	}
	for _, text := range texts {
		if req, message, _ := parseRequirement(text); message == "" {
			add(req)
		}
	}
	for _, req := range c.r.Required {
		add(req)
	}
	return own
}
