package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/show"
)

func (a *app) planCommand() *cobra.Command {
	o := &againstOptions{}
	cmd := &cobra.Command{
		Use:   "plan [IMAGE]",
		Short: "Say what a build would do, before any work; exit code 2 if anything",
		Long: `plan compares recipe and lock with IMAGE as the registry has it now. It says
which layers a build reuses, which it builds and pushes, and what a node that
has IMAGE will pull. It starts no engine, resolves nothing and changes nothing.
It only fetches new Debian packages, to see how large they are; the build needs
them anyway. Without IMAGE it takes the image that was pushed last from this
recipe on this machine.

Layers: reused (same inputs, same blob), built (an input changed; plan names
it), follows (stands on a built layer: its step runs again only if that layer
comes out with other bytes; plan counts what is likely and shows what is
possible), recompressed, gone. A base that the registry has is not pushed. The
smoke test counts as a step if a layer that modules may come from changed, or if
IMAGE was not tested.

Sizes of reused layers and of a base come from the registry. A size with ~ is an
estimate, from the layer's old size and the sizes of its artifacts in both
locks. Seconds are what the steps took when they last ran on this machine, one
after the other, without fetching and pushing. If a step never ran here, plan
shows no time.

plan does not resolve a lock that does not fit the recipe: it says what would be
resolved. Exit codes: 0 IMAGE is up to date, 2 something would change, 1 failed.`,
		Example: `  raybuild plan registry.example/ray:2.60.0
  raybuild plan --json registry.example/ray:latest
  raybuild plan --set ray.version=2.60.0 registry.example/ray:2.59.0
  raybuild plan registry.example/ray:main || test $? -eq 2     # in CI`,
		Args: images(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.recipeOptions.set(cmd)
			return a.plan(cmd.Context(), o, strings.Join(args, ""))
		},
	}
	o.flags(cmd)
	trustFlag(cmd.Flags(), &o.recipeOptions)
	completeTrust(cmd)
	return cmd
}

func (a *app) plan(ctx context.Context, o *againstOptions, image string) error {
	p, compare, err := a.openToCompare(ctx, o, image)
	if err != nil {
		return err
	}
	defer p.Close()
	r, err := p.Plan(ctx, compare)
	if err != nil {
		return err
	}
	if o.asJSON {
		err = a.printJSON(r)
	} else {
		err = a.print("%s", planText(r))
	}
	if err == nil && !r.UpToDate {
		err = changesError{}
	}
	return err
}

// planText formats the plan for people.
func planText(r *raybuild.Plan) string {
	var b strings.Builder
	line := func(key, format string, args ...any) { fmt.Fprintf(&b, "%-8s%s\n", key, fmt.Sprintf(format, args...)) }
	if r.Image != "" {
		line("image", "%s", r.Image)
	}
	if r.UpToDate {
		line("", "is this graph already: there is nothing to do")
		return strings.TrimSpace(b.String())
	}
	for _, n := range r.Notes {
		line("note", "%s", n)
	}
	for _, s := range staleLines(r.Stale) {
		line("stale", "%s", s)
	}
	if len(r.Stale) > 0 {
		line("", "a build would resolve this first: run raybuild lock, then plan again, for exact layers and sizes")
	}
	if len(r.Layers) == 0 {
		return strings.TrimSpace(b.String())
	}
	rows := [][]string{{"LAYER", "", "SIZE", "WHY"}}
	for _, l := range r.Layers {
		mark := ""
		if l.Estimate {
			mark = "~"
		}
		rows = append(rows, []string{show.Printable(l.Name), string(l.Status), mark + show.Size(l.Size), l.Reason})
	}
	fmt.Fprintf(&b, "\n%s\n\n", table(rows))
	for _, c := range r.Config {
		for _, change := range c.Changes {
			line("config", "%s", show.OneLine(show.Printable(change.Text()), 120))
		}
	}
	if r.Smoke {
		line("smoke", "the image will be tested before it gets its name")
	}
	line("steps", "%s", upTo(fmt.Sprint(r.Steps), fmt.Sprint(r.StepsMost)))
	line("push", "about %s", upTo(show.Size(r.Push), show.Size(r.PushMost)))
	line("pull", "about %s, by a node that has the image (a Docker graph driver pulls what stands above, too)",
		upTo(show.Size(r.Pull), show.Size(r.PullMost)))
	if r.Seconds != nil {
		line("time", "at most about %.1f s in steps, as long as they took here last time; fetching and pushing "+
			"are not counted",
			*r.Seconds)
	}
	return strings.TrimSpace(b.String())
}

// staleLines returns one line for all layers that are stale for the same reason.
func staleLines(stale []raybuild.StaleLayer) []string {
	var whys []string
	named := map[string][]string{}
	for _, s := range stale {
		if named[s.Why] == nil {
			whys = append(whys, s.Why)
		}
		if !slices.Contains(named[s.Why], s.Layer) {
			named[s.Why] = append(named[s.Why], s.Layer)
		}
	}
	for i, why := range whys {
		whys[i] = strings.Join(named[why], ", ") + ": " + why
	}
	return whys
}

func upTo(least, most string) string {
	if least == most {
		return least
	}
	return fmt.Sprintf("%s (at most %s, if all that follow get new bytes)", least, most)
}
