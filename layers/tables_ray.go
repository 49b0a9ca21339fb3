package layers

import (
	_ "embed"
	"slices"
	"strings"
	"sync"
)

var (
	//go:embed data/ray.yaml
	extrasData []byte
	//go:embed data/ray-wheels.tsv
	wheelData string
)

// rayRow says what extras releases of Ray have, from one until the next row.
type rayRow struct {
	From      string   `yaml:"from"`
	Extras    []string `yaml:"extras"`
	Gymnasium string   `yaml:"gymnasium"` // the one version that the extra rllib takes; "": it takes none, or any
	Source    string   `yaml:"source"`
}

// rayRelease is what PyPI has of a release of Ray.
type rayRelease struct {
	version string
	// uploaded is the day of its first wheel, "2026-11-04".
	uploaded string
	// pythons are the Pythons that there are wheels for, oldest first, by platform.
	pythons map[string][]string
	// yanked says why the release was withdrawn; "": it was not.
	yanked string
}

//nolint:gochecknoglobals // tables of facts that nothing writes to
var (
	rayRows     = tableOf[rayRow](&extrasData)
	rayReleases = sync.OnceValue(func() []rayRelease { return readWheels(wheelData) })
)

// readWheels reads the table that scripts/refresh-tables makes: version, day,
// Pythons on amd64 and on arm64, reason of withdrawal; "-" stands for none.
func readWheels(text string) []rayRelease {
	list := func(s string) []string {
		if s == "-" {
			return nil
		}
		return strings.Split(s, ",")
	}
	var out []rayRelease
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		if len(f) != 5 || strings.HasPrefix(line, "#") {
			continue
		}
		r := rayRelease{version: f[0], uploaded: f[1],
			pythons: map[string][]string{"linux/amd64": list(f[2]), "linux/arm64": list(f[3])}}
		if f[4] != "-" {
			r.yanked = f[4]
		}
		out = append(out, r)
	}
	return out
}

// on tells whether there is a wheel for a Python on all of some platforms.
func (r rayRelease) on(python string, platforms ...string) bool {
	return !slices.ContainsFunc(platforms, func(p string) bool { return !slices.Contains(r.pythons[p], python) })
}

// allPythons are the Pythons that there is a wheel for on any platform.
func (r rayRelease) allPythons() []string {
	var out []string
	for _, p := range r.pythons {
		for _, python := range p {
			if !slices.Contains(out, python) {
				out = append(out, python)
			}
		}
	}
	slices.SortFunc(out, compareDotted)
	return out
}

// platforms are those that there is a wheel for a Python on, sorted.
func (r rayRelease) platforms(python string) []string {
	var out []string
	for p, pythons := range r.pythons {
		if slices.Contains(pythons, python) {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}

// knownDay is the last day that the table knows of: what was past then is past,
// whatever the machine's clock says.
func knownDay() string {
	day := ""
	for _, r := range rayReleases() {
		day = max(day, r.uploaded)
	}
	return day
}

// newestRay is the newest release that was not withdrawn.
func newestRay() string { return newestRayFor("") }

// newestRayFor is the newest release with wheels for a Python on all of some
// platforms; "" for none. An empty Python is any.
func newestRayFor(python string, platforms ...string) string {
	for _, r := range slices.Backward(rayReleases()) {
		if r.yanked == "" && (python == "" || len(r.platforms(python)) > 0 && r.on(python, platforms...)) {
			return r.version
		}
	}
	return ""
}

// rayReleaseOf is the release that a version is, or, where the table does not
// have it, the one before it; next is the one after that. exact tells which.
func rayReleaseOf(version string) (r rayRelease, next string, exact bool) {
	all := rayReleases()
	i := len(all) - 1
	for i > 0 && compareDotted(version, all[i].version) < 0 {
		i--
	}
	if i+1 < len(all) {
		next = all[i+1].version
	}
	return all[i], next, all[i].version == version
}

// rayRowOf is the row of a release; false for one that is older than the table.
func rayRowOf(version string) (rayRow, bool) {
	for _, r := range slices.Backward(rayRows()) {
		if compareDotted(version, r.From) >= 0 {
			return r, true
		}
	}
	return rayRow{}, false
}

// defaultExtras are what an image has that says nothing of extras.
func defaultExtras(version string) []string {
	row, ok := rayRowOf(version)
	var out []string
	for _, e := range []string{"default", "rllib", "tune"} {
		if !ok || slices.Contains(row.Extras, e) {
			out = append(out, e)
		}
	}
	return out
}
