package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/cluster"
)

func (a *app) clusterLogsCommand(o *clusterOptions) *cobra.Command {
	var lo cluster.LogOptions
	cmd := &cobra.Command{
		Use: "logs [NODE…]", Short: "Show what the nodes print, merged",
		Long: "logs merges the logs of all nodes, or of those that are named (\"head\" is one), a line at a time " +
			"with the node's name before it.",
		Example: "  raybuild cluster logs -F\n  raybuild cluster logs head --tail 50",
		RunE: func(cmd *cobra.Command, args []string) error {
			spec, err := a.loadCluster(o)
			if err != nil {
				return err
			}
			lo.Nodes = append(lo.Nodes, args...)
			err = cluster.Logs(cmd.Context(), spec, lo, a.stdout, a.stderr, a.launcher(o))
			return clusterGoesOn(cmd.Context(), err)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&lo.Follow, "follow", "F", false, "keep showing what nodes print")
	f.IntVar(&lo.Tail, "tail", 0, "only the last `N` lines of each node")
	f.StringVar(&lo.Since, "since", "", "only lines after this `TIME` (RFC 3339), or from the last duration (10m)")
	f.BoolVar(&lo.Timestamps, "timestamps", false, "show the time of each line")
	f.StringArrayVar(&lo.Nodes, "node", nil, "a `NODE` to show (repeatable)")
	return cmd
}

// dashArgs returns the arguments after "--", or all arguments if there is no "--".
func dashArgs(cmd *cobra.Command, args []string) []string {
	return args[max(cmd.ArgsLenAtDash(), 0):]
}

func (a *app) clusterExecCommand(o *clusterOptions) *cobra.Command {
	var (
		node string
		tty  bool
	)
	cmd := &cobra.Command{
		Use: "exec [--node NODE] -- COMMAND [ARG…]", Short: "Run a command in a node's container",
		Long: `exec runs a command in the container of the head, or of another node. It
connects this terminal's input and output, and ends with the command's exit
code. RAY_ADDRESS and the token are set, so ray's own commands and ray.init()
find the cluster.`,
		Example: "  raybuild cluster exec -- ray status\n  raybuild cluster exec -t -- bash",
		RunE: func(cmd *cobra.Command, args []string) error {
			argv := dashArgs(cmd, args)
			if len(argv) == 0 {
				return usagef("%q needs a command: raybuild cluster exec -- ray status", cmd.CommandPath())
			}
			spec, err := a.loadCluster(o)
			if err != nil {
				return err
			}
			eo := cluster.ExecOptions{Node: node, Stdin: a.stdin, Stdout: a.stdout, Stderr: a.stderr}
			if in, ok := a.stdin.(*os.File); ok && term.IsTerminal(int(in.Fd())) {
				if tty {
					restore, err := rawTerminal(in, &eo)
					if err != nil {
						return err
					}
					defer restore()
				} else {
					eo.Stdin = nil // a command that reads would wait forever
				}
			}
			code, err := cluster.Exec(cmd.Context(), spec, argv, eo, a.launcher(o))
			if err != nil {
				return err
			}
			return ended(code)
		},
	}
	cmd.Flags().StringVar(&node, "node", "", "the `NODE` (default: the head)")
	cmd.Flags().BoolVarP(&tty, "tty", "t", false, "connect this terminal to the command")
	return cmd
}

func rawTerminal(in *os.File, eo *cluster.ExecOptions) (func(), error) {
	w, h, err := term.GetSize(int(in.Fd()))
	if err != nil {
		return nil, fmt.Errorf("look at the terminal: %w", err)
	}
	state, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, fmt.Errorf("set up the terminal: %w", err)
	}
	eo.TTY, eo.Width, eo.Height = true, uint(w), uint(h)
	return func() { term.Restore(int(in.Fd()), state) }, nil //nolint:errcheck // the program ends
}

func (a *app) clusterSubmitCommand(o *clusterOptions) *cobra.Command {
	var (
		flags  submitFlags
		asJSON bool
	)
	cmd := &cobra.Command{
		Use: "submit [--dir DIR] -- COMMAND [ARG…]", Short: "Run a job on the cluster, and end as it does",
		Long: `submit sends a directory (at most 100 MiB when packed) and runs a command in it,
through Ray's jobs API over the SSH connection. Ray before 1.9 has no such API:
there the command runs in the head's container. submit shows the job's output
and ends with the job's exit code. If the connection is cut, submit attaches
again.

What .gitignore and .rayignore files name is not sent, by git's own rules; .git,
__pycache__ and .venv never are. Links inside the directory are followed. A link
that leads out of it is an error.

If you interrupt submit, the job goes on, and submit says how to see and to stop
it. A second interrupt does nothing more to the job. If the head dies, its jobs
are lost: submit says so, and ends with 1.

The flags are those of ray job submit; its own names for --dir and --id work,
too. A runtime environment may name a local working_dir, and excludes.`,
		Example: "  raybuild cluster submit --dir . -- python train.py --epochs 3\n" +
			"  raybuild cluster submit --no-wait -- python -c 'import ray; ray.init()'",
		RunE: func(cmd *cobra.Command, args []string) error {
			argv := dashArgs(cmd, args)
			if len(argv) == 0 {
				return usagef("%q needs a command: raybuild cluster submit --dir . -- python train.py",
					cmd.CommandPath())
			}
			j, err := flags.parse(a)
			if err != nil {
				return err
			}
			j.Argv = argv
			return a.submit(cmd.Context(), o, j, asJSON)
		},
	}
	flags.flags(cmd.Flags())
	jsonFlag(cmd, &asJSON)
	return cmd
}

// submit runs a job, and ends with the job's exit code.
func (a *app) submit(ctx context.Context, o *clusterOptions, j cluster.Job, asJSON bool) error {
	spec, err := a.loadCluster(o)
	if err != nil {
		return err
	}
	out := a.stdout
	if asJSON {
		out = a.stderr
	}
	res, err := cluster.Submit(ctx, spec, j, out, a.stderr, a.launcher(o))
	if err != nil {
		return jobGoesOn(ctx, err)
	}
	if asJSON {
		if err := a.printJSON(res); err != nil {
			return err
		}
	}
	a.say("job %s: %s", res.ID, strings.ToLower(res.Status))
	if j.Detach && res.ExitCode == 0 {
		a.say("%s", (&cluster.UnfollowedJobError{ID: res.ID}).Next())
	}
	return ended(res.ExitCode)
}

// jobGoesOn says what happens to the job of an interrupted submit.
func jobGoesOn(ctx context.Context, err error) error {
	var job *cluster.UnfollowedJobError
	if ctx.Err() == nil || !errors.As(err, &job) {
		return err
	}
	return &raybuild.InterruptedError{State: fmt.Sprintf("job %s goes on; %s", job.ID, job.Next()), Err: err}
}

// clusterGoesOn says that an interrupted command only watched the cluster, so nothing is left to do.
func clusterGoesOn(ctx context.Context, err error) error {
	if ctx.Err() == nil || err == nil {
		return err
	}
	return &raybuild.InterruptedError{State: "the cluster goes on", Err: err}
}

func (a *app) clusterBenchCommand(o *clusterOptions) *cobra.Command {
	var (
		tasks   int
		seconds float64
		asJSON  bool
	)
	cmd := &cobra.Command{
		Use: "bench", Short: "Time 50 one-second tasks, in one process and over the cluster",
		Long: "bench runs tasks that sleep, first one after the other in one process, then by Ray over the " +
			"cluster, and prints both times, the speed-up, and how many tasks ran on each node.",
		Example: "  raybuild cluster bench\n  raybuild cluster bench --tasks 200 --seconds 0.2",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if tasks < 1 || tasks > 100000 || seconds <= 0 || seconds > 60 {
				return usagef("--tasks must be from 1 to 100000, and --seconds more than 0 and at most 60")
			}
			spec, err := a.loadCluster(o)
			if err != nil {
				return err
			}
			b, err := cluster.Bench(cmd.Context(), spec, tasks, seconds, a.launcher(o))
			if err != nil {
				return err
			}
			return a.report(asJSON, b)
		},
	}
	cmd.Flags().IntVar(&tasks, "tasks", 50, "how many")
	cmd.Flags().Float64Var(&seconds, "seconds", 1, "how long each sleeps")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (a *app) clusterDashboardCommand(o *clusterOptions) *cobra.Command {
	var (
		port  int
		token bool
	)
	cmd := &cobra.Command{
		Use: "dashboard", Short: "Bring the cluster's dashboard to this machine's loopback",
		Long: `dashboard opens a tunnel from a port of 127.0.0.1 to the dashboard on the head's
loopback, prints the URL, and runs until you interrupt it. If the connection is
lost, it connects again on the same port.

Open the URL in a browser: it lets this browser in, and nobody else who uses this
machine. The token is added for you. Programs ask 127.0.0.1 and the port, and
send the cluster's token, which --show-token prints. Requests of other sites'
pages are refused.`,
		Example: "  raybuild cluster dashboard\n  raybuild cluster dashboard --port 9000 --show-token",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			spec, err := a.loadCluster(o)
			if err != nil {
				return err
			}
			err = cluster.OpenDashboard(cmd.Context(), spec, port, func(t cluster.Tunnel) {
				a.print("%s", t.Login) // the tunnel works even if its address cannot be printed
				if token && t.Token != "" {
					a.print("token: %s", t.Token)
				}
				a.say("serving until interrupted")
			}, a.launcher(o))
			return clusterGoesOn(cmd.Context(), err)
		},
	}
	cmd.Flags().IntVar(&port, "port", 0, "local `PORT` (default: the dashboard's own, or a free one)")
	cmd.Flags().BoolVar(&token, "show-token", false, "print the cluster's token, for programs")
	return cmd
}
