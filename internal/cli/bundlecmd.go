package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/show"
)

// bundleOptions are the flags of bundle.
type bundleOptions struct {
	recipeOptions
	builderOptions
	dir    string
	push   string
	image  bool
	frozen bool
	asJSON bool
}

const bundleLong = `bundle writes everything that an image is made of into a directory: all artifacts
of the lock, the base images, uv, the recipe and the lock. With --fetch DIR, a
machine without a network builds the same image from it, bit for bit.

Without IMAGE it takes the recipe and the lock of this directory. If the lock does
not fit the recipe, what changed is resolved first, as for a build. With IMAGE it
takes the recipe and the lock that IMAGE carries, and IMAGE itself with all that is
attached to it, so that "raybuild registry serve --bundle DIR" gives it to hosts.
--image=false leaves IMAGE out: it can be made again from the rest.

The directory is an OCI image layout, in which an artifact's name is its digest.
Copy it as you like. What is read from it is compared with its digest. Secrets are
not in it, and neither are local files that the recipe names: bundle lists them.

Interrupt it and run it again: it goes on where it was. Until it is complete,
--fetch refuses the directory.

--push copies the bundle to a registry as well. --fetch oci://REFERENCE then takes
it from there.`

func (a *app) bundleCommand() *cobra.Command {
	o := &bundleOptions{}
	cmd := &cobra.Command{
		Use:   "bundle [IMAGE] -o DIR",
		Short: "Write all that an image is made of into a directory",
		Long:  bundleLong,
		Example: `  raybuild bundle -o /media/disk/ray
  raybuild bundle registry.example/ray:2.60.0 -o /media/disk/ray
  raybuild --fetch /media/disk/ray --frozen --push registry.site/ray:2.60.0    # there`,
		Args: images(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.set(cmd)
			return a.bundle(cmd.Context(), o, strings.Join(args, ""))
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.dir, "output", "o", "", "the `DIR` of the bundle: empty, missing, or a bundle to complete "+
		"(required)")
	f.BoolVar(&o.image, "image", true, "the bundle also has IMAGE itself")
	f.BoolVar(&o.frozen, "frozen", false, "fail if the lock does not fit the recipe, instead of resolving what changed")
	f.StringVar(&o.push, "push", "", "also copy the bundle to a registry, as `REFERENCE`")
	o.recipeOptions.flags(f)
	o.builderOptions.flags(f)
	fetchFlag(cmd, &o.recipeOptions)
	trustFlag(f, &o.recipeOptions)
	jsonFlag(cmd, &o.asJSON)
	completeValues(cmd, "progress", progressModes(), cobra.ShellCompDirectiveNoFileComp)
	_ = cmd.RegisterFlagCompletionFunc("output", completeDirs) // the only possible error is an unknown flag
	completeTrust(cmd)
	return cmd
}

// bundleReport is what bundle prints with --json.
type bundleReport struct {
	*raybuild.BundleResult
	Reference string `json:"reference,omitempty"` // of the bundle in a registry, by digest
}

func (a *app) bundle(ctx context.Context, o *bundleOptions, image string) error {
	if o.dir == "" {
		return usagef("bundle needs a directory: -o DIR")
	}
	if image != "" && (len(o.sets) > 0 || o.lockGiven || o.frozen || len(o.platforms) > 0) {
		return usagef("bundle IMAGE takes recipe, lock and platforms from IMAGE: leave out --set, --lock, --frozen " +
			"and --platform")
	}
	if err := o.check(); err != nil {
		return err
	}
	if err := o.checkFetch(a, false); err != nil {
		return err
	}
	project, err := a.projectOptions(o.recipeOptions, o.builderOptions)
	if err != nil {
		return err
	}
	r, err := makeBundle(ctx, project, image, raybuild.BundleOptions{Dir: o.dir, Frozen: o.frozen, NoImage: !o.image})
	if err != nil {
		return err
	}
	report := bundleReport{BundleResult: r}
	if o.push != "" {
		if report.Reference, err = raybuild.PushBundle(ctx, o.dir, o.push, project); err != nil {
			return err
		}
	}
	a.say("%s", bundleText(&report))
	if o.asJSON {
		return a.printJSON(&report)
	}
	return a.print("%s", r.Digest)
}

func makeBundle(ctx context.Context, o raybuild.Options, image string,
	b raybuild.BundleOptions) (*raybuild.BundleResult, error) {
	if image != "" {
		return raybuild.BundleImage(ctx, image, o, b)
	}
	p, err := raybuild.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	return p.Bundle(ctx, b)
}

// bundleText tells people what was written.
func bundleText(r *bundleReport) string {
	var b strings.Builder
	fmt.Fprintf(&b, "bundle   %s: %d artifacts, %d images, %s, of which %s are new\n", r.Dir, r.Artifacts,
		len(r.Images), show.Size(r.Bytes), show.Size(r.New))
	if r.Reference != "" {
		fmt.Fprintf(&b, "pushed   %s\n", r.Reference)
	}
	if len(r.Needs) > 0 {
		fmt.Fprintf(&b, "carry    these local files of the recipe as well: %s\n", strings.Join(r.Needs, ", "))
	}
	return strings.TrimSpace(b.String())
}
