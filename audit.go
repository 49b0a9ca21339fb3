package raybuild

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/raybuild/raybuild/internal/osv"
	"github.com/raybuild/raybuild/internal/pylock"
	"github.com/raybuild/raybuild/internal/sbom"
)

// AuditOptions say where advisories come from. The zero value has none.
type AuditOptions struct {
	// Databases have advisories in OSV's format: a JSON file, a zip of them, a directory of both, or the address of a
	// zip or of a mirror of OSV's export. Only an address uses the network.
	Databases []string
	// Ignore has ids of advisories that are left out. Any of an advisory's ids leaves it out.
	Ignore []string
}

// Advisory is a published hole of a package. Its JSON is that of "raybuild audit --json".
type Advisory struct {
	ID      string   `json:"id"`
	Aliases []string `json:"aliases,omitempty"` // its other ids
	Package string   `json:"package"`
	Kind    string   `json:"kind"` // deb or python
	Version string   `json:"version"`
	Fixed   string   `json:"fixed,omitempty"` // the lowest version without it; "": there is none, or it is not known
	Summary string   `json:"summary,omitempty"`
	// Layers hold the package. Empty: there is no image.
	Layers []PackageLayer `json:"layers,omitempty"`
}

// AuditReport is what an audit found. Its JSON is that of "raybuild audit --json".
type AuditReport struct {
	Image      string     `json:"image,omitempty"` // by digest; "": packages of a lock
	Packages   int        `json:"packages"`        // how many were looked for
	Databases  []string   `json:"databases"`       // without passwords
	Advisories []Advisory `json:"advisories"`      // sorted by package and id
}

// Audit finds advisories of packages in databases. It knows Debian and Python packages. conda's have no advisories of
// their own; the Python packages in them are found as such.
func Audit(ctx context.Context, packages []ImagePackage, o AuditOptions) (_ *AuditReport, err error) {
	defer public(ctx, &err)
	sought := map[osv.Package][]ImagePackage{}
	var all []osv.Package
	for _, p := range packages {
		if q, ok := osvPackage(p); ok {
			if sought[q] == nil {
				all = append(all, q)
			}
			sought[q] = append(sought[q], p)
		}
	}
	m := osv.NewMatcher(all)
	for _, db := range o.Databases {
		if err := m.Read(ctx, db, osv.ReadOptions{}); err != nil {
			return nil, err
		}
	}
	out := &AuditReport{Packages: len(packages), Databases: []string{}, Advisories: []Advisory{}}
	for _, db := range o.Databases {
		out.Databases = append(out.Databases, osv.Redacted(db))
	}
	for _, f := range m.Findings(o.Ignore...) {
		for _, p := range sought[f.Package] {
			out.Advisories = append(out.Advisories, Advisory{ID: f.ID, Aliases: f.Aliases, Package: p.Name,
				Kind: p.Kind, Version: p.Version, Fixed: f.Fixed, Summary: f.Summary, Layers: p.Layers})
		}
	}
	slices.SortStableFunc(out.Advisories, func(a, b Advisory) int {
		return cmp.Or(cmp.Compare(a.Package, b.Package), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

// osvPackage is a package as advisories name it. ok is false if nobody publishes advisories of its kind.
func osvPackage(p ImagePackage) (q osv.Package, ok bool) {
	switch p.Kind {
	case sbom.Python:
		return osv.Package{Ecosystem: "PyPI", Name: pylock.Normal(p.Name), Version: p.Version}, true
	case sbom.Deb:
		id, release, _ := strings.Cut(p.Distro, "-")
		ecosystem := map[string]string{"debian": "Debian", "ubuntu": "Ubuntu"}[id]
		return osv.Package{Ecosystem: ecosystem + ":" + release, Name: cmp.Or(p.Source, p.Name),
			Version: cmp.Or(p.SourceVersion, p.Version)}, ecosystem != "" && release != ""
	}
	return q, false
}

// LockedPackages are the packages of the project's lock. The base's are not among them, and no layer is known.
func (p *Project) LockedPackages() []ImagePackage {
	bill := &sbom.Bill{}
	for _, name := range p.platform {
		locked := p.locked()[name]
		if locked == nil {
			continue
		}
		one := sbom.Layer{}
		for _, part := range newLockedParts(locked).byDigest {
			if part.Kind == sbom.Deb {
				part.Distro = strings.Trim(locked.Base.ID+"-"+locked.Base.Release, "-")
			}
			one.Parts = append(one.Parts, part)
		}
		bill.Platforms = append(bill.Platforms, sbom.Platform{Name: name, Layers: []sbom.Layer{one}})
	}
	all := packagesOf(bill)
	for i := range all {
		all[i].Layers = nil
	}
	return all
}
