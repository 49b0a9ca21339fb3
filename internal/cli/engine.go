package cli

import (
	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild/internal/builder"
)

func (a *app) engineCommand() *cobra.Command {
	return &cobra.Command{
		Use:   builder.EngineCommand,
		Short: "Be the embedded build engine",
		Long: "engine-serve is how raybuild runs its embedded engine. It is started by builds and " +
			"ends by itself.",
		Example:            "  raybuild doctor   # says whether the engine can run here",
		Hidden:             true,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return builder.Serve(cmd.Context(), args)
		},
	}
}
