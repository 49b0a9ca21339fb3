package cli

import (
	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild/internal/engine"
)

// engineCommand is the hidden command that raybuild runs itself as.
const engineCommand = "engine-serve"

func (a *app) engineCommand() *cobra.Command {
	return &cobra.Command{
		Use:                engineCommand,
		Short:              "Be the embedded build engine",
		Long:               "engine-serve is how raybuild runs its embedded engine. It is started by builds and ends by itself.",
		Example:            "  raybuild doctor   # says whether the engine can run here",
		Hidden:             true,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := engine.ParseServeArgs(args)
			if err != nil {
				return &usageError{err}
			}
			return engine.Serve(cmd.Context(), o)
		},
	}
}
