package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/raybuild/raybuild/cluster"
	"github.com/raybuild/raybuild/internal/kube"
)

const exportLong = `export prints the cluster in the form of another launcher. Comments at the top
say what that launcher cannot do, and what was guessed. The image is named by
digest.

For KubeRay it writes a RayCluster, a RayJob (a cluster for one command, which
goes when the command has ended) or a RayService (a cluster that runs
applications of Ray Serve). The keys kubernetes, pod and autoscale of
cluster.yaml say what they need: pull secrets, tolerations, volumes.

With --apply it sends the RayCluster to Kubernetes (server-side apply), shows
what keeps its pods from running, and ends when the head and all workers are
ready. If nothing has to change, it changes nothing. KubeRay's operator must run
in the cluster. From version 1.5.1 on, the operator makes the cluster's token,
in a Secret with the cluster's name; raybuild does not read or make Secrets.`

const exportExample = `  raybuild cluster export --format kuberay | kubectl apply -f -
  raybuild cluster export --format kuberay --apply --context prod --namespace ml
  raybuild cluster export --format kuberay --kuberay 1.4.2 > raycluster.yaml
  raybuild cluster export --kind rayjob -- python train.py | kubectl apply -f -
  raybuild cluster export --kind rayservice --serve-config serve.yaml
  raybuild cluster export --format compose > compose.yaml`

func (a *app) clusterExportCommand(o *clusterOptions) *cobra.Command {
	var format, namespace, operator string
	var to applyOptions
	var of kindOptions
	formats := []string{string(cluster.KubeRay), string(cluster.RayUp), string(cluster.Compose)}
	cmd := &cobra.Command{
		Use:   "export [-- COMMAND [ARG…]]",
		Short: "Write the cluster for another launcher: KubeRay, ray up, docker compose",
		Long:  exportLong, Example: exportExample,
		RunE: func(cmd *cobra.Command, args []string) error {
			format := cluster.Format(format)
			if err := to.check(cmd.Flags(), format); err != nil {
				return err
			}
			eo, err := of.options(a, cmd, args, format, to.apply)
			if err != nil {
				return err
			}
			eo.Namespace, eo.Operator = namespace, operator
			if operator != "" && format != cluster.KubeRay {
				return usagef("--kuberay is for --format %s", cluster.KubeRay)
			}
			spec, err := a.loadCluster(o)
			if err != nil {
				return err
			}
			out, err := a.export(cmd.Context(), spec, o, format, eo)
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(out)) {
				if missing, ok := strings.CutPrefix(line, cluster.MissingMark); ok {
					a.warn("the file lacks %s", strings.TrimSpace(missing))
				}
			}
			if to.apply {
				return a.applyToKube(cmd.Context(), out, namespace, &to)
			}
			return a.print("%s", strings.TrimRight(string(out), "\n"))
		},
	}
	o.imageFlag(cmd.Flags())
	cmd.Flags().StringVar(&format, "format", string(cluster.KubeRay), strings.Join(formats, ", "))
	cmd.Flags().StringVar(&namespace, "namespace", "", "Kubernetes `NAMESPACE` (default for --apply: the context's)")
	cmd.Flags().StringVar(&operator, "kuberay", "", "KubeRay: `VERSION` of the operator, 1.2 or later (default: one "+
		"of 1.5.1 or later)")
	completeValues(cmd, "format", formats, cobra.ShellCompDirectiveNoFileComp)
	of.flags(cmd)
	to.flags(cmd.Flags())
	return cmd
}

// export looks up the image's digest (and, for ray up, the registry's login), and writes the
// cluster in the format of another launcher.
func (a *app) export(ctx context.Context, spec *cluster.Spec, o *clusterOptions, format cluster.Format,
	eo cluster.ExportOptions) (out []byte, err error) {
	if eo.Image, err = cluster.ImageOf(ctx, spec, a.launcher(o)); err != nil {
		return nil, err
	}
	if format == cluster.RayUp {
		if eo.Login, err = cluster.LoginOf(ctx, spec, a.launcher(o)); err != nil {
			return nil, err
		}
	}
	return cluster.Export(spec, format, eo)
}

// applyOptions are the flags of export --apply.
type applyOptions struct {
	apply, force, asJSON bool
	kubeconfig, context  string
	timeout              time.Duration
}

func (o *applyOptions) flags(f *pflag.FlagSet) {
	f.BoolVar(&o.apply, "apply", false, "apply the RayCluster to Kubernetes, and wait until it is ready")
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "with --apply: `FILE` that says how to reach Kubernetes (default "+
		"$KUBECONFIG, then ~/.kube/config, then the pod's service account)")
	f.StringVar(&o.context, "context", "", "with --apply: kubeconfig `CONTEXT` (default: the current one)")
	f.DurationVar(&o.timeout, "timeout", 10*time.Minute, "with --apply: how long the cluster may take to get ready")
	f.BoolVar(&o.force, "force-conflicts", false, "with --apply: take over fields that another manager has set")
	f.BoolVar(&o.asJSON, "json", false, "with --apply: print the result as JSON")
}

// check refuses flags that make no sense together.
func (o *applyOptions) check(f *pflag.FlagSet, format cluster.Format) error {
	if o.apply && format != cluster.KubeRay {
		return usagef("--apply is for --format %s; %s has no server to apply it to", cluster.KubeRay, format)
	}
	if o.apply && o.timeout <= 0 {
		return usagef("--timeout %s: give the time to wait for the cluster, such as 5m", o.timeout)
	}
	for _, name := range []string{"kubeconfig", "context", "timeout", "force-conflicts", "json"} {
		if !o.apply && f.Changed(name) {
			return usagef("--%s goes with --apply", name)
		}
	}
	return nil
}

// applyToKube applies a RayCluster. First it prints the export's comments, which say what was guessed.
func (a *app) applyToKube(ctx context.Context, doc []byte, namespace string, o *applyOptions) error {
	for line := range strings.Lines(string(doc)) {
		if note, ok := strings.CutPrefix(line, "# - "); ok {
			a.say("note: %s", strings.TrimSpace(note))
		}
	}
	file := o.kubeconfig
	if file != "" {
		file = a.path(file)
	}
	r, err := kube.Apply(ctx, doc, kube.Options{Kubeconfig: file, Context: o.context, Namespace: namespace,
		Force: o.force, Timeout: o.timeout, Logf: a.say})
	if err != nil {
		return err
	}
	return a.report(o.asJSON, r)
}
