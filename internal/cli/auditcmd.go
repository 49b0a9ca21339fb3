package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/cluster"
	"github.com/raybuild/raybuild/internal/show"
)

// auditFlags are the flags of audit.
type auditFlags struct {
	file, lock, trust           string
	insecure, databases, ignore []string
	asJSON                      bool
}

func (a *app) auditCommand() *cobra.Command {
	var f auditFlags
	cmd := &cobra.Command{
		Use:   "audit [IMAGE]",
		Short: "Find published vulnerabilities of an image's packages",
		Long: `audit looks for advisories of the packages of IMAGE, which raybuild sbom lists.
Without IMAGE it takes the packages of the lock here; those of the base are not
among them.

Advisories come from databases in OSV's format (https://osv.dev), which --db
names: a file, a zip, a directory, or the address of a zip or of a mirror of OSV's
export. Ray's own are built in. audit uses the network for an address alone, and
to ask the registry about IMAGE.

Debian and Ubuntu publish advisories of source packages, and audit compares their
versions. conda publishes none; Python packages that conda installed are found as
Python packages. The exit code is 2 if something is found.`,
		Example: `  raybuild audit --db osv/ registry.example/ray:2.60.0
  raybuild audit --db PyPI/all.zip --db Debian/all.zip --ignore CVE-2023-48022 registry.example/ray:2.60.0
  raybuild audit --db https://osv-vulnerabilities.storage.googleapis.com --json`,
		Args: images(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.audit(cmd.Context(), &f, args) },
	}
	cmd.Flags().StringVarP(&f.file, "file", "f", "", "the recipe whose lock is looked at, without IMAGE, and whose "+
		"identities are believed (default: raybuild.yaml)")
	cmd.Flags().StringVar(&f.lock, "lock", "", "the lock (default: beside the recipe, with its name and the ending "+
		".lock)")
	insecureFlag(cmd.Flags(), &f.insecure)
	billTrustFlag(cmd, &f.trust)
	cmd.Flags().StringArrayVar(&f.databases, "db", nil, "a `DATABASE` of advisories in OSV's format: a file, a zip, a "+
		"directory, or an address (repeatable)")
	cmd.Flags().StringArrayVar(&f.ignore, "ignore", nil, "leave out the advisory with this `ID` (repeatable)")
	jsonFlag(cmd, &f.asJSON)
	return cmd
}

func (a *app) audit(ctx context.Context, f *auditFlags, args []string) error {
	image, packages, err := a.auditedPackages(ctx, f, args)
	if err != nil {
		return err
	}
	o := raybuild.AuditOptions{Ignore: f.ignore}
	for _, db := range f.databases {
		if !strings.Contains(db, "://") {
			db = a.path(db)
		}
		o.Databases = append(o.Databases, db)
	}
	report, err := raybuild.Audit(ctx, packages, o)
	if err != nil {
		return err
	}
	report.Image, report.Databases = image, append([]string{"raybuild's own, of Ray"}, report.Databases...)
	report.Advisories = withRay(report.Advisories, packages, f.ignore)
	if f.asJSON {
		err = a.printJSON(report)
	} else {
		err = a.print("%s", auditText(report))
	}
	if err == nil && len(report.Advisories) > 0 {
		return changesError{}
	}
	return err
}

// auditedPackages are the packages of the image, or of the lock here.
func (a *app) auditedPackages(ctx context.Context, f *auditFlags, args []string) (image string,
	packages []raybuild.ImagePackage, err error) {
	o := a.imageOptions(f.insecure)
	o.Recipe, o.Trust = f.file, raybuild.TrustMode(f.trust)
	if len(args) == 1 {
		bill, err := raybuild.ReadSBOM(ctx, args[0], o, raybuild.SBOMOptions{})
		if err != nil {
			return "", nil, err
		}
		a.unsignedBill(bill)
		return bill.Ref, bill.Packages, nil
	}
	o.Lock = f.lock
	p, err := raybuild.Open(ctx, o)
	if err != nil {
		return "", nil, err
	}
	defer p.Close()
	if !p.HasLock() {
		return "", nil, fmt.Errorf("audit lock %q: there is none: name an image, or run raybuild lock", p.LockFile())
	}
	return "", p.LockedPackages(), nil
}

// withRay adds raybuild's own list of Ray's holes, as far as no database has them.
func withRay(found []raybuild.Advisory, packages []raybuild.ImagePackage, ignore []string) []raybuild.Advisory {
	for _, p := range packages {
		if p.Kind != "python" || p.Name != "ray" {
			continue
		}
		for _, c := range cluster.Advisories(p.Version) {
			if slices.Contains(ignore, c.ID) || slices.ContainsFunc(found, func(a raybuild.Advisory) bool {
				return a.Package == p.Name && (a.ID == c.ID || slices.Contains(a.Aliases, c.ID))
			}) {
				continue
			}
			found = append(found, raybuild.Advisory{ID: c.ID, Package: p.Name, Kind: p.Kind, Version: p.Version,
				Fixed: c.Fixed, Summary: c.Text, Layers: p.Layers})
		}
	}
	slices.SortStableFunc(found, func(a, b raybuild.Advisory) int { return cmp.Compare(a.Package, b.Package) })
	return found
}

// auditText formats the advisories for people.
func auditText(r *raybuild.AuditReport) string {
	var b strings.Builder
	for _, a := range r.Advisories {
		mended := "no version without it is known"
		if a.Fixed != "" {
			mended = "mended in " + a.Fixed
		}
		fmt.Fprintf(&b, "%s  %s %s: %s\n", show.Printable(a.ID), show.Printable(a.Package),
			show.Printable(a.Version), show.Printable(mended))
		if a.Summary != "" {
			fmt.Fprintf(&b, "  %s\n", show.Printable(show.OneLine(a.Summary, 77)))
		}
		if len(a.Aliases) > 0 {
			fmt.Fprintf(&b, "  also %s\n", show.Printable(show.OneLine(strings.Join(a.Aliases, ", "), 72)))
		}
	}
	many := "advisories"
	if len(r.Advisories) == 1 {
		many = "advisory"
	}
	fmt.Fprintf(&b, "%d %s for %d packages", len(r.Advisories), many, r.Packages)
	if len(r.Databases) == 1 {
		b.WriteString("; only Ray's own were looked for: give a database with --db")
	}
	return b.String()
}
