package osv

import (
	"errors"
	"slices"

	debversion "github.com/knqyf263/go-deb-version"
	"golang.org/x/mod/semver"

	"github.com/raybuild/raybuild/internal/pylock"
)

var errNoID = errors.New("it has no id")

// compare orders two versions of an ecosystem. ok is false if one of them is none.
func compare(ecosystem, a, b string) (c int, ok bool) {
	switch family(ecosystem) {
	case "PyPI":
		return pylock.CompareVersions(a, b)
	case "Debian", "Ubuntu":
		v, err := debversion.NewVersion(a)
		if err != nil {
			return 0, false
		}
		w, err := debversion.NewVersion(b)
		return v.Compare(w), err == nil
	}
	return 0, false
}

// compareIn orders two versions by a range's type.
func compareIn(kind, ecosystem, a, b string) (c int, ok bool) {
	if kind != "SEMVER" {
		return compare(ecosystem, a, b)
	}
	a, b = "v"+a, "v"+b
	return semver.Compare(a, b), semver.IsValid(a) && semver.IsValid(b)
}

// hits tells whether an advisory is for a version, and the lowest version after it in which it is mended.
func (a affected) hits(p Package) (hit bool, fixed string) {
	hit = slices.ContainsFunc(a.Versions, func(v string) bool {
		c, ok := compare(p.Ecosystem, v, p.Version)
		return v == p.Version || ok && c == 0
	})
	for _, r := range a.Ranges {
		if r.Type != "ECOSYSTEM" && r.Type != "SEMVER" {
			continue // git commits
		}
		if r.has(p) {
			hit = true
		}
		for _, e := range r.Events {
			after, ok := compareIn(r.Type, p.Ecosystem, e.Fixed, p.Version)
			if e.Fixed == "" || !ok || after <= 0 {
				continue
			}
			if c, ok := compareIn(r.Type, p.Ecosystem, e.Fixed, fixed); fixed == "" || ok && c < 0 {
				fixed = e.Fixed
			}
		}
	}
	return hit, fixed
}

// has tells whether a range has a version, by the schema's rules ("Evaluation"): of the events up to the version, in
// the versions' order, the last one counts.
func (r versionRange) has(p Package) bool {
	events := slices.Clone(r.Events)
	order := func(a, b string) int { // "0" is before all versions
		switch {
		case a == b:
			return 0
		case a == "0":
			return -1
		case b == "0":
			return 1
		}
		c, _ := compareIn(r.Type, p.Ecosystem, a, b)
		return c
	}
	for _, e := range events {
		v := e.version()
		if _, ok := compareIn(r.Type, p.Ecosystem, v, p.Version); v != "0" && v != "" && !ok {
			return false // a version that is none: the list of versions tells
		}
	}
	slices.SortStableFunc(events, func(a, b event) int { return order(a.version(), b.version()) })
	in := false
	for _, e := range events {
		switch {
		case e.Introduced != "" && order(p.Version, e.Introduced) >= 0:
			in = true
		case e.Fixed != "" && order(p.Version, e.Fixed) >= 0,
			e.LastAffected != "" && order(p.Version, e.LastAffected) > 0:
			in = false
		}
	}
	return in
}
