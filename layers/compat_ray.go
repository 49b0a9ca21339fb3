package layers

import (
	"fmt"
	"slices"
	"strings"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

// ray checks the version of Ray against the recipe's Python, platforms and extras.
func (c *checker) ray() {
	v := c.r.Ray.Version
	row, ok := rayRowOf(v)
	if !ok {
		c.note("ray.version", "Ray %s is older than every Ray that raybuild knows (%s): raybuild checks nothing "+
			"about it", v, rayRows()[0].From)
		return
	}
	release, next, exact := rayReleaseOf(v)
	newest := newestRay()
	switch {
	case exact && release.yanked != "":
		c.note("ray.version", "Ray %s was withdrawn from PyPI (%s): use %s", v, release.yanked, next)
	case exact:
	case compareDotted(v, newest) > 0:
		c.note("ray.version", "Ray %s is newer than every Ray that raybuild knows (%s): raybuild assumes that it "+
			"works with what %s works with", v, newest, release.version)
	case compareDotted(minorOf(v), minorOf(release.version)) > 0:
		c.AddAt(nil, "ray.version", fmt.Sprintf("Ray %s was never released", v),
			fmt.Sprintf("use %s or %s", release.version, next))
		return
	default:
		c.note("ray.version", "raybuild knows no Ray %s on PyPI: it assumes that this Ray works with what %s "+
			"works with", v, release.version)
	}
	c.rayWheels(release)
	c.rayExtras(row)
}

// rayWheels checks Ray against Python and platforms.
func (c *checker) rayWheels(release rayRelease) {
	v, python := c.r.Ray.Version, minorOf(c.r.Env.Python)
	on := release.platforms(python)
	if len(on) == 0 {
		fix := "use env.python " + orList(release.allPythons())
		if other := newestRayFor(python, c.r.Platforms...); other != "" {
			fix += ", or ray " + other
		}
		c.AddAt(nil, "ray.version", fmt.Sprintf("Ray %s has no wheel for Python %s", v, python), fix)
		return
	}
	for _, p := range c.r.Platforms {
		if slices.Contains(on, p) {
			continue
		}
		fix := "use " + strings.Join(on, " or ")
		if others := release.pythons[p]; len(others) > 0 {
			fix += ", or env.python " + orList(others)
		}
		if other := newestRayFor(python, c.r.Platforms...); other != "" {
			fix += ", or ray " + other
		}
		c.AddAt(nil, "platforms", fmt.Sprintf("Ray %s has no wheel for %s", v, p), fix)
	}
}

// rayExtras checks the extras by their names, and says what is known of some.
func (c *checker) rayExtras(row rayRow) {
	v, extras := c.r.Ray.Version, c.r.Ray.Extras
	has := func(names ...string) bool {
		return slices.ContainsFunc(extras, func(e string) bool { return slices.Contains(names, e) })
	}
	for _, e := range extras {
		if !slices.Contains(row.Extras, e) {
			c.AddAt(nil, "ray.extras", fmt.Sprintf("Ray %s has no extra %q", v, e),
				strictyaml.DidYouMean(e, row.Extras))
		}
	}
	switch {
	case c.r.PythonLock.has("ray"): // with the extras that its project asks for
	case slices.Contains(row.Extras, "default") && !has("default", "all", "serve"):
		c.note("ray.extras", "without the extra default Ray has no dashboard, no jobs and no health checks over HTTP")
	case v == "0.8.6" && has("serve", "all"):
		c.note("ray.extras", "the extra serve of Ray 0.8.6 needs blist, which no compiler of today builds; leave "+
			"the extras serve and all out if this fails")
	}
	if !has("rllib", "all", "all-cpp") {
		return
	}
	if req, ok := c.ownPackages()["gymnasium"]; ok && row.Gymnasium != "" &&
		req.Marker == "" && !allows(req.Specifier, row.Gymnasium) {
		c.AddAt(nil, "pip", fmt.Sprintf("the recipe asks for %s, and the extra rllib of Ray %s takes "+
			"gymnasium %s alone", req, v, row.Gymnasium),
			fmt.Sprintf("write gymnasium==%s, leave gymnasium out, or leave rllib out of ray.extras", row.Gymnasium))
	}
	// conda-forge/ray-packages-feedstock, 2026-05: no ray-rllib for 3.14, as gymnasium was not there yet.
	if compareDotted(minorOf(c.r.Env.Python), "3.14") >= 0 {
		c.note("ray.extras", "RLlib on Python %s is little tried: conda-forge left it out there in May 2026; "+
			"3.12 is safe", minorOf(c.r.Env.Python))
	}
}

// allows tells whether a normal specifier (PEP 440) allows a final release of
// plain numbers. What it cannot tell it allows: the resolver has the last word.
func allows(specifier, version string) bool {
	for clause := range strings.SplitSeq(specifier, ",") {
		op := clause[:len(clause)-len(strings.TrimLeft(clause, "<>=!~"))]
		bound, wild := strings.CutSuffix(clause[len(op):], ".*")
		if strings.Trim(bound, "0123456789.") != "" || bound == "" {
			continue
		}
		order := compareDotted(version, bound)
		within := version == bound || strings.HasPrefix(version+".", bound+".")
		ok := true
		switch op {
		case "==":
			ok = order == 0 || wild && within
		case "!=":
			ok = order != 0 && (!wild || !within)
		case ">=":
			ok = order >= 0
		case ">":
			ok = order > 0
		case "<=":
			ok = order <= 0
		case "<":
			ok = order < 0
		case "~=":
			ok = order >= 0 && strings.HasPrefix(version+".", bound[:strings.LastIndex(bound, ".")+1])
		}
		if !ok {
			return false
		}
	}
	return true
}

// orList reads "3.6, 3.7 or 3.8".
func orList(all []string) string {
	if len(all) == 0 {
		return ""
	}
	if len(all) == 1 {
		return all[0]
	}
	return strings.Join(all[:len(all)-1], ", ") + " or " + all[len(all)-1]
}

func minorOf(version string) string {
	parts := strings.SplitN(version, ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}
