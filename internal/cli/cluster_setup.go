package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/raybuild/raybuild/cluster"
	"github.com/raybuild/raybuild/internal/docker"
	"github.com/raybuild/raybuild/internal/registry"
)

func (a *app) clusterInitCommand(o *clusterOptions) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "init [HOST…]", Short: "Write a commented cluster.yaml to start from",
		Long: `init writes the cluster's file. The first HOST is the head, the others are
workers. Without a HOST the cluster runs on this machine. HOST is
[user@]address[:port]; a range such as 10.0.0.[2-9] stands for each of its hosts.
init never overwrites a file.`,
		Example: "  raybuild cluster init --image registry.example/ray:2.60.0 ubuntu@10.0.0.1 ubuntu@10.0.0.[2-4]\n" +
			"  raybuild cluster init   # one node, here",
		RunE: func(_ *cobra.Command, hosts []string) error {
			data, err := cluster.Init(name, o.image, hosts)
			if err != nil {
				return &usageError{err}
			}
			f, err := os.OpenFile(a.path(o.file), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
			if errors.Is(err, os.ErrExist) {
				return fmt.Errorf("write cluster %q: it is there already: remove it, or name another one with -f",
					o.file)
			}
			if err != nil {
				return fmt.Errorf("write cluster: %w", err)
			}
			_, err = f.Write(data)
			if err = errors.Join(err, f.Close()); err != nil {
				return fmt.Errorf("write cluster %q: %w", o.file, err)
			}
			next := "raybuild cluster up"
			if len(hosts) > 0 {
				next = "raybuild cluster trust && " + next
			}
			if o.image == "" {
				next = "set image: in it to the image that you have pushed, then: " + next
			}
			a.say("wrote %s; next: %s", o.file, next)
			a.warnOnlyHere(o, hosts)
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "name", "demo", "the cluster's `NAME`")
	o.imageFlag(cmd.Flags())
	return cmd
}

// warnOnlyHere says that the image is in a registry that its hosts do not reach.
func (a *app) warnOnlyHere(o *clusterOptions, hosts []string) {
	at, err := registry.Host(o.image)
	if err != nil || !slices.ContainsFunc(hosts, isRemote) {
		return
	}
	name := at
	if h, _, err := net.SplitHostPort(at); err == nil {
		name = h
	}
	if registry.Loopback(name) {
		a.warn("%s is an address of this machine only, and the hosts need a registry that they reach: start one "+
			"with: raybuild registry serve ADDRESS:5000, push the image to it, and set image: in %s", at, o.file)
	}
}

// isRemote tells whether a host is reached over SSH.
func isRemote(host string) bool {
	return host != "" && host != "local" && !strings.HasPrefix(host, "unix://")
}

func (a *app) clusterTrustCommand(o *clusterOptions) *cobra.Command {
	var yes, asJSON bool
	cmd := &cobra.Command{
		Use: "trust [HOST…]", Short: "Show the hosts' SSH keys, and record them",
		Long: `trust asks each host for its SSH host keys, shows their fingerprints, and, once
you agree, records them in known_hosts beside the cluster's file (or in the
first --known-hosts). Compare them with what the hosts themselves say:
ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub. A key that differs from a
recorded one is never replaced.

Hosts come from the cluster's file unless they are named. Jump hosts must be
known before: trust them first. If a host does not answer, trust records the
keys of the others, names that host, and fails. Run trust again when it answers.`,
		Example: "  raybuild cluster trust\n  raybuild cluster trust --yes ubuntu@10.0.0.1",
		RunE: func(cmd *cobra.Command, args []string) error {
			targets, err := a.trustTargets(o, args)
			if err != nil {
				return err
			}
			ssh := a.launcher(o).SSH
			keys, missing := scanHosts(cmd.Context(), targets, docker.Options{SSHConfig: ssh.Config,
				KnownHosts: ssh.KnownHosts, ConfigHosts: ssh.ConfigHosts, ProjectHosts: ssh.ProjectHosts,
				Identities: ssh.Identities, Agent: ssh.Agent})
			if err := cmd.Context().Err(); err != nil || missing != nil && len(keys) == 0 {
				return errors.Join(err, missing)
			}
			file := a.besideCluster(o)
			if len(o.knownHosts) > 0 {
				file = a.path(o.knownHosts[0])
			}
			return errors.Join(a.recordKeys(cmd.Context(), keys, file, yes, asJSON), missing)
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "record without asking")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// trustTargets returns the hosts in args, or the hosts of the cluster's file if args is empty.
func (a *app) trustTargets(o *clusterOptions, args []string) ([]docker.Target, error) {
	var out []docker.Target
	for _, s := range args {
		t, err := docker.ParseTarget(s)
		if err != nil {
			return nil, &usageError{err}
		}
		out = append(out, t)
	}
	if len(out) > 0 {
		return out, nil
	}
	spec, err := a.loadCluster(o)
	if err != nil {
		return nil, err
	}
	for _, h := range spec.Hosts() {
		if !h.Local {
			out = append(out, targetOf(h))
		}
	}
	return out, nil
}

// targetOf returns how SSH reaches a host other than this machine.
func targetOf(h cluster.Host) docker.Target {
	return docker.Target{User: h.User, Address: h.Address, Port: h.Port, Key: h.Key, Jump: h.Jump}
}

// scanTimeout bounds the look at all hosts' keys.
const scanTimeout = time.Minute

// scanHosts asks every host for its keys. missing names the hosts that gave none, and why.
func scanHosts(ctx context.Context, targets []docker.Target, o docker.Options) (keys []docker.HostKey, missing error) {
	ctx, cancel := context.WithTimeout(ctx, scanTimeout)
	defer cancel()
	var errs []error
	for _, t := range targets {
		k, err := docker.ScanHostKeys(ctx, t, o)
		if err != nil {
			next := "when it answers, run trust again"
			var key *docker.HostKeyError
			if errors.As(err, &key) {
				next = "" // the error says it
			}
			errs = append(errs, &cluster.HostError{Host: t.String(), Err: err, Next: next})
		}
		keys = append(keys, k...)
	}
	if len(errs) == 0 {
		return keys, nil
	}
	return keys, fmt.Errorf("trust got no keys of %s:\n%w", plural(len(errs), "host"), errors.Join(errs...))
}

func (a *app) recordKeys(ctx context.Context, keys []docker.HostKey, file string, yes, asJSON bool) error {
	unknown := 0
	for _, k := range keys {
		state := "new"
		if k.Known {
			state = "known"
		} else {
			unknown++
		}
		if !asJSON {
			a.say("%s  %s\n  %s %s", k.Host, state, k.Type, k.Fingerprint)
		}
	}
	if asJSON {
		if err := a.printJSON(keys); err != nil {
			return err
		}
	}
	if unknown == 0 {
		a.say("all keys are known")
		return nil
	}
	if !yes {
		a.say("record %s in %s? [y/N]", plural(unknown, "new key"), file)
		answer, _ := bufio.NewReader(a.stdin).ReadString('\n') // no answer means no
		if s := strings.ToLower(strings.TrimSpace(answer)); s != "y" && s != "yes" {
			return errors.New("nothing was recorded; compare the fingerprints, then: raybuild cluster trust --yes")
		}
	}
	n, err := docker.RecordHostKeys(ctx, file, keys)
	if err != nil {
		return err
	}
	a.say("recorded %s in %s", plural(n, "key"), file)
	return nil
}

// plural counts things whose name takes an s.
func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
