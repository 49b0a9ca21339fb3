package layers

import (
	"fmt"
	"slices"
	"strings"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

// rayLine is a line of a file that asks for Ray, which the recipe installs anyway.
type rayLine struct {
	Requirement
	at strictyaml.Problem
}

// settleRay gives Ray its version and extras, and compares them with what files ask for. If the recipe has no version,
// it is the newest that the files allow; if it has no extras, they are the default ones and those of the files.
func (t *recipeReader) settleRay(r *Recipe, lines []rayLine) {
	// For one environment only: the recipe's Ray is for all of them.
	lines = slices.DeleteFunc(slices.Clone(lines), func(l rayLine) bool { return l.Marker != "" })
	if r.Ray.Version == "" {
		r.Ray.Version = newestRayOf(lines)
	}
	own := r.Ray.Extras != nil
	r.fillRay()
	for _, l := range lines {
		if !allows(l.Specifier, r.Ray.Version) {
			l.at.Message = fmt.Sprintf("asks for ray%s, and the recipe has Ray %s", l.Specifier, r.Ray.Version)
			l.at.Fix = "give ray.version in the recipe and this line the same version, or remove this line"
			t.Tell(l.at)
		}
		if !own {
			r.Ray.Extras = append(r.Ray.Extras, l.Extras...)
			continue
		}
		lacks := slices.DeleteFunc(slices.Clone(l.Extras), func(e string) bool {
			return slices.Contains(r.Ray.Extras, e) || slices.Contains(r.Ray.Extras, "all")
		})
		if len(lacks) > 0 {
			l.at.Message = fmt.Sprintf("asks for ray[%s], and the recipe's ray.extras are [%s]",
				strings.Join(l.Extras, ","), strings.Join(r.Ray.Extras, ", "))
			l.at.Fix = fmt.Sprintf("add %s to ray.extras in the recipe, or remove this line", strings.Join(lacks, ", "))
			t.Tell(l.at)
		}
	}
	if !own {
		r.Ray.Extras = sorted(r.Ray.Extras)
	}
}

// newestRayOf is the newest release that all lines allow; "" if there is none, or nobody asks for one.
func newestRayOf(lines []rayLine) string {
	if len(lines) == 0 {
		return ""
	}
	for _, l := range lines { // of any version, in raybuild's tables or not
		if v, ok := strings.CutPrefix(l.Specifier, "=="); ok && isRayVersion(v) {
			return v
		}
	}
	for _, release := range slices.Backward(rayReleases()) {
		if release.yanked == "" && !slices.ContainsFunc(lines, func(l rayLine) bool {
			return !allows(l.Specifier, release.version)
		}) {
			return release.version
		}
	}
	return ""
}

// rayOfConda reads a conda package of Ray as a requirement: ray-core, or ray-tune, which is ray[tune]. conda-forge's
// packages and the recipe's wheel would lie over each other.
func rayOfConda(spec string) (Requirement, bool) {
	name := condaName(spec)
	req := Requirement{Name: "ray"}
	switch name {
	case "ray", "ray-core":
	case "ray-default", "ray-tune", "ray-serve", "ray-rllib", "ray-data", "ray-train", "ray-air", "ray-all",
		"ray-client", "ray-llm":
		req.Extras = []string{strings.TrimPrefix(name, "ray-")}
	default:
		return req, false
	}
	req.Specifier = condaVersion(spec)
	return req, true
}

// condaVersion is the version of a conda specification as PEP 440 has it, without the build; "" for any.
func condaVersion(spec string) string {
	m, _, _ := parseMatchSpec(spec)
	rest := strings.ToLower(m.version)
	exact := strings.HasPrefix(rest, "==")
	version := strings.TrimLeft(rest, "= ")
	switch {
	case version == "" || version == "*":
		return ""
	case strings.ContainsAny(version[:1], "<>!~"):
		return version
	}
	if end := strings.IndexAny(version, "= "); end > 0 { // the build
		version = version[:end]
	}
	version = strings.TrimSuffix(version, ".*")
	if exact || strings.Count(version, ".") >= 2 {
		return "==" + version
	}
	return "==" + version + ".*"
}

// constraints bound the versions of Python packages: those of files, and those for known breakages.
func (r *Recipe) constraints() []string {
	out := slices.Clone(r.Pins)
	for _, c := range r.Constraints {
		c.Hashes = nil
		out = append(out, c.String())
	}
	return out
}
