package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/raybuild/raybuild/cluster"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/layers"
)

const clusterLong = `cluster runs an image as a Ray cluster on hosts that have Docker: this machine,
or hosts that SSH reaches.

One file, cluster.yaml, names the image, the head's host and the workers' hosts.
"up" starts what is missing and ends when Ray counts every node alive. If
nothing has to change, it changes nothing. All state is in the containers'
labels, but for one file: cluster.id says which containers are yours ("up" makes
it). Nothing is installed on the hosts. Host keys are always checked ("trust"
records them). Every cluster has its own token (Ray 2.52 and later). The
dashboard listens on the head's loopback only ("dashboard" brings it here). From
Ray 2.61 on, clusters that others start have a token by default, too: a program
outside then needs it in RAY_AUTH_TOKEN.

Exit codes: 0 done, 1 failed, 2 plan found changes, 64 wrong usage, 130
interrupted. exec and submit end with their program's exit code.`

const clusterExample = `  # from two machines to a running cluster
  raybuild cluster init --image registry.example/ray:2.60.0 ubuntu@10.0.0.1 ubuntu@10.0.0.2
  raybuild cluster trust
  raybuild cluster up
  raybuild cluster submit --dir . -- python train.py
  raybuild cluster down`

// clusterOptions are the flags that every cluster command has.
type clusterOptions struct {
	file       string
	image      string
	knownHosts []string
	identity   string
	sshConfig  string
	insecure   []string
	takeOver   bool
	id         string // of the cluster; empty: there is no file of it
}

func (o *clusterOptions) flags(f *pflag.FlagSet) {
	f.StringVarP(&o.file, "file", "f", "cluster.yaml", "the cluster's `FILE`")
	f.StringSliceVar(&o.knownHosts, "known-hosts", nil, "`FILE` of host keys (default: known_hosts beside the "+
		"cluster's file, ~/.ssh/known_hosts, /etc/ssh/ssh_known_hosts)")
	f.StringVar(&o.identity, "identity", "", "private key `FILE`, tried first if the cluster's file names none")
	f.StringVar(&o.sshConfig, "ssh-config", "", "SSH client configuration `FILE` (default ~/.ssh/config), or none")
	insecureFlag(f, &o.insecure)
}

func (o *clusterOptions) imageFlag(f *pflag.FlagSet) {
	f.StringVar(&o.image, "image", "", "run this `IMAGE` instead of the file's")
}

// newClusterCommand makes `raybuild cluster` and its subcommands.
func (a *app) newClusterCommand() *cobra.Command {
	o := &clusterOptions{}
	cmd := &cobra.Command{
		Use: "cluster", Short: "Run an image as a Ray cluster on this machine and on hosts over SSH",
		Long: clusterLong, Example: clusterExample, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	o.flags(cmd.PersistentFlags())
	cmd.AddCommand(a.clusterInitCommand(o), a.clusterTrustCommand(o), a.clusterPlanCommand(o), a.clusterUpCommand(o),
		a.clusterStatusCommand(o),
		a.clusterLogsCommand(o), a.clusterExecCommand(o), a.clusterSubmitCommand(o), a.clusterJobCommand(o),
		a.clusterBenchCommand(o),
		a.clusterDashboardCommand(o),
		a.clusterScaleCommand(o), a.clusterDownCommand(o), a.clusterExportCommand(o))
	return cmd
}

// loadCluster reads the cluster's file.
func (a *app) loadCluster(o *clusterOptions) (*cluster.Spec, error) {
	data, err := os.ReadFile(a.path(o.file))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read cluster %q: there is no such file; write one with: raybuild cluster init HOST…",
			o.file)
	}
	if err != nil {
		return nil, fmt.Errorf("read cluster: %w", err)
	}
	spec, err := cluster.Load(o.file, data)
	if err != nil {
		return nil, err
	}
	if o.image != "" {
		spec.Image = o.image
	}
	o.id, err = a.readID(o)
	return spec, err
}

// launcher returns the options for reaching the cluster's hosts from this machine.
func (a *app) launcher(o *clusterOptions) cluster.Options {
	ssh := cluster.SSH{Config: o.sshConfig, KnownHosts: o.knownHosts}
	if len(ssh.KnownHosts) == 0 {
		ssh.ConfigHosts = true
		ssh.ProjectHosts, ssh.KnownHosts = a.besideCluster(o), []string{"/etc/ssh/ssh_known_hosts"}
		if home, err := os.UserHomeDir(); err == nil {
			ssh.KnownHosts = append(ssh.KnownHosts, filepath.Join(home, ".ssh/known_hosts"))
		}
	}
	if o.identity != "" {
		ssh.Identities = []string{a.path(o.identity)}
	}
	c := registry.New(registry.Options{Insecure: o.insecure, CertDirs: registry.CertDirs(a.getenv),
		Timeout: 10 * time.Second, Log: a.warn})
	return cluster.Options{SSH: ssh, Log: a.stderr, Images: registryImages{c}, Auth: registryAuth{c}.find,
		Verify: a.verifySigned(o, c),
		// without a file of it an id that nobody has: what is there is of another cluster, or of none
		ID: cmp.Or(o.id, cluster.NewID()), TakeOver: o.takeOver}
}

// besideCluster returns the file of host keys beside the cluster's file.
func (a *app) besideCluster(o *clusterOptions) string {
	return filepath.Join(filepath.Dir(a.path(o.file)), "known_hosts")
}

// registryImages reads facts about an image from a registry.
type registryImages struct{ client *registry.Client }

// Facts implements cluster.Images.
func (r registryImages) Facts(ctx context.Context, ref string) (cluster.ImageFacts, error) {
	img, err := r.client.Inspect(ctx, ref)
	if err != nil {
		return cluster.ImageFacts{}, err
	}
	at, _, _ := strings.Cut(ref, "@")
	if i := strings.LastIndexByte(at, ':'); i > strings.LastIndexByte(at, '/') {
		at = at[:i]
	}
	f := cluster.ImageFacts{Ref: at + "@" + img.Digest.String(), Digest: img.Digest.String(),
		Layers: map[string][]cluster.ImageLayer{}}
	for _, p := range img.Platforms {
		f.Arch = append(f.Arch, p.Platform.Architecture)
		f.User = p.Config.User
		for _, key := range []string{"io.ray.ray-version", layers.RayLabel} {
			if v := p.Config.Labels[key]; v != "" {
				f.RayVersion = v
			}
		}
		f.Python = p.Config.Labels[layers.PythonLabel]
		for _, l := range p.Layers {
			f.MediaTypes = append(f.MediaTypes, l.MediaType)
			f.Layers[p.Platform.Architecture] = append(f.Layers[p.Platform.Architecture],
				cluster.ImageLayer{DiffID: l.DiffID.String(), Size: l.Size})
		}
	}
	return f, nil
}

// registryAuth finds the credentials that docker login left on this machine. Each pull sends
// them; no host stores them.
type registryAuth struct{ client *registry.Client }

func (r registryAuth) find(ctx context.Context, host string) (cluster.Credentials, error) {
	c, err := r.client.Credentials(ctx, host)
	return cluster.Credentials(c), err
}

// report prints a result as JSON or as text.
func (a *app) report(asJSON bool, v fmt.Stringer) error {
	if asJSON {
		return a.printJSON(v)
	}
	return a.print("%s", strings.TrimRight(v.String(), "\n"))
}

// programError has the exit code of a program that ran on the cluster.
type programError struct{ code int }

func (e *programError) Error() string {
	return fmt.Sprintf("the program ended with exit code %d", e.code)
}

// ended converts a program's exit code into an error.
func ended(code int) error {
	if code == 0 {
		return nil
	}
	return &programError{code}
}
