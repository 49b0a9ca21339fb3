package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/wholefile"
)

// sbomFlags are the flags of sbom.
type sbomFlags struct {
	insecure    []string
	format, out string
	trust       string
	files       bool
}

func (a *app) sbomCommand() *cobra.Command {
	var f sbomFlags
	cmd := &cobra.Command{
		Use:   "sbom IMAGE",
		Short: "Print what an image is made of, as SPDX or CycloneDX",
		Long: `sbom lists the packages of IMAGE: of apt, of conda and of Python, each with
version, licence, source, digest and the layer that holds it. It lists the
base, the recipe's files and steps too.

The list is made again, of the image's lock and of what its layers say. The bill
that raybuild attaches to each image it pushes should have the same bytes; sbom
says so if it has not. If the recipe in this directory names identities
(trust.signed_by), only a bill that one of them has signed counts. Of an image
that raybuild did not build, all layers are read. What was read is kept in
RAYBUILD_HOME.`,
		Example: `  raybuild sbom registry.example/ray:2.60.0 > ray.spdx.json
  raybuild sbom --format cyclonedx -o ray.cdx.json registry.example/ray:2.60.0
  raybuild sbom --files registry.example/ray:2.60.0`,
		Args: oneArg("IMAGE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := registry.Host(args[0]); err != nil {
				return &usageError{err}
			}
			if f.format != "spdx" && f.format != "cyclonedx" {
				return usagef("--format %q: must be spdx or cyclonedx", f.format)
			}
			return a.sbom(cmd.Context(), f, args[0])
		},
	}
	insecureFlag(cmd.Flags(), &f.insecure)
	billTrustFlag(cmd, &f.trust)
	cmd.Flags().StringVar(&f.format, "format", "spdx", "`FORM` of the list: spdx (2.3) or cyclonedx (1.6), as JSON")
	cmd.Flags().StringVarP(&f.out, "output", "o", "", "write the list to `FILE` (default: standard output)")
	cmd.Flags().BoolVar(&f.files, "files", false,
		"also list the files that belong to no package, step or file of the recipe; all layers are read")
	return cmd
}

func (a *app) sbom(ctx context.Context, f sbomFlags, ref string) error {
	o := a.imageOptions(f.insecure)
	o.Trust = raybuild.TrustMode(f.trust)
	bill, err := raybuild.ReadSBOM(ctx, ref, o, raybuild.SBOMOptions{Files: f.files})
	if err != nil {
		return err
	}
	a.unsignedBill(bill)
	write := bill.SPDX
	if f.format == "cyclonedx" {
		write = bill.CycloneDX
	}
	data, err := write()
	if err != nil {
		return err
	}
	if bill.Attached == raybuild.AttachedOther {
		a.warn("the bill of materials that is attached to %s differs from this one: another version of "+
			"raybuild made it, or somebody else", bill.Ref)
	}
	for platform, files := range bill.Unowned {
		a.say("%s: %d files belong to no package, step or file of the recipe", platform, len(files))
	}
	if f.out == "" {
		return a.print("%s", strings.TrimRight(string(data), "\n"))
	}
	if err := wholefile.Write(a.path(f.out), data, 0o644); err != nil {
		return fmt.Errorf("write bill of materials: %w", err)
	}
	return nil
}
