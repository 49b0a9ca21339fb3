package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/show"
)

func (a *app) diffCommand() *cobra.Command {
	var (
		insecure []string
		asJSON   bool
	)
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Show what differs between two images, and what a node on A pulls for B",
		Long: `diff compares two images of registries: their packages (apt, conda, pip,
installer, base), configs and layers, and how many bytes a node that has A pulls
for B. Packages come from the locks that travel with images that raybuild
pushed. For an image without a lock, diff compares config and layers only, and
says so. No layer is pulled.`,
		Example: `  raybuild diff registry.example/ray:2.59.0 registry.example/ray:2.60.0
  raybuild diff --json registry.example/ray:main registry.example/ray:pr-7`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("%q takes two images, got %d: see %s --help", cmd.CommandPath(), len(args),
					cmd.CommandPath())
			}
			return images(2)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.diff(cmd.Context(), a.imageOptions(insecure), args[0], args[1], asJSON)
		},
	}
	insecureFlag(cmd.Flags(), &insecure)
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (a *app) diff(ctx context.Context, o raybuild.Options, first, second string, asJSON bool) error {
	d, err := raybuild.Diff(ctx, first, second, o)
	if err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(d)
	}
	return a.print("%s", diffText(d))
}

// diffText formats the difference for people.
func diffText(r *raybuild.ImageDiff) string {
	if r.Same {
		return "the same image: " + r.A
	}
	var b strings.Builder
	fmt.Fprintf(&b, "A  %s\nB  %s\n", r.A, r.B)
	sign := map[string]string{"added": "+", "removed": "-", "changed": "~"}
	rows := [][]string{}
	for _, p := range r.Packages {
		rows = append(rows, []string{sign[p.Change], p.Kind, show.Printable(p.Name),
			show.Printable(arrow(p.From, p.To)), ofPlatform(r, p.Platform)})
	}
	section := func(title, none string) {
		if len(rows) == 0 {
			title, rows = title+": "+none, nil
		}
		fmt.Fprintf(&b, "\n%s\n", title)
		if len(rows) > 0 {
			b.WriteString(table(rows) + "\n")
		}
		rows = nil
	}
	if r.Locks {
		section("packages", "no difference")
	} else {
		section("packages", "not known, one of the images carries no lock (not pushed by raybuild, or copied without "+
			"its referrers)")
	}
	for _, c := range r.Config {
		rows = append(rows, []string{show.Printable(c.Key), show.OneLine(show.Printable(arrow(c.From, c.To)), 120),
			ofPlatform(r, c.Platform)})
	}
	section("config", "no difference")
	for _, l := range r.Layers {
		rows = append(rows, []string{l.State, show.Short(l.Digest.String()), show.Size(l.Size),
			show.OneLine(show.Printable(l.History), 60), ofPlatform(r, l.Platform)})
	}
	section("layers", "none")
	for _, p := range r.Platforms {
		fmt.Fprintf(&b, "\na node that holds A pulls %s for B %s", show.Size(p.Bytes), ofPlatform(r, p.Platform))
	}
	return strings.TrimSpace(b.String())
}

// ofPlatform returns the platform's name if there are several platforms, else "".
func ofPlatform(r *raybuild.ImageDiff, platform string) string {
	if len(r.Platforms) < 2 {
		return ""
	}
	return "(" + platform + ")"
}

func arrow(from, to string) string {
	switch {
	case from == "":
		return to
	case to == "":
		return from
	}
	return from + " → " + to
}
