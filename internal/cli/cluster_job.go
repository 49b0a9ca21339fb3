package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/raybuild/raybuild/cluster"
)

// submitFlags are the flags of submit that have to be parsed. Their names are those of `ray job submit`.
type submitFlags struct {
	job       cluster.Job
	env       []string
	envFile   string
	envJSON   string
	metadata  string
	resources string
}

func (s *submitFlags) flags(f *pflag.FlagSet) {
	j := &s.job
	for _, name := range []string{"dir", "working-dir"} {
		f.StringVar(&j.Dir, name, "", "local `DIR` that the job needs; it becomes the job's working directory")
	}
	for _, name := range []string{"id", "submission-id"} {
		f.StringVar(&j.ID, name, "", "submission `ID` (default: Ray makes one)")
	}
	for _, name := range []string{"no-wait", "detach"} {
		f.BoolVar(&j.Detach, name, false, "do not wait for the job's end")
	}
	for _, name := range []string{"entrypoint-num-cpus", "num-cpus"} {
		f.Float64Var(&j.CPUs, name, 0, "CPUs that Ray reserves for the command itself")
	}
	for _, other := range []string{"working-dir", "submission-id", "detach", "num-cpus"} {
		_ = f.MarkHidden(other) // the only possible error is an unknown flag
	}
	f.Float64Var(&j.GPUs, "entrypoint-num-gpus", 0, "GPUs that Ray reserves for the command itself")
	f.Int64Var(&j.Memory, "entrypoint-memory", 0, "`BYTES` of memory that Ray reserves for the command itself")
	f.StringVar(&s.resources, "entrypoint-resources", "", "other resources for the command itself, as `JSON`: "+
		"{\"disk\": 1}")
	f.StringVar(&s.metadata, "metadata-json", "", "what Ray shows with the job, as `JSON`: {\"owner\": \"me\"}")
	f.StringArrayVar(&s.env, "env", nil, "environment variable `NAME=VALUE` of the job (repeatable)")
	f.StringVar(&s.envFile, "runtime-env", "", "`FILE` (YAML) of the job's runtime environment")
	f.StringVar(&s.envJSON, "runtime-env-json", "", "the job's runtime environment as `JSON`")
	f.StringArrayVar(&j.Exclude, "exclude", nil, "`PATTERN`, as in .gitignore, of what in DIR is not sent (repeatable)")
	f.BoolVar(&j.NoGitignore, "no-gitignore", false, "send what .gitignore files name, too")
}

// parse returns the job that the flags describe.
func (s *submitFlags) parse(a *app) (j cluster.Job, err error) {
	j = s.job
	if j.Env, err = pairs("--env", s.env); err != nil {
		return j, err
	}
	if j.CPUs < 0 || j.GPUs < 0 || j.Memory < 0 {
		return j, usagef("--entrypoint-num-cpus, --entrypoint-num-gpus and --entrypoint-memory must not be negative")
	}
	for flag, v := range map[string]struct {
		text string
		into any
	}{"--entrypoint-resources": {s.resources, &j.Resources}, "--metadata-json": {s.metadata, &j.Metadata},
		"--runtime-env-json": {s.envJSON, &j.RuntimeEnv}} {
		if v.text == "" {
			continue
		}
		if err := json.Unmarshal([]byte(v.text), v.into); err != nil {
			return j, usagef("%s %q: %w; write a JSON object", flag, v.text, err)
		}
	}
	if s.envFile != "" {
		if s.envJSON != "" {
			return j, usagef("--runtime-env and --runtime-env-json say the same thing twice: give one of them")
		}
		data, err := os.ReadFile(a.path(s.envFile))
		if err == nil {
			j.RuntimeEnv, err = cluster.ParseRuntimeEnv(data)
		}
		if err != nil {
			return j, fmt.Errorf("read --runtime-env %q: %w", s.envFile, err)
		}
	}
	if dir, ok := j.RuntimeEnv["working_dir"].(string); ok && !strings.Contains(dir, "://") {
		j.RuntimeEnv["working_dir"] = a.path(dir)
	}
	if j.Dir != "" {
		j.Dir = a.path(j.Dir)
	}
	return j, nil
}

func (a *app) clusterJobCommand(o *clusterOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use: "job", Short: "List, show and stop the jobs of the cluster",
		Long:    "job asks Ray for the cluster's jobs, through its jobs API over the SSH connection.",
		Example: "  raybuild cluster job list\n  raybuild cluster job logs --follow raysubmit_ARSrGzNNAyMBxFL6",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.clusterJobListCommand(o), a.clusterJobLogsCommand(o), a.clusterJobStopCommand(o))
	return cmd
}

func (a *app) clusterJobListCommand(o *clusterOptions) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the jobs that Ray knows",
		Long: "list shows the jobs that were submitted, and the programs that connected to Ray. Ray forgets them " +
			"when the head ends.",
		Example: "  raybuild cluster job list\n  raybuild cluster job list --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			spec, err := a.loadCluster(o)
			if err != nil {
				return err
			}
			jobs, err := cluster.Jobs(cmd.Context(), spec, a.launcher(o))
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(jobs)
			}
			return a.print("%s", jobTable(jobs))
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// jobTable shows jobs to people.
func jobTable(jobs []cluster.JobInfo) string {
	rows := [][]string{{"JOB", "STATUS", "EXIT", "STARTED", "TOOK", "COMMAND"}}
	for _, j := range jobs {
		row := []string{j.ID, strings.ToLower(j.Status), "-", "-", "-", j.Entrypoint}
		if j.ExitCode != nil {
			row[2] = strconv.Itoa(*j.ExitCode)
		}
		if !j.Started.IsZero() {
			row[3] = j.Started.Format(time.DateTime)
		}
		if !j.Started.IsZero() && !j.Ended.IsZero() {
			row[4] = j.Ended.Sub(j.Started).Round(time.Second).String()
		}
		if !j.Submitted && j.Entrypoint == "" {
			row[5] = "(a program that connected to Ray)"
		}
		rows = append(rows, row)
	}
	return table(rows)
}

func (a *app) clusterJobLogsCommand(o *clusterOptions) *cobra.Command {
	var follow, asJSON bool
	cmd := &cobra.Command{
		Use: "logs JOB", Short: "Show what a job has printed",
		Long: `logs prints the log of a job. With --follow it goes on until the job has ended,
and it attaches again if the connection is cut. It ends with 0, however the job
ends. With --json, the log goes to standard error, and how the job is to
standard output.`,
		Example:           "  raybuild cluster job logs --follow raysubmit_ARSrGzNNAyMBxFL6",
		Args:              oneArg("job"),
		ValidArgsFunction: a.completeJobs(o),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec, err := a.loadCluster(o)
			if err != nil {
				return err
			}
			out := a.stdout
			if asJSON {
				out = a.stderr
			}
			res, err := cluster.JobLogs(cmd.Context(), spec, args[0], follow, out, a.launcher(o))
			if err != nil {
				return jobGoesOn(cmd.Context(), err)
			}
			if asJSON {
				return a.printJSON(res)
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "F", false, "keep showing what the job prints, until it has ended")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (a *app) clusterJobStopCommand(o *clusterOptions) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "stop JOB", Short: "Stop a job",
		Long: "stop tells Ray to end a job, and waits until it has ended. Ray kills a program that does not end " +
			"within three seconds. A job that has ended before is left as it is.",
		Example:           "  raybuild cluster job stop raysubmit_ARSrGzNNAyMBxFL6",
		Args:              oneArg("job"),
		ValidArgsFunction: a.completeJobs(o),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec, err := a.loadCluster(o)
			if err != nil {
				return err
			}
			res, err := cluster.StopJob(cmd.Context(), spec, args[0], a.launcher(o))
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(res)
			}
			return a.print("job %s: %s", res.ID, strings.ToLower(res.Status))
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// completeLimit is how long a shell waits for the names of jobs.
const completeLimit = 5 * time.Second

// completeJobs gives a shell the jobs that were submitted, with their state.
func (a *app) completeJobs(o *clusterOptions) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeLimit)
		defer cancel()
		spec, err := a.loadCluster(o)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		launcher := a.launcher(o)
		launcher.Log = io.Discard
		jobs, err := cluster.Jobs(ctx, spec, launcher)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var out []cobra.Completion
		for _, j := range jobs {
			if j.Submitted {
				out = append(out, cobra.CompletionWithDesc(j.ID, strings.ToLower(j.Status)))
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}
