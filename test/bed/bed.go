// Package bed makes hosts for tests: each with its own address, sshd and Docker Engine, made by
// test/hosts.sh on this machine. It is for packages of tests that lie beside it.
package bed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/raybuild/raybuild/cluster"
	"github.com/raybuild/raybuild/internal/docker"
	"github.com/raybuild/raybuild/internal/testneeds"
)

// Options says what hosts there are. The zero value is three of them, with a registry in memory.
type Options struct {
	Hosts int          // default: RAYBUILD_TEST_HOSTS, else three
	Store http.Handler // the registry that the hosts reach; default: one in memory
}

// Bed is hosts on a network of their own, and a registry that they reach.
type Bed struct {
	Dir, Net, Name string // hosts.sh's HOSTS_DIR, HOSTS_NET and HOSTS_NAME
	Hosts          int
	Registry       string // host:port as the hosts see it
	Store          http.Handler

	listener net.Listener
}

// Missing says what this machine lacks for hosts, or "".
func Missing() string {
	return testneeds.Missing("dockerd", "containerd", "runc", "docker-init", "sshd", "ssh-keygen", "ip", "nft",
		"nsenter", "unshare", "curl")
}

// Start makes hosts, which end with Close.
func Start(o Options) (*Bed, error) {
	dir, err := os.MkdirTemp("/var/tmp", "raybuild-bed-")
	if err != nil {
		return nil, err
	}
	n := os.Getpid() % 250
	b := &Bed{Dir: filepath.Join(dir, "hosts"), Net: fmt.Sprintf("10.86.%d", n), Name: fmt.Sprintf("rt%d", n),
		Hosts: o.Hosts, Store: o.Store}
	if s := os.Getenv("RAYBUILD_TEST_NET"); s != "" {
		b.Net = s
	}
	if s := os.Getenv("RAYBUILD_TEST_HOSTS"); s != "" && b.Hosts == 0 {
		if b.Hosts, err = strconv.Atoi(s); err != nil {
			return nil, fmt.Errorf("read RAYBUILD_TEST_HOSTS %q: %w", s, err)
		}
	}
	if b.Hosts == 0 {
		b.Hosts = 3
	}
	if b.Store == nil {
		b.Store = registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	}
	// the hosts reach it at this machine's address on their network
	var lc net.ListenConfig
	//nolint:forbidigo // it lives as long as the tests
	if b.listener, err = lc.Listen(context.Background(), "tcp", ":0"); err != nil {
		return nil, err
	}
	go http.Serve(b.listener, b.Store) //nolint:errcheck,gosec // it serves until Close
	b.Registry = fmt.Sprintf("%s.1:%d", b.Net, b.listener.Addr().(*net.TCPAddr).Port)
	if out, err := b.Script("up", fmt.Sprint(b.Hosts)); err != nil {
		return nil, errors.Join(fmt.Errorf("start hosts: %w\n%s", err, out), b.Close())
	}
	return b, nil
}

// Close stops the hosts and removes all of them.
func (b *Bed) Close() error {
	err := b.listener.Close()
	if out, e := b.Script("down"); e != nil {
		err = errors.Join(err, fmt.Errorf("stop hosts: %w\n%s", e, out))
	}
	return errors.Join(err, os.RemoveAll(filepath.Dir(b.Dir)))
}

// Script runs hosts.sh.
func (b *Bed) Script(args ...string) (string, error) {
	cmd := exec.Command("../hosts.sh", args...)
	cmd.Env = b.Env()
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Env is hosts.sh's.
func (b *Bed) Env() []string {
	return append(os.Environ(), "HOSTS_NAME="+b.Name, "HOSTS_NET="+b.Net, "HOSTS_DIR="+b.Dir,
		"HOSTS_DOCKERD_ARGS=--insecure-registry "+b.Registry+" --insecure-registry "+b.Net+".0/24")
}

// Must runs hosts.sh, which has to succeed.
func (b *Bed) Must(t testing.TB, args ...string) string {
	t.Helper()
	out, err := b.Script(args...)
	if err != nil {
		t.Fatalf("hosts.sh %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// Addr is the address of host i, from 1.
func (b *Bed) Addr(i int) string { return fmt.Sprintf("%s.%d", b.Net, 10+i) }

// Reach is how the bed's hosts are reached: with its own key and host keys.
func (b *Bed) Reach() cluster.Options {
	s := b.SSH()
	return cluster.Options{Images: images{}, SSH: cluster.SSH{Config: s.SSHConfig, KnownHosts: s.KnownHosts,
		Identities: s.Identities, Agent: s.Agent}}
}

// SSH is Reach for a test that connects to a host without the launcher.
func (b *Bed) SSH() docker.Options {
	return docker.Options{SSHConfig: "none", Agent: "none", KnownHosts: []string{filepath.Join(b.Dir, "known_hosts")},
		Identities: []string{filepath.Join(b.Dir, "id_ed25519")}}
}

// Home makes the home directory of somebody whose SSH key the hosts take, with the named files of
// the bed in its .ssh: id_ed25519, and known_hosts for one who has recorded the hosts' keys.
func (b *Bed) Home(t testing.TB, files ...string) string {
	t.Helper()
	home := t.TempDir()
	if err := os.Mkdir(filepath.Join(home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(filepath.Join(b.Dir, file))
		if err == nil {
			err = os.WriteFile(filepath.Join(home, ".ssh", file), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return home
}

// Options are those of Reach, with the launcher's output in the test's log.
func (b *Bed) Options(t testing.TB) cluster.Options {
	o := b.Reach()
	o.Log = testLog{t, time.Now()}
	return o
}

// testLog shows the launcher's output in the test's log.
type testLog struct {
	t     testing.TB
	start time.Time
}

func (l testLog) Write(p []byte) (int, error) {
	l.t.Logf("%5.1f s  %s", time.Since(l.start).Seconds(), strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

// images asks the bed's registry, as the command does.
type images struct{}

func (images) Facts(ctx context.Context, ref string) (cluster.ImageFacts, error) {
	r, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		return cluster.ImageFacts{}, err
	}
	img, err := remote.Image(r, remote.WithContext(ctx))
	if err != nil {
		return cluster.ImageFacts{}, err
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return cluster.ImageFacts{}, err
	}
	d, err := img.Digest()
	return cluster.ImageFacts{Ref: ref, Digest: d.String(), RayVersion: cfg.Config.Labels["dev.raybuild.ray"],
		Arch: []string{cfg.Architecture}, User: cfg.Config.User}, err
}

// Text is a cluster.yaml of one head, on host 1, and the given workers, by host number.
func (b *Bed) Text(name, image, more string, workers ...int) string {
	var hosts []string
	for _, w := range workers {
		hosts = append(hosts, fmt.Sprintf("%q", "ssh://root@"+b.Addr(w)))
	}
	text := fmt.Sprintf("name: %s\nimage: %s\nhead: {host: %q, num_cpus: 1, shm_size: 128m}\nnum_cpus: 2\n"+
		"shm_size: 128m\n", name, image, "ssh://root@"+b.Addr(1))
	if len(workers) > 0 {
		text += "workers: [{hosts: [" + strings.Join(hosts, ", ") + "]}]\n"
	}
	return text + more
}

// Spec is Text's, read.
func (b *Bed) Spec(t testing.TB, name, image, more string, workers ...int) *cluster.Spec {
	t.Helper()
	text := b.Text(name, image, more, workers...)
	s, err := cluster.Load("cluster.yaml", []byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return s
}

// Clean takes the cluster down when the test ends, and checks that nothing is left on any host.
func (b *Bed) Clean(t testing.TB, name string) { t.Cleanup(func() { b.Down(t, name) }) }

// Down takes a cluster down and checks that nothing is left of it on any host.
func (b *Bed) Down(t testing.TB, name string) {
	t.Helper()
	var hosts []cluster.Host
	for i := range b.Hosts {
		hosts = append(hosts, cluster.Host{Address: b.Addr(i + 1), User: "root"})
	}
	//nolint:forbidigo // the test's own may have ended
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	o := b.Options(t)
	o.TakeOver = true // the program's clusters have an id
	if _, err := cluster.Down(ctx, name, hosts, o); err != nil {
		t.Errorf("down: %v", err)
	}
	var looks sync.WaitGroup
	for i := range b.Hosts {
		looks.Go(func() { b.NothingLeft(t, i+1) })
	}
	looks.Wait()
}
