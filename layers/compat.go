package layers

import (
	"fmt"
	"slices"
	"strings"
)

// Note is something that the user should know about a recipe and that is no error.
type Note struct {
	// Key of the recipe that it is about, dotted: "ray.version".
	Key string
	// Message is one sentence.
	Message string
}

// Check fits a recipe against the tables of what works with what. A combination
// that cannot work is an error that names one that can; all of them come at
// once, as a *RecipeError. Known breakages add their constraints to r.Pins, and
// each is said in a note. What the tables do not know is let through with a note.
// Checking twice is the same as checking once.
func Check(r *Recipe) ([]Note, error) {
	c := checker{r: r}
	c.ray()
	c.installer()
	c.base()
	r.Pins = nil
	c.breakages()
	return c.notes, c.err()
}

type checker struct {
	problemList
	r     *Recipe
	notes []Note
}

func (c *checker) note(key, format string, args ...any) {
	c.notes = append(c.notes, Note{Key: key, Message: fmt.Sprintf(format, args...)})
}

func (c *checker) ray() {
	v := c.r.Ray.Version
	row, ok := rayRowOf(v)
	switch {
	case !ok:
		c.note("ray.version", "Ray %s is older than what raybuild knows (%s): nothing about it is checked", v, rayRows()[0].From)
		return
	case compareDotted(minorOf(v), minorOf(row.Newest)) > 0 && row.Newest == newestRay():
		c.note("ray.version", "Ray %s is newer than what raybuild knows (%s): it is taken to work with what %s works with", v, row.Newest, row.Newest)
	case compareDotted(minorOf(v), minorOf(row.Newest)) > 0:
		next := rayRows()[slices.IndexFunc(rayRows(), func(o rayRow) bool { return o.From == row.From })+1]
		c.addAt(nil, "ray.version", fmt.Sprintf("Ray %s was never released", v), fmt.Sprintf("use %s or %s", row.Newest, next.From))
		return
	}
	c.rayPython(row)
	c.rayPlatforms(row)
	for _, e := range c.r.Ray.Extras {
		if !slices.Contains(row.Extras, e) {
			c.addAt(nil, "ray.extras", fmt.Sprintf("Ray %s has no extra %q", v, e), didYouMean(e, row.Extras))
		}
	}
	switch {
	case slices.Contains(row.Extras, "default") && !slices.ContainsFunc(c.r.Ray.Extras, func(e string) bool { return e == "default" || e == "all" || e == "serve" }):
		c.note("ray.extras", "without the extra default Ray has no dashboard, no jobs and no health checks over HTTP")
	case v == "0.8.6" && slices.ContainsFunc(c.r.Ray.Extras, func(e string) bool { return e == "serve" || e == "all" }):
		c.note("ray.extras", "the extra serve of Ray 0.8.6 needs blist, which no compiler of today builds; leave serve and all out if this fails")
	}
}

// rayPython checks Ray against Python.
func (c *checker) rayPython(row rayRow) {
	v, python := c.r.Ray.Version, minorOf(c.r.Env.Python)
	if compareDotted(python, row.Pythons[0]) >= 0 && compareDotted(python, row.Pythons[1]) <= 0 {
		return
	}
	if slices.Contains(row.Maybe, python) {
		c.note("env.python", "whether Ray %s has wheels for Python %s is not known", v, python)
		return
	}
	fix := "use env.python " + pythonsOf(row)
	if other := newestRayFor(python); other != "" {
		fix += ", or ray " + other
	}
	c.addAt(nil, "ray.version", fmt.Sprintf("Ray %s has no wheel for Python %s", v, python), fix)
}

// pythonsOf lists the Pythons of a row: "3.6, 3.7 or 3.8".
func pythonsOf(row rayRow) string {
	var all []string
	first, last := versionPart(strings.Split(row.Pythons[0], "."), 1), versionPart(strings.Split(row.Pythons[1], "."), 1)
	for minor := first; minor <= last; minor++ {
		all = append(all, fmt.Sprintf("3.%d", minor))
	}
	if len(all) == 1 {
		return all[0]
	}
	return strings.Join(all[:len(all)-1], ", ") + " or " + all[len(all)-1]
}

// newestRayFor is the newest known Ray with wheels for a Python; "" for none.
func newestRayFor(python string) string {
	for _, row := range slices.Backward(rayRows()) {
		if compareDotted(python, row.Pythons[0]) >= 0 && compareDotted(python, row.Pythons[1]) <= 0 {
			return row.Newest
		}
	}
	return ""
}

func minorOf(version string) string {
	parts := strings.SplitN(version, ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}

func (c *checker) rayPlatforms(row rayRow) {
	for _, p := range c.r.Platforms {
		switch {
		case slices.Contains(row.Platforms, p):
		case slices.Contains(row.MaybePlatforms, p):
			c.note("platforms", "whether Ray %s has wheels for %s is not known", c.r.Ray.Version, p)
		default:
			fix := "use " + strings.Join(row.Platforms, " or ")
			if slices.Contains(rayRows()[len(rayRows())-1].Platforms, p) {
				fix += ", or ray " + newestRay()
			}
			c.addAt(nil, "platforms", fmt.Sprintf("Ray %s has no wheel for %s", c.r.Ray.Version, p), fix)
		}
	}
}

func (c *checker) installer() {
	m := c.r.Miniconda
	row := m.row()
	for _, p := range c.r.Platforms {
		switch machine := machineOf(p); {
		case len(row.Machines) > 0 && !slices.Contains(row.Machines, machine):
			c.addAt(nil, "miniconda.version", fmt.Sprintf("%s %s was not built for %s", m.Distribution, m.Version, p), "use "+newestInstaller(m.Distribution))
		case m.Installer(p).SHA256 == "":
			c.addAt(nil, "miniconda.version", fmt.Sprintf("the digest of %s is not known", m.Installer(p).Filename()),
				fmt.Sprintf("add miniconda.sha256 with the digest that %s gives, or use %s", installerIndex(m.Distribution), newestInstaller(m.Distribution)))
		}
	}
}

// base checks what is known of a base image by its name alone.
func (c *checker) base() {
	release, known := baseRelease(c.r.Base)
	if !known {
		return
	}
	if m, f := glibcProblem(c.r.Miniconda, "ubuntu:"+release.Version, release.Glibc); m != "" {
		c.addAt(nil, "miniconda.version", m, f)
	}
	if slices.Contains(c.r.Apt.Packages, "python-software-properties") && compareDotted(release.Version, "14.10") >= 0 {
		c.addAt(nil, "apt", fmt.Sprintf("Ubuntu %s has no package python-software-properties", release.Version), "use software-properties-common")
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

// CheckGlibc tells whether the installer runs on a root with that glibc. what
// names the root, such as "ubuntu:16.04". The error is a *RecipeError.
func CheckGlibc(m Miniconda, what, glibc string) error {
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
	message = fmt.Sprintf("the installer of %s %s needs glibc %s, and %s has %s", m.Distribution, m.Version, need, what, glibc)
	if compareDotted(glibc, "2.17") < 0 {
		return message, "use a newer base"
	}
	return message, fmt.Sprintf("use {distribution: miniforge, version: %s}, an older Miniconda such as py37_4.8.2, or a newer base", newestInstaller("miniforge"))
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
		if len(b.Extra) > 0 && !slices.ContainsFunc(c.r.Ray.Extras, func(e string) bool { return slices.Contains(b.Extra, e) }) {
			continue
		}
		req, _, _ := parseRequirement(b.Pin)
		if by, ok := own[req.Name]; ok {
			c.note("pip", "Ray %s is known to need %s (%s); the recipe's own %q is used instead", v, b.Pin, b.Why, by)
			continue
		}
		c.r.Pins = append(c.r.Pins, req.String())
		c.note("ray.version", "Ray %s: constrained to %s (%s)", v, b.Pin, b.Why)
	}
	slices.Sort(c.r.Pins)
}

// ownPackages are the requirements in which the user names a version, by package.
func (c *checker) ownPackages() map[string]string {
	own := map[string]string{}
	add := func(req Requirement) {
		if req.Specifier != "" {
			own[req.Name] = req.String()
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
