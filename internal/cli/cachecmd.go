package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild/internal/engine"
	"github.com/raybuild/raybuild/internal/fetch"
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

// cacheUse is one part of raybuild's directory.
type cacheUse struct {
	Part  string `json:"part"` // engine, artifacts, locks, tested or registry
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
	What  string `json:"what"`
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
			home, err := a.home()
			if err != nil {
				return err
			}
			all, err := cacheUses(home)
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
			return a.print("%s\n\n%s in %s", table(rows), show.Size(sum), home)
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func cacheUses(home string) ([]cacheUse, error) {
	var all []cacheUse
	for _, part := range []struct{ name, what string }{
		{"engine", "the embedded engine's build cache"},
		{"artifacts", "fetched packages, wheels and installers"},
		{"locks", "locks of recipes with --set"},
		{"tested", "which tests the images that were built here have passed"},
		{"registry", "images of raybuild registry serve; prune leaves them alone"},
	} {
		dir := filepath.Join(home, part.name)
		bytes, err := diskUse(dir)
		if err != nil {
			return nil, fmt.Errorf("measure %q: %w", dir, err)
		}
		all = append(all, cacheUse{part.name, dir, bytes, part.what})
	}
	return all, nil
}

// diskUse is the space that the files below dir take on disk; each of several links to a file
// counts once. What vanishes while it is read, or belongs to another user of a rootless engine, is
// left out.
func diskUse(dir string) (int64, error) {
	seen, sum := map[fileID]bool{}, int64(0)
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return nil //nolint:nilerr // it vanished
		}
		id, taken := onDisk(info)
		if id == (fileID{}) || !seen[id] {
			seen[id] = true
			sum += taken
		}
		return nil
	})
	return sum, err
}

// fileID tells files apart that may have several names; zero where the system does not say.
type fileID struct{ device, file uint64 }

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
			home, err := a.home()
			if err != nil {
				return err
			}
			return a.prune(cmd.Context(), home, limit, all)
		},
	}
	cmd.Flags().StringVar(&keep, "keep", "0", "how much of the artifacts to keep, such as 500MB or 5GB")
	cmd.Flags().BoolVar(&all, "all", false, "also remove the embedded engine's build cache")
	return cmd
}

func (a *app) prune(ctx context.Context, home string, limit int64, all bool) error {
	before, err := cacheUses(home)
	if err != nil {
		return err
	}
	if _, err := fetch.Prune(ctx, filepath.Join(home, "artifacts"), limit); err != nil &&
		!errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("prune artifacts: %w", err)
	}
	for _, part := range []string{"locks", "tested"} {
		if err := os.RemoveAll(filepath.Join(home, part)); err != nil {
			return fmt.Errorf("prune %s: %w", part, err)
		}
	}
	if all {
		if err := a.pruneEngines(ctx, home); err != nil {
			return err
		}
	}
	after, err := cacheUses(home)
	if err != nil {
		return err
	}
	freed := int64(0)
	for i := range before {
		freed += before[i].Bytes - after[i].Bytes
	}
	return a.print("freed %s", show.Size(max(0, freed)))
}

// pruneEngines ends the engine that this environment chooses, and removes the state of all.
func (a *app) pruneEngines(ctx context.Context, home string) error {
	if err := engine.Stop(ctx, engine.Options{Home: home}); err != nil && !errors.Is(err, engine.ErrUnsupported) {
		return fmt.Errorf("end the embedded engine: %w", err)
	}
	if err := os.RemoveAll(filepath.Join(home, "engine")); err != nil {
		return fmt.Errorf("remove the embedded engine's build cache: %w: end builds that are running, or run it as "+
			"the user that built", err)
	}
	return nil
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
