package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild"
)

func (a *app) doctorCommand() *cobra.Command {
	var (
		o      builderOptions
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what is missing here, and the command that mends it",
		Long: `doctor looks at this machine: what the embedded engine needs (a container
runtime, root or a user namespace, overlayfs, disk), the Docker Engine,
raybuild's own directory, and where pip, uv, conda and apt of this machine fetch
from (the mirror "host" of a recipe). It says which builder a build would use,
why it cannot use others, and for each missing thing the command that installs
it.

Exit code 1 means that nothing here can build.`,
		Example: "  raybuild doctor\n  raybuild doctor --builder tcp://builder.example:1234\n  raybuild doctor --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options := a.imageOptions(o.insecure)
			options.Builder = o.builder
			r := raybuild.Doctor(cmd.Context(), options)
			if err := a.printDiagnosis(r, asJSON); err != nil {
				return err
			}
			if r.Builder == "" {
				return errors.New("nothing here can build: mend one of the above")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&o.builder, "builder", "", "BuildKit to look at, as a build names it (default: as "+
		"for a build)")
	insecureFlag(cmd.Flags(), &o.insecure)
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (a *app) printDiagnosis(d *raybuild.Diagnosis, asJSON bool) error {
	if asJSON {
		return a.printJSON(d)
	}
	rows := [][]string{{"", "WHAT", "FOUND"}}
	for _, f := range d.Findings {
		mark := "ok"
		if !f.OK {
			mark = "-"
		}
		rows = append(rows, []string{mark, f.Name, f.Detail})
		if f.Fix != "" {
			rows = append(rows, []string{"", "", "to mend: " + f.Fix})
		}
	}
	for _, p := range d.Host {
		rows = append(rows, []string{"ok", "host " + p.What, p.Text + " (" + p.From + ")"})
	}
	for _, n := range d.Notes {
		rows = append(rows, []string{"-", "host", n})
	}
	builder := d.Builder
	if builder == "" {
		builder = "none"
	}
	return a.print("%s\n\nbuilder: %s", table(rows), builder)
}
