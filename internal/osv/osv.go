// Package osv finds advisories of packages in databases of the OSV format (https://ossf.github.io/osv-schema/), given
// as files, directories, or the address of a mirror. Without an address it uses no network.
package osv

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/raybuild/raybuild/internal/pylock"
)

// Package is a package that is looked for.
type Package struct {
	// Ecosystem is OSV's: "PyPI", "Debian:12", "Ubuntu:22.04".
	Ecosystem string
	// Name as the ecosystem's advisories have it: of PyPI the normal form, of Debian the source package.
	Name string
	// Version as the package system writes it.
	Version string
}

// Finding is an advisory of a package.
type Finding struct {
	Package
	// ID of the advisory, and Aliases, its other ids, sorted.
	ID      string
	Aliases []string
	// Summary is one line; it may be empty.
	Summary string
	// Fixed is the lowest version after the package's in which it is mended; "": the advisory names none.
	Fixed string
}

// record is what is read of an advisory.
type record struct {
	ID        string     `json:"id"`
	Withdrawn string     `json:"withdrawn"`
	Aliases   []string   `json:"aliases"`
	Upstream  []string   `json:"upstream"`
	Summary   string     `json:"summary"`
	Details   string     `json:"details"`
	Affected  []affected `json:"affected"`
}

type affected struct {
	Package struct {
		Ecosystem string `json:"ecosystem"`
		Name      string `json:"name"`
	} `json:"package"`
	Ranges   []versionRange `json:"ranges"`
	Versions []string       `json:"versions"`
}

type versionRange struct {
	Type   string  `json:"type"`
	Events []event `json:"events"`
}

// event is a point at which a range begins or ends. One of its fields is set.
type event struct {
	Introduced   string `json:"introduced"`
	Fixed        string `json:"fixed"`
	LastAffected string `json:"last_affected"`
}

func (e event) version() string { return cmp.Or(e.Introduced, e.Fixed, e.LastAffected) }

// Matcher finds advisories of packages.
type Matcher struct {
	byName map[[2]string][]Package // by the ecosystem's first word, and name
	found  map[Package][]Finding
}

// NewMatcher returns a matcher for packages.
func NewMatcher(packages []Package) *Matcher {
	m := &Matcher{byName: map[[2]string][]Package{}, found: map[Package][]Finding{}}
	for _, p := range packages {
		at := [2]string{family(p.Ecosystem), p.Name}
		if !slices.Contains(m.byName[at], p) {
			m.byName[at] = append(m.byName[at], p)
		}
	}
	return m
}

// family is an ecosystem without its release.
func family(ecosystem string) string {
	name, _, _ := strings.Cut(ecosystem, ":")
	return name
}

// Ecosystems are the first words of the packages' ecosystems, sorted: the directories of OSV's export.
func (m *Matcher) Ecosystems() []string {
	var out []string
	for at := range m.byName {
		out = append(out, at[0])
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Add looks at one advisory. It ignores one that was withdrawn, and ranges of git commits.
func (m *Matcher) Add(advisory []byte) error {
	var r record
	if err := json.Unmarshal(advisory, &r); err != nil {
		return fmt.Errorf("read advisory: %w", err)
	}
	if r.ID == "" {
		return fmt.Errorf("read advisory: %w", errNoID)
	}
	if r.Withdrawn != "" {
		return nil
	}
	for _, a := range r.Affected {
		name := a.Package.Name
		if family(a.Package.Ecosystem) == "PyPI" {
			name = pylock.Normal(name)
		}
		for _, p := range m.byName[[2]string{family(a.Package.Ecosystem), name}] {
			if !sameRelease(p.Ecosystem, a.Package.Ecosystem) {
				continue
			}
			if hit, fixed := a.hits(p); hit {
				m.note(p, r, fixed)
			}
		}
	}
	return nil
}

// sameRelease tells whether an advisory of an ecosystem is for packages of another. Ubuntu's advisories add ":LTS" to
// the release; those for Ubuntu Pro name packages that the archive does not have. An ecosystem without a release is for
// all releases.
func sameRelease(mine, theirs string) bool {
	return mine == theirs || theirs == family(mine) || theirs == mine+":LTS"
}

// note adds a finding. An advisory that is another name of one that was found before is joined with it.
func (m *Matcher) note(p Package, r record, fixed string) {
	names := append([]string{r.ID}, r.Aliases...)
	if family(p.Ecosystem) != "PyPI" {
		names = append(names, r.Upstream...) // of a distribution: the CVE that it is about
	}
	all := Finding{Package: p, ID: r.ID, Summary: summary(r), Fixed: fixed}
	var rest []Finding
	for _, f := range m.found[p] {
		known := append([]string{f.ID}, f.Aliases...)
		if !slices.ContainsFunc(known, func(id string) bool { return slices.Contains(names, id) }) {
			rest = append(rest, f)
			continue
		}
		names = append(names, known...)
		all.Summary = cmp.Or(all.Summary, f.Summary)
		if c, ok := compare(p.Ecosystem, f.Fixed, all.Fixed); all.Fixed == "" || f.Fixed != "" && ok && c < 0 {
			all.Fixed = f.Fixed
		}
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b)) })
	names = slices.Compact(names)
	all.ID, all.Aliases = names[0], slices.Clone(names[1:])
	m.found[p] = append(rest, all)
}

// rank puts the ids that most people know first.
func rank(id string) int {
	for i, prefix := range []string{"CVE-", "GHSA-", "PYSEC-", "DSA-", "DLA-", "USN-"} {
		if strings.HasPrefix(id, prefix) {
			return i
		}
	}
	return 9
}

func summary(r record) string {
	if r.Summary != "" {
		return r.Summary
	}
	text, _, _ := strings.Cut(strings.TrimSpace(r.Details), "\n")
	return text
}

// Findings are all that were found, sorted by package, version and id. ignore has ids that are left out.
func (m *Matcher) Findings(ignore ...string) []Finding {
	out := []Finding{}
	for _, all := range m.found {
		for _, f := range all {
			if !slices.ContainsFunc(append([]string{f.ID}, f.Aliases...), func(id string) bool {
				return slices.Contains(ignore, id)
			}) {
				out = append(out, f)
			}
		}
	}
	slices.SortFunc(out, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Ecosystem, b.Ecosystem), cmp.Compare(a.Name, b.Name),
			cmp.Compare(a.Version, b.Version), cmp.Compare(a.ID, b.ID))
	})
	return out
}
