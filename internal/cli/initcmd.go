package cli

import (
	_ "embed"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

//go:embed init.yaml
var initialRecipe []byte

func (a *app) initCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a commented recipe to start from",
		Long: `init writes raybuild.yaml for the default image. It explains every key of a
recipe; most keys are commented out. It never overwrites a file.`,
		Example: "  raybuild init\n  raybuild init -f gpu.yaml",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			f, err := os.OpenFile(a.path(file), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
			if errors.Is(err, os.ErrExist) {
				return fmt.Errorf("write recipe %q: it is there already: remove it, or name another one with -f", file)
			}
			if err != nil {
				return fmt.Errorf("write recipe %q: %w", file, err)
			}
			_, err = f.Write(initialRecipe)
			if err = errors.Join(err, f.Close()); err != nil {
				return fmt.Errorf("write recipe %q: %w", file, errors.Join(err, os.Remove(a.path(file))))
			}
			a.say("wrote %s; next: raybuild --push registry.example/ray:TAG", file)
			return nil
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "raybuild.yaml", "the recipe to write")
	return cmd
}
