package cli

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild/cluster"
	"github.com/raybuild/raybuild/internal/docker"
)

func (a *app) clusterPlanCommand(o *clusterOptions) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "plan", Short: "Say what up would do; exit code 2 if anything",
		Long: `plan looks at every host and prints what up would create, recreate, start and
remove, and why. It changes nothing.

Exit code: 0 if there is nothing to do, 2 if there is.`,
		Example: "  raybuild cluster plan\n  raybuild cluster plan --image registry.example/ray:next --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			spec, err := a.loadCluster(o)
			if err != nil {
				return err
			}
			p, err := cluster.MakePlan(cmd.Context(), spec, a.launcher(o))
			if err != nil {
				return err
			}
			if err := a.report(asJSON, p); err != nil {
				return err
			}
			if p.Changes > 0 {
				return changesError{}
			}
			return nil
		},
	}
	o.imageFlag(cmd.Flags())
	o.takeOverFlag(cmd.Flags())
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (a *app) clusterUpCommand(o *clusterOptions) *cobra.Command {
	var (
		asJSON, skip bool
		minWorkers   int
		wait         time.Duration
	)
	cmd := &cobra.Command{
		Use: "up", Short: "Bring the cluster to what its file says",
		Long: `up checks the hosts, pulls the image by digest, starts the head, then the
workers in parallel. It ends when Ray counts every node alive with the resources
that the file asks for. If nothing has to change, up changes nothing and says
so.

If a host fails, up names the host, the cause and the next command. up fails if
fewer than --min-workers workers join; the next up continues where this one
stopped. If another up runs, this one says who runs it, and ends.

The first up writes a random id beside the cluster's file (cluster.id), and on
everything that it makes. A cluster of the same name with another id is
another's: up, scale and down refuse it, and say whose it is. With --take-over
they remove it. A cluster that an earlier raybuild started has no id: it is
yours as long as it is as the file says, else --take-over is needed once.

Ray before 2.52 has no token authentication. up refuses it unless cluster.yaml
says accept_no_auth: true.`,
		Example: "  raybuild cluster up\n  raybuild cluster up --image registry.example/ray@sha256:… " +
			"--skip-unreachable",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			spec, err := a.loadCluster(o)
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("min-workers") {
				if minWorkers < 0 || minWorkers > len(spec.Workers) {
					return usagef("--min-workers %d: %s has %d workers", minWorkers, o.file, len(spec.Workers))
				}
				spec.MinWorkers = minWorkers
			}
			spec.SkipUnreachable = spec.SkipUnreachable || skip
			spec.Wait = cmp.Or(max(wait, 0), spec.Wait)
			if o.id, err = a.makeID(o); err != nil {
				return err
			}
			s, err := cluster.Up(cmd.Context(), spec, a.launcher(o))
			if s != nil {
				err = errors.Join(err, a.report(asJSON, s))
			}
			return err
		},
	}
	o.imageFlag(cmd.Flags())
	cmd.Flags().IntVar(&minWorkers, "min-workers", 0, "fewest workers with which up succeeds (default: what the file "+
		"says, else all)")
	cmd.Flags().BoolVar(&skip, "skip-unreachable", false, "go on without workers whose host cannot be reached")
	o.takeOverFlag(cmd.Flags())
	cmd.Flags().DurationVar(&wait, "wait", 0, "how long nodes may take to join (default: what the file says, else 2m)")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (a *app) clusterStatusCommand(o *clusterOptions) *cobra.Command {
	var (
		asJSON bool
		watch  time.Duration
	)
	cmd := &cobra.Command{
		Use: "status", Short: "Compare the cluster with what it should be",
		Long: `status shows every node: its container, whether Ray counts it alive, its
resources and its load. For a missing node it shows the cause and what to do
next. It also shows what differs from the file. Exit code: 0 if all is as the
file says, 1 if not.`,
		Example: "  raybuild cluster status\n  raybuild cluster status --watch=5s",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			spec, err := a.loadCluster(o)
			if err != nil {
				return err
			}
			for {
				s, err := cluster.Inspect(cmd.Context(), spec, a.launcher(o))
				if watch > 0 && cmd.Context().Err() != nil {
					return nil //nolint:nilerr // an interrupt is the normal end of --watch
				}
				if err != nil {
					return err
				}
				if err := a.report(asJSON, s); err != nil {
					return err
				}
				if watch == 0 {
					if !s.Healthy {
						return fmt.Errorf("cluster %s is not as wanted: %d of %d nodes alive", s.Cluster,
							s.Alive, s.Wanted)
					}
					return nil
				}
				select {
				case <-cmd.Context().Done():
					return nil
				case <-time.After(watch):
				}
			}
		},
	}
	cmd.Flags().DurationVarP(&watch, "watch", "w", 0, "show it again at this interval, until interrupted")
	cmd.Flags().Lookup("watch").NoOptDefVal = "2s"
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (a *app) clusterScaleCommand(o *clusterOptions) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "scale WORKERS", Short: "Run the first WORKERS workers of the file, and no others",
		Long: `scale starts and removes workers until the first WORKERS of the file run. The
file stays as it is: the next up starts all of them.`,
		Example: "  raybuild cluster scale 4",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("%q takes the number of workers", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := strconv.Atoi(args[0])
			if err != nil || n < 0 {
				return usagef("%q is no number of workers", args[0])
			}
			spec, err := a.loadCluster(o)
			if err != nil {
				return err
			}
			if o.id, err = a.makeID(o); err != nil {
				return err
			}
			s, err := cluster.Scale(cmd.Context(), spec, n, a.launcher(o))
			if s != nil {
				err = errors.Join(err, a.report(asJSON, s))
			}
			return err
		},
	}
	o.takeOverFlag(cmd.Flags())
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (a *app) clusterDownCommand(o *clusterOptions) *cobra.Command {
	var (
		asJSON bool
		name   string
		hosts  []string
	)
	cmd := &cobra.Command{
		Use: "down", Short: "Remove the cluster from its hosts",
		Long: `down removes the cluster's containers, token, packet filter and lock from every
host. It finds them by label, and looks again at the end. Images stay on the
hosts.

down removes only what has the id in the .id file beside the cluster's file. It
names others, and removes nothing. Without the files, give --name, --host and
--take-over: then down removes everything that has that name.

If a host cannot be reached, down names it and fails. Run down again when the
host is back.`,
		Example: "  raybuild cluster down\n  raybuild cluster down --take-over --name demo --host ubuntu@10.0.0.1 " +
			"--host ubuntu@10.0.0.2",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			name, at, spec, err := a.downTarget(o, name, hosts)
			if err != nil {
				return err
			}
			lo := a.launcher(o)
			lo.Fits = spec
			res, err := cluster.Down(cmd.Context(), name, at, lo)
			if res != nil && asJSON {
				err = errors.Join(err, a.printJSON(res))
			}
			return err
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "the cluster's `NAME` (default: the file's)")
	cmd.Flags().StringArrayVar(&hosts, "host", nil, "`HOST` to remove it from, user@address or local (repeatable; "+
		"default: the file's)")
	o.takeOverFlag(cmd.Flags())
	jsonFlag(cmd, &asJSON)
	return cmd
}

// downTarget returns the cluster's name and hosts, from flags or from the file, and the file if it was needed.
func (a *app) downTarget(o *clusterOptions, name string,
	hosts []string) (_ string, at []cluster.Host, spec *cluster.Spec, err error) {
	for _, h := range hosts {
		t, err := docker.ParseTarget(h)
		if err != nil {
			return "", nil, nil, usagef("--host: %w", err)
		}
		at = append(at, cluster.Host{Local: t.Local, User: t.User, Address: t.Address, Port: t.Port})
	}
	if name != "" && len(at) > 0 {
		o.id, err = a.readID(o)
		return name, at, nil, err
	}
	if spec, err = a.loadCluster(o); err != nil {
		return "", nil, nil, err
	}
	if name == "" {
		name = spec.Name
	}
	if len(at) == 0 {
		at = spec.Hosts()
	}
	return name, at, spec, nil
}
