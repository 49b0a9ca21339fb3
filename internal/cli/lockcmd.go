package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/layers"
)

const lockLong = `lock asks the package sources for what the recipe needs, and writes
raybuild.lock: the base image and every package by digest, for each platform.
Without flags it resolves only what the lock does not have yet, and keeps all
other versions.

--update takes new versions: of everything, or only of what you name: base (the
base image), tool (the image that steps run on), apt, miniconda, env, ray (with
what the new Ray needs), a Python package, or pip (all Python packages). lock
shows what changes.

--check changes nothing. It ends with exit code 1 if the lock does not fit the
recipe.

--export pylock changes nothing and prints the lock's Python packages as a
pylock.toml (PEP 751), from which pip and uv install. It has no packages of
conda. The paths of your own wheels in it are relative to the recipe.

Resolving runs apt-get and conda in the build sandbox, which needs a builder. uv
resolves Python packages on this machine. pip in the sandbox takes its place if
the recipe says so, and where uv cannot answer.`

func (a *app) lockCommand() *cobra.Command {
	var (
		recipe  recipeOptions
		builder builderOptions
		update  bool
		check   bool
		export  string
		asJSON  bool
	)
	cmd := &cobra.Command{
		Use:   "lock [--update [LAYER…]] [--check] [--export pylock]",
		Short: "Resolve the recipe to exact artifacts, and write the lock",
		Long:  lockLong,
		Example: `  raybuild lock
  raybuild lock --update                # everything anew
  raybuild lock --update base           # a security update of the base image
  raybuild lock --update ray            # Ray, and what it needs newer
  raybuild lock --update pip            # all Python packages
  raybuild lock --check                 # in CI
  raybuild lock --export pylock > pylock.toml`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && !update {
				return usagef("%q takes no arguments without --update, got %q", cmd.CommandPath(), args[0])
			}
			if check && update {
				return usagef("--check changes nothing, --update does: give one of them")
			}
			return exportUsage(export, update || check || asJSON)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			recipe.set(cmd)
			if err := builder.check(); err != nil {
				return err
			}
			if err := recipe.checkFetch(a, false); err != nil {
				return err
			}
			if export != "" {
				return a.exportLock(cmd.Context(), recipe, builder)
			}
			return a.lock(cmd.Context(), recipe, builder,
				raybuild.LockOptions{Update: args, UpdateAll: update && len(args) == 0, Check: check}, asJSON)
		},
	}
	recipe.flags(cmd.Flags())
	builder.flags(cmd.Flags())
	fetchFlag(cmd, &recipe)
	cmd.Flags().BoolVar(&update, "update", false, "take new versions: of everything, or of what the arguments name")
	cmd.Flags().BoolVar(&check, "check", false, "only say whether the lock fits the recipe; exit code 1 if not")
	cmd.Flags().StringVar(&export, "export", "", "print the lock's Python packages for other tools, as `FORMAT`: "+
		"pylock")
	jsonFlag(cmd, &asJSON)
	completeValues(cmd, "export", []string{exportPylock}, cobra.ShellCompDirectiveNoFileComp)
	return cmd
}

// exportPylock is the one format of lock --export.
const exportPylock = "pylock"

// exportUsage checks --export. others tells that another flag says what to do.
func exportUsage(format string, others bool) error {
	switch {
	case format == "":
		return nil
	case format != exportPylock:
		return usagef("--export %q%s: must be %s", format, meant(format, []string{exportPylock}), exportPylock)
	case others:
		return usagef("--export prints the lock as it is: leave out --update, --check and --json")
	}
	return nil
}

// openProject opens the project that the flags name.
func (a *app) openProject(ctx context.Context, recipe recipeOptions,
	builder builderOptions) (*raybuild.Project, error) {
	o, err := a.projectOptions(recipe, builder)
	if err != nil {
		return nil, err
	}
	return raybuild.Open(ctx, o)
}

// exportLock prints the lock as a pylock.toml.
func (a *app) exportLock(ctx context.Context, recipe recipeOptions, builder builderOptions) error {
	p, err := a.openProject(ctx, recipe, builder)
	if err != nil {
		return err
	}
	defer p.Close()
	text, err := p.Pylock(ctx)
	if err != nil {
		return err
	}
	return a.print("%s", strings.TrimRight(string(text), "\n"))
}

// lockReport is what lock prints with --json.
type lockReport struct {
	File    string       `json:"file"`
	Written bool         `json:"written"`
	Changes []lockChange `json:"changes"`
}

type lockChange struct {
	Platform string `json:"platform"`
	Layer    string `json:"layer"`
	Kind     string `json:"kind"`
	Name     string `json:"name"`
	From     string `json:"from,omitempty"`
	To       string `json:"to,omitempty"`
}

func (a *app) lock(ctx context.Context, recipe recipeOptions, builder builderOptions, l raybuild.LockOptions,
	asJSON bool) error {
	p, err := a.openProject(ctx, recipe, builder)
	if err != nil {
		return err
	}
	defer p.Close()
	done, err := p.Lock(ctx, l)
	if err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(lockReport{File: done.File, Written: done.Written, Changes: lockChanges(done.Changes)})
	}
	if !done.Written {
		a.say("%s fits the recipe", done.File)
		return nil
	}
	a.say("wrote %s: %d changes", done.File, len(done.Changes))
	return nil
}

// lockChanges converts changes of a lock for reports.
func lockChanges(changes []layers.Change) []lockChange {
	out := []lockChange{}
	for _, c := range changes {
		out = append(out, lockChange(c))
	}
	return out
}
