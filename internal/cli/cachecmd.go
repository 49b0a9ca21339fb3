package cli

import (
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/show"
)

func (a *app) cacheCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Show or clear what raybuild keeps on this machine",
		Long: "cache shows and clears raybuild's own directory: the embedded engine's build cache, fetched " +
			"artifacts, locks made by --set, and the tests that images have passed.",
		Example: "  raybuild cache du\n  raybuild cache prune",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.cacheDuCommand(), a.cachePruneCommand())
	return cmd
}

func (a *app) cacheDuCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "du",
		Short: "Show how much disk raybuild's directory takes",
		Long: "du shows each part of raybuild's directory (RAYBUILD_HOME, default ~/.cache/raybuild) with the disk " +
			"space that it takes.",
		Example: "  raybuild cache du\n  raybuild cache du --json",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			all, err := raybuild.CacheParts(a.options())
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(all)
			}
			rows, sum := [][]string{{"PART", "SIZE", "WHAT"}}, int64(0)
			for _, u := range all {
				rows = append(rows, []string{u.Part, show.Size(u.Bytes), u.What})
				sum += u.Bytes
			}
			return a.print("%s\n\n%s in %s", table(rows), show.Size(sum), filepath.Dir(all[0].Path))
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (a *app) cachePruneCommand() *cobra.Command {
	var (
		keep string
		all  bool
	)
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Clear what raybuild keeps on this machine",
		Long: `prune removes fetched artifacts, those first that were not used for longest,
until at most --keep is left (default: none). It also removes locks made by
--set and the record of which tests images have passed. With --all it ends the
embedded engine and removes its build cache, too; without --all that cache keeps
its own limit.

Nothing is lost: what is removed is fetched, built or tested again when it is
needed. Images in registries stay.`,
		Example: "  raybuild cache prune\n  raybuild cache prune --keep 5GB\n  raybuild cache prune --all",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			limit, err := parseSize(keep)
			if err != nil {
				return err
			}
			freed, err := raybuild.PruneCache(cmd.Context(), a.options(),
				raybuild.PruneOptions{Keep: limit, Engine: all})
			if err != nil {
				return err
			}
			return a.print("freed %s", show.Size(freed))
		},
	}
	cmd.Flags().StringVar(&keep, "keep", "0", "how much of the artifacts to keep, such as 500MB or 5GB")
	cmd.Flags().BoolVar(&all, "all", false, "also remove the embedded engine's build cache")
	return cmd
}

// parseSize reads "5GB", "500MB", "12k" or a number of bytes.
func parseSize(text string) (int64, error) {
	number := strings.TrimSuffix(strings.ToUpper(strings.TrimSpace(text)), "B")
	factor := int64(1)
	for i, unit := range []string{"K", "M", "G", "T"} {
		if cut, ok := strings.CutSuffix(number, unit); ok {
			number = cut
			for range i + 1 {
				factor *= 1000
			}
			break
		}
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || n < 0 || n*float64(factor) > 1<<62 {
		return 0, usagef("size %q: write it as 500MB or 5GB", text)
	}
	return int64(n * float64(factor)), nil
}
