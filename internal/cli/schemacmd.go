package cli

import (
	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild/cluster"
	"github.com/raybuild/raybuild/layers"
)

// schemaCommand prints the JSON Schemas of the files that raybuild reads, and their reference pages.
func (a *app) schemaCommand() *cobra.Command {
	var page bool
	cmd := &cobra.Command{
		Use:   "schema recipe|cluster",
		Short: "Print the JSON Schema of a recipe or of a cluster's file",
		Long: `schema prints the JSON Schema (draft 2020-12) of raybuild.yaml or of
cluster.yaml, for editors and other tools.

With --page it prints the file's reference in Markdown: every key with its type,
default and an example. Both are made from the description that raybuild itself
reads the file by. An editor finds the schema by the first line of a file;
"raybuild init" and "raybuild cluster init" write that line.`,
		Example:   "  raybuild schema recipe >recipe.schema.json\n  raybuild schema cluster --page",
		ValidArgs: []string{"recipe", "cluster"},
		Args:      oneArg("file: recipe or cluster"),
		RunE: func(_ *cobra.Command, args []string) error {
			out, err := fileReference(args[0], page)
			if err != nil {
				return err
			}
			_, err = a.stdout.Write(out)
			return err
		},
	}
	cmd.Flags().BoolVar(&page, "page", false, "print the file's reference in Markdown")
	return cmd
}

// fileReference returns the JSON Schema or the reference page of a file.
func fileReference(file string, page bool) ([]byte, error) {
	switch {
	case file == "recipe" && page:
		return layers.RecipePage(), nil
	case file == "recipe":
		return layers.RecipeSchema()
	case file == "cluster" && page:
		return cluster.Page(), nil
	case file == "cluster":
		return cluster.Schema()
	}
	return nil, usagef("there is no schema of %q: write recipe or cluster", file)
}
