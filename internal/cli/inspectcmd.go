package cli

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/containerd/platforms"
	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/show"
	"github.com/raybuild/raybuild/layers"
)

func (a *app) inspectCommand() *cobra.Command {
	var (
		insecure                           []string
		trust                              string
		asJSON, asLock, asRecipe, packages bool
	)
	cmd := &cobra.Command{
		Use:   "inspect IMAGE",
		Short: "Show an image's layers, sizes, config and lock",
		Long: `inspect asks the registry about IMAGE: digest, platforms, base, each layer with
its size and what made it, what its containers start with, and the lock that it
was built from. No layer is pulled. --recipe prints what raybuild verify makes it of.`,
		Example: `  raybuild inspect registry.example/ray:2.60.0
  raybuild inspect --json registry.example/ray:2.60.0
  raybuild inspect --packages registry.example/ray:2.60.0
  raybuild inspect --lock registry.example/ray:2.60.0 > raybuild.lock`,
		Args: oneArg("IMAGE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := registry.Host(args[0]); err != nil {
				return &usageError{err}
			}
			if (asJSON || packages) && (asLock || asRecipe) || asLock && asRecipe {
				return usagef("--lock, --recipe, --packages and --json are for standard output: give one of them, or " +
					"--packages with --json")
			}
			if packages {
				o := a.imageOptions(insecure)
				o.Trust = raybuild.TrustMode(trust)
				return a.inspectPackages(cmd.Context(), o, args[0], asJSON)
			}
			if trust != "" {
				return usagef("--trust is for --packages")
			}
			return a.inspect(cmd.Context(), a.imageOptions(insecure), args[0], asJSON, asLock, asRecipe)
		},
	}
	insecureFlag(cmd.Flags(), &insecure)
	billTrustFlag(cmd, &trust)
	cmd.Flags().BoolVar(&asLock, "lock", false, "print the lock that the image was built from, and nothing else")
	cmd.Flags().BoolVar(&asRecipe, "recipe", false,
		"print the recipe that the image carries, as JSON with all defaults")
	cmd.Flags().BoolVar(&packages, "packages", false,
		"print the image's packages of apt, conda and Python, each with the layer that holds it (see sbom)")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// inspectPackages prints the packages of an image.
func (a *app) inspectPackages(ctx context.Context, o raybuild.Options, ref string, asJSON bool) error {
	bill, err := raybuild.ReadSBOM(ctx, ref, o, raybuild.SBOMOptions{})
	if err != nil {
		return err
	}
	a.unsignedBill(bill)
	if asJSON {
		return a.printJSON(bill.Packages)
	}
	return a.print("%s", packagesText(bill.Packages))
}

// packagesText formats packages for people, in lines of at most 80 characters.
func packagesText(all []raybuild.ImagePackage) string {
	var b strings.Builder
	for platform, of := range byPlatform(all) {
		if b.Len() > 0 {
			b.WriteString("\n\n")
		}
		fmt.Fprintf(&b, "%-10s%s\n%-10s%d\n", "platform", platform, "packages", len(of))
		rows := [][]string{{"NAME", "VERSION", "KIND", "LAYER"}}
		for _, p := range of {
			layer := show.OneLine(p.Layers[0].Title, 15)
			if n := len(p.Layers); n > 1 {
				layer += fmt.Sprintf(" +%d", n-1)
			}
			rows = append(rows, []string{show.Printable(show.OneLine(p.Name, 28)),
				show.Printable(show.OneLine(p.Version, 20)), p.Kind, show.Printable(layer)})
		}
		b.WriteString(table(rows))
	}
	return b.String()
}

// byPlatform gives the packages of each platform, in their order.
func byPlatform(all []raybuild.ImagePackage) iter.Seq2[string, []raybuild.ImagePackage] {
	return func(yield func(string, []raybuild.ImagePackage) bool) {
		for len(all) > 0 {
			n := slices.IndexFunc(all, func(p raybuild.ImagePackage) bool { return p.Platform != all[0].Platform })
			if n < 0 {
				n = len(all)
			}
			if !yield(all[0].Platform, all[:n]) {
				return
			}
			all = all[n:]
		}
	}
}

func (a *app) inspect(ctx context.Context, o raybuild.Options, ref string, asJSON, asLock,
	asRecipe bool) error {
	all, err := raybuild.Inspect(ctx, ref, o)
	if err != nil {
		return err
	}
	switch {
	case asLock && all.Lock == "":
		return fmt.Errorf("image %q carries no lock: it was not pushed by raybuild, or copied without its referrers",
			ref)
	case asLock:
		return a.print("%s", strings.TrimRight(all.Lock, "\n"))
	case asRecipe && all.Recipe == nil:
		return fmt.Errorf("image %q carries no recipe: it was not pushed by raybuild, or copied without its referrers",
			ref)
	case asRecipe:
		return a.printJSON(all.Recipe)
	case asJSON:
		return a.printJSON(all)
	}
	return a.print("%s", inspectText(all))
}

// inspectText formats the inspection for people.
func inspectText(i *raybuild.Inspection) string {
	var b strings.Builder
	line := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-10s%s\n", key, show.Printable(value)) // an image's text is not trusted
		}
	}
	line("image", i.Ref)
	line("graph", i.Graph)
	if i.Lock == "" {
		line("lock", "none")
	} else {
		line("lock", fmt.Sprintf("attached, %s (raybuild inspect --lock prints it)", show.Size(int64(len(i.Lock)))))
	}
	for _, p := range i.Platforms {
		b.WriteString("\n")
		line("platform", platforms.Format(p.Platform))
		line("manifest", p.Digest.String())
		line("size", show.Size(p.Size))
		if p.Created != nil {
			line("created", p.Created.UTC().Format(time.RFC3339))
		}
		line("base", strings.Trim(p.BaseName+"@"+p.BaseDigest, "@"))
		line("ray", p.Config.Labels[layers.RayLabel])
		line("python", p.Config.Labels[layers.PythonLabel])
		line("user", p.Config.User)
		line("workdir", p.Config.WorkingDir)
		line("command", strings.Join(append(append([]string{}, p.Config.Entrypoint...), p.Config.Cmd...), " "))
		rows := [][]string{{"LAYER", "SIZE", "MADE BY"}}
		for _, l := range p.Layers {
			rows = append(rows, []string{show.Short(l.Digest.String()), show.Size(l.Size),
				show.Printable(show.OneLine(l.History, 80))})
		}
		b.WriteString(table(rows) + "\n")
	}
	return strings.TrimRight(b.String(), "\n")
}
