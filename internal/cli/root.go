package cli

import (
	"strings"

	"github.com/spf13/cobra"
)

const rootLong = `raybuild builds the recipe of this directory (raybuild.yaml) into a container
image for Ray, pushes it, and runs Ray clusters from such images. It needs no
Dockerfile.

A word that is not a command names the image: "raybuild --push
registry.example/ray:2.60" builds, tags and pushes. Without a recipe, raybuild
builds the default one: the newest Ray that it knows, on Ubuntu 22.04. It
resolves the recipe to exact artifacts once and keeps them in raybuild.lock,
beside the recipe. Put both files under version control.

If nothing has changed since the image was pushed, raybuild finds that out with
one look at the registry, and stops.

raybuild takes the first builder that it finds: --builder or BUILDKIT_HOST, the
engine inside raybuild (Linux; it needs runc and root, or a user namespace), the
local Docker Engine. "raybuild doctor" says which one it is and what is missing.

Standard output gets one line, the image's reference by digest
(registry.example/ray@sha256:…). Everything else goes to standard error. Exit
codes: 0 done, 1 failed, 2 something was found (plan: changes; verify: a
difference; audit: advisories), 64 wrong usage, 130 interrupted.

Environment: RAYBUILD_HOME (raybuild's own state; default ~/.cache/raybuild),
BUILDKIT_HOST, DOCKER_CONFIG (registry credentials), SOURCE_DATE_EPOCH (the
image's time), COSIGN_PASSWORD (of the key of --sign), HTTP_PROXY, HTTPS_PROXY,
NO_PROXY, NO_COLOR, CI (true: --frozen).`

const rootExample = `  # build the default image, or the recipe here, and push it
  raybuild --push registry.example/team/ray:2.60.0

  # another recipe, one value overridden, two tags
  raybuild --push -f gpu.yaml --set ray.version=2.59.0 registry.example/ray:2.59.0 registry.example/ray:latest

  # in CI: the lock must fit, the cache is kept beside the image, the result goes to a file
  raybuild --push --frozen --cache --metadata-file build.json registry.example/ray:$TAG

  # an image for "docker load", without a registry
  raybuild --output type=docker,dest=ray.tar ray:test

  # a name that is also a command
  raybuild -t doctor`

// rootCommand makes the whole command line.
func (a *app) rootCommand() *cobra.Command {
	o := &buildOptions{}
	root := &cobra.Command{
		Use:           "raybuild [flags] [IMAGE…]",
		Short:         "Build Ray images without Dockerfiles, and run Ray clusters from them",
		Long:          rootLong,
		Example:       rootExample,
		Version:       a.versionText(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := mistyped(cmd, args); err != nil {
				return err
			}
			o.names = append(o.names, args...)
			o.set(cmd)
			return a.build(cmd.Context(), o)
		},
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(flagError)
	root.SetVersionTemplate("raybuild {{.Version}}\n")
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages", ".FlagUsagesWrapped 80"))
	root.CompletionOptions.HiddenDefaultCmd = true
	o.flags(root.Flags())
	o.complete(root)
	root.AddCommand(
		a.lockCommand(), a.planCommand(), a.whyCommand(), a.diffCommand(), a.rebaseCommand(), a.addCommand(),
		a.verifyCommand(), a.bundleCommand(), a.graphCommand(), a.inspectCommand(), a.sbomCommand(), a.auditCommand(),
		a.mirrorsCommand(), a.doctorCommand(), a.cacheCommand(),
		a.registryCommand(), a.initCommand(), a.schemaCommand(),
		a.versionCommand(), a.completionCommand(), a.docsCommand(), a.engineCommand(),
		a.newClusterCommand(),
	)
	return root
}

// mistyped refuses a first argument that is almost a command's name and does not look like an image's name.
func mistyped(cmd *cobra.Command, args []string) error {
	if len(args) == 0 || strings.ContainsAny(args[0], "/:.@") {
		return nil
	}
	if hint := meant(args[0], commandNames(cmd)); hint != "" && len(args[0]) > 3 {
		return usagef("unknown command %q%s (for an image of that name: -t %s)", args[0], hint, args[0])
	}
	return nil
}
