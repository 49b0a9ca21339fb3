package cli

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild/cluster"
)

// kindOptions are the flags of export for the kinds of KubeRay.
type kindOptions struct{ kind, runtimeEnv, serve string }

func (o *kindOptions) flags(cmd *cobra.Command) {
	kinds := []string{string(cluster.RayCluster), string(cluster.RayJob), string(cluster.RayService)}
	f := cmd.Flags()
	f.StringVar(&o.kind, "kind", kinds[0], "KubeRay: "+strings.Join(kinds, ", "))
	f.StringVar(&o.runtimeEnv, "runtime-env", "", "rayjob: `FILE` (YAML) of the job's runtime environment")
	f.StringVar(&o.serve, "serve-config", "", "rayservice: `FILE` (YAML) with the applications, as serve "+
		"build writes it")
	completeValues(cmd, "kind", kinds, cobra.ShellCompDirectiveNoFileComp)
}

// options checks the flags, and reads the files that they name.
func (o *kindOptions) options(a *app, cmd *cobra.Command, args []string, format cluster.Format, apply bool) (
	eo cluster.ExportOptions, err error) {
	eo.Kind, eo.Entrypoint = cluster.Kind(o.kind), dashArgs(cmd, args)
	if eo.Kind != cluster.RayJob && cmd.ArgsLenAtDash() != 0 && len(args) > 0 {
		return eo, noArgs(cmd, args)
	}
	for _, wrong := range []struct {
		is  bool
		say string
	}{
		{len(args) > 0 && cmd.ArgsLenAtDash() != 0, "the job's command comes after --: --kind rayjob -- python " +
			"train.py"},
		{format != cluster.KubeRay && cmd.Flags().Changed("kind"), "--kind is for --format kuberay"},
		{len(args) > 0 && eo.Kind != cluster.RayJob, "a command goes with --kind rayjob"},
		{len(args) == 0 && eo.Kind == cluster.RayJob, "--kind rayjob needs a command: -- python train.py"},
		{o.runtimeEnv != "" && eo.Kind != cluster.RayJob, "--runtime-env goes with --kind rayjob"},
		{o.serve != "" && eo.Kind != cluster.RayService, "--serve-config goes with --kind rayservice"},
		{o.serve == "" && eo.Kind == cluster.RayService, "--kind rayservice needs --serve-config FILE"},
		{apply && eo.Kind != cluster.RayCluster, "--apply is for --kind raycluster; hand a " + o.kind +
			" to kubectl apply -f -"},
	} {
		if wrong.is {
			return eo, usagef("%s", wrong.say)
		}
	}
	for _, f := range []struct {
		flag, name string
		into       *[]byte
	}{{"--runtime-env", o.runtimeEnv, &eo.RuntimeEnv}, {"--serve-config", o.serve, &eo.Serve}} {
		if f.name == "" {
			continue
		}
		if *f.into, err = os.ReadFile(a.path(f.name)); err != nil {
			return eo, fmt.Errorf("read %s %q: %w", f.flag, f.name, err)
		}
	}
	return eo, nil
}
