package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild"
)

// verifyOptions are the flags of verify.
type verifyOptions struct {
	buildOptions
	layers []string
	asJSON bool
}

func (a *app) verifyCommand() *cobra.Command {
	o := &verifyOptions{}
	cmd := &cobra.Command{
		Use:   "verify IMAGE",
		Short: "Make an image again here, and compare every byte; exit code 2 if it differs",
		Long: `verify makes the layers of IMAGE again, of the recipe and the lock that IMAGE
carries, and compares them with those of the registry. So you need not trust who
built it, nor who may write to the registry: what is the same is what recipe and
lock give. Manifest, config and the base's layers are compared too. Read recipe
and lock yourself (raybuild inspect --recipe, --lock): verify does not judge them.

Artifacts come from your own mirrors: from mirrors.fetch of the recipe here, or of
the file of -f. The lock has the digest of each. Local files that the recipe
names must lie here, unchanged. What this machine has made before counts as made
here; --no-cache makes all anew.

For a layer that differs, verify says which files do, and which package or step
brings them. Nothing is pushed. Exit codes: 0 it is the same, 2 it differs, 1
failed.`,
		Example: `  raybuild verify registry.example/ray:2.60.0
  raybuild verify --layers torch,ray registry.example/ray:2.60.0
  raybuild verify --no-cache --json registry.example/ray@sha256:…`,
		Args: oneArg("IMAGE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.set(cmd)
			return a.verify(cmd.Context(), o, args[0])
		},
	}
	f := cmd.Flags()
	o.builderOptions.flags(f)
	f.StringVarP(&o.file, "file", "f", "raybuild.yaml", "the recipe whose mirrors.fetch are used; local files "+
		"lie beside it")
	f.StringSliceVar(&o.layers, "layers", nil, "make these layers only: `NAME,…` as raybuild plan has them; base "+
		"are those that stand on the base (default: all)")
	f.BoolVar(&o.noCache, "no-cache", false, "make each layer anew, also if this machine has made it before")
	f.StringArrayVar(&o.secrets, "secret", nil, "a secret for steps, as for the build (repeatable)")
	jsonFlag(cmd, &o.asJSON)
	fetchFlag(cmd, &o.recipeOptions)
	o.reuse = true
	completeValues(cmd, "progress", progressModes(), cobra.ShellCompDirectiveNoFileComp)
	return cmd
}

func (a *app) verify(ctx context.Context, o *verifyOptions, image string) error {
	if err := o.check(a); err != nil {
		return err
	}
	project, build, err := a.libraryOptions(&o.buildOptions)
	if err != nil {
		return err
	}
	r, err := raybuild.Verify(ctx, image, project, raybuild.VerifyOptions{Layers: o.layers, NoCache: build.NoCache,
		Secrets: build.Secrets})
	if err != nil {
		return err
	}
	if o.asJSON {
		err = a.printJSON(r)
	} else {
		err = a.print("%s", verifyText(r))
	}
	if err == nil && !r.Same {
		err = changesError{}
	}
	return err
}

// mostFiles is how many files of a layer verify names to people.
const mostFiles = 10

// verifyText formats the result for people.
func verifyText(r *raybuild.VerifyResult) string {
	var b strings.Builder
	fmt.Fprintf(&b, "image   %s\n", r.Image)
	if r.Manifest != "" {
		fmt.Fprintf(&b, "differs manifest, config or base: %s\n", r.Manifest)
	}
	same := 0
	for _, l := range r.Layers {
		if l.Same {
			same++
			continue
		}
		fmt.Fprintf(&b, "differs layer %s of %s: the image has %s\n%*s and this machine makes %s\n", l.Name, l.Platform,
			l.Digest, len("differs"), "", l.Made)
		switch {
		case l.Error != "":
			fmt.Fprintf(&b, "        its files could not be compared: %s\n", l.Error)
		case len(l.Files) == 0:
			b.WriteString("        all files are the same: only their order or packing differs\n")
		}
		for i, f := range l.Files {
			if i == mostFiles {
				fmt.Fprintf(&b, "        and %d more (--json has all)\n", len(l.Files)-i)
				break
			}
			by := f.Package
			if by != "" {
				by = ", of " + by
			}
			fmt.Fprintf(&b, "        %s: %s%s\n", f.Path, strings.ReplaceAll(f.What, ",", ", "), by)
		}
	}
	fmt.Fprintf(&b, "same    %d of %d layers", same, len(r.Layers))
	return b.String()
}
