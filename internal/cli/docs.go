package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// docsCommand writes the reference of the command line, docs/cli, from the commands' own help.
func (a *app) docsCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "docs DIR",
		Short:   "Write the command line's reference as Markdown",
		Long:    "docs writes one Markdown page for each command into DIR. The project's docs/cli is made with it.",
		Example: "  raybuild docs docs/cli",
		Hidden:  true,
		Args:    oneArg("directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := a.path(args[0])
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("make directory for docs: %w", err)
			}
			root := cmd.Root()
			root.Version = "" // a page must not change with the version
			root.DisableAutoGenTag = true
			front := func(string) string { return "" }
			link := func(name string) string { return name }
			if err := doc.GenMarkdownTreeCustom(root, dir, front, link); err != nil {
				return fmt.Errorf("write docs: %w", err)
			}
			return nil
		},
	}
}
