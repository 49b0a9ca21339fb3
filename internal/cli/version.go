package cli

import (
	"runtime"

	"github.com/spf13/cobra"
)

func (a *app) versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Long:    "version prints raybuild's version, and with --json also the Go version and platform that it was built for.",
		Example: "  raybuild version\n  raybuild version --json",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			if asJSON {
				return a.printJSON(map[string]string{
					"version": a.versionText(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
				})
			}
			return a.print("raybuild %s", a.versionText())
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}
