package cli

import (
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Who fetches artifacts.
const (
	fetchSession = "session"
	fetchBuilder = "builder"
)

// bundleScheme begins the name of a bundle in a registry.
const bundleScheme = "oci://"

// bundleUsage explains how --fetch names a bundle.
const bundleUsage = "take artifacts and base images from a bundle, and only what it lacks from mirrors and " +
	"registries: the `DIR` of raybuild bundle, or oci://HOST/NAME:TAG (repeatable)"

// fetchFlag adds --fetch for bundles.
func fetchFlag(cmd *cobra.Command, o *recipeOptions) {
	cmd.Flags().StringArrayVar(&o.fetch, "fetch", nil, bundleUsage)
	_ = cmd.RegisterFlagCompletionFunc("fetch", completeDirs) // the only possible error is an unknown flag
}

// buildFetchFlag adds --fetch of a build.
func buildFetchFlag(f *pflag.FlagSet, o *recipeOptions) {
	f.StringArrayVar(&o.fetch, "fetch", nil, bundleUsage+"; or who fetches artifacts: session (this machine, which "+
		"hands them to the builder; the default) or builder (for a builder that is far from here)")
}

func completeDirs(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

// bundles are the bundles that --fetch names.
func (o *recipeOptions) bundles() []string {
	return slices.DeleteFunc(slices.Clone(o.fetch), func(s string) bool {
		return s == fetchSession || s == fetchBuilder
	})
}

// builderFetches tells whether --fetch says that the builder fetches.
func (o *recipeOptions) builderFetches() bool { return slices.Contains(o.fetch, fetchBuilder) }

// checkFetch refuses values of --fetch that make no sense. mode says that session and builder do.
func (o *recipeOptions) checkFetch(a *app, mode bool) error {
	bundles := o.bundles()
	switch modes := len(o.fetch) - len(bundles); {
	case modes > 0 && !mode:
		return usagef("--fetch %q: this command takes bundles alone: the directory of one, or oci://HOST/NAME:TAG",
			o.fetch)
	case modes > 1:
		return usagef("--fetch %q: give session or builder once", o.fetch)
	case o.builderFetches() && len(bundles) > 0:
		return usagef("--fetch %q: a bundle is here, and the builder cannot fetch from it: leave out builder", o.fetch)
	}
	for _, name := range bundles {
		if strings.HasPrefix(name, bundleScheme) {
			continue
		}
		if info, err := os.Stat(a.path(name)); err != nil || !info.IsDir() {
			return usagef("--fetch %q: must be session or builder, the directory of a bundle, or oci://HOST/NAME:TAG; "+
				"there is no such directory", name)
		}
	}
	return nil
}
