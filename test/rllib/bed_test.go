package rllib

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/raybuild/raybuild/internal/engine"
	"github.com/raybuild/raybuild/internal/testneeds"
	"github.com/raybuild/raybuild/internal/world"
)

// training is the example under test, from this package's directory.
const training = "../../examples/training"

// needGB is the disk that the test takes at most: the builder has wheels and layers packed and unpacked; it is
// removed before the host unpacks the image once more beside the registry's packed one.
const needGB = 20

// hostPrograms are what a host with a Docker Engine of its own takes.
const hostPrograms = "dockerd containerd docker-init sshd ssh-keygen ip nsenter unshare curl"

// missing says what a test lacks on this machine, which takes these programs beside a builder's and so much disk.
func missing(ctx context.Context, dir, programs string, gigabytes uint64) string {
	if os.Getuid() != 0 {
		return "root: the engine mounts and runs containers"
	}
	for _, p := range strings.Fields("runc mmdebstrap " + programs) {
		if _, err := exec.LookPath(p); err != nil {
			return p + " (make needs installs it)"
		}
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return fmt.Sprintf("room in %s: %v", dir, err)
	}
	if free := fs.Bavail * uint64(fs.Bsize) >> 30; free < gigabytes {
		return fmt.Sprintf("%d GiB of disk: %s has %d GiB free", gigabytes, dir, free)
	}
	if err := world.Answers(ctx, "https://pypi.org/simple"); err != nil {
		return fmt.Sprintf("PyPI: %v", err)
	}
	return ""
}

// place is a directory with the program, and the package sources and the registry in it.
type place struct {
	dir     string
	program string
	testEnv *world.World
	store   string // where registry and lock are
}

// bed is a host with a Docker Engine beside them.
type bed struct {
	*place
	net, name string
	cluster   string // the cluster.yaml that is up
}

// newPlace skips the test where programs, or so much disk, are not there. The sources do not run yet.
func newPlace(t *testing.T, programs string, gigabytes uint64) *place {
	t.Helper()
	const root = "/var/tmp" // on a real disk: /tmp may be memory
	if why := missing(t.Context(), root, programs, gigabytes); why != "" {
		testneeds.Skip(t, "this test needs "+why)
	}
	//nolint:usetesting // t.TempDir may be in memory, and its name is too long for sockets
	dir, err := os.MkdirTemp(root, "rblt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove %s: %v", dir, err)
		}
	})
	p := &place{dir: dir, store: dir, program: filepath.Join(dir, "raybuild")}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", p.program,
		"github.com/raybuild/raybuild/cmd/raybuild")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build raybuild: %v\n%s", err, out)
	}
	return p
}

// start starts the sources until the test ends, and the registry at an address; "": any on loopback.
func (p *place) start(t *testing.T, registry string) {
	t.Helper()
	var err error
	p.testEnv, err = world.Start(t.Context(), world.Options{
		Dir: filepath.Join(p.store, "world"), Addrs: [3]string{"", "", registry}, Log: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.testEnv.Close(); err != nil {
			t.Errorf("end the world: %v", err)
		}
	})
}

// endBuilder stops the engine whose state is in home, and removes all of it.
func (p *place) endBuilder(t *testing.T, home string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := engine.Stop(ctx, engine.Options{Home: home, Exe: p.program, Env: []string{}}); err != nil {
		t.Errorf("stop engine: %v", err)
	}
	if err := os.RemoveAll(home); err != nil {
		t.Errorf("remove the builder's files: %v", err)
	}
}

func newBed(t *testing.T) *bed {
	t.Helper()
	n := os.Getpid() % 250
	b := &bed{place: newPlace(t, hostPrograms, needGB), net: fmt.Sprintf("10.85.%d", n), name: fmt.Sprintf("rl%d", n)}
	t.Cleanup(func() { b.hosts(t, "down") })
	b.hosts(t, "up", "1")
	if keep := os.Getenv(keepEnv); keep != "" {
		b.store = keep
	}
	b.start(t, b.net+".1:0")
	return b
}

// hosts runs test/hosts.sh.
func (b *bed) hosts(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("../hosts.sh", args...)
	cmd.Env = append(os.Environ(), "HOSTS_NAME="+b.name, "HOSTS_NET="+b.net, "HOSTS_DIR="+filepath.Join(b.dir, "hosts"),
		"HOSTS_DOCKERD_ARGS=--insecure-registry "+b.net+".0/24")
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("hosts.sh %s: %v\n%s%s", strings.Join(args, " "), err, out, said.Bytes())
	}
	return string(out)
}

// onHost runs a command on the host.
func (b *bed) onHost(t *testing.T, args ...string) string {
	t.Helper()
	return strings.TrimSpace(b.hosts(t, append([]string{"exec", "1"}, args...)...))
}

// image is what was built.
type image struct {
	Name     string // in the registry, by digest
	Packed   int64
	Layers   int
	Packages int
	Seconds  float64
}

// need gives the image, which an earlier run may have kept.
func (b *bed) need(t *testing.T) image {
	t.Helper()
	var made image
	file := filepath.Join(b.store, "image.json")
	data, err := os.ReadFile(file)
	if err == nil {
		if err := json.Unmarshal(data, &made); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		return made
	}
	made = b.build(t)
	if data, err = json.Marshal(made); err == nil {
		err = os.WriteFile(file, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// build builds the example's recipe with the real PyPI and pushes it. Where base, apt, conda and installer come from
// is the offline world. The builder's files are removed then: they are twice the image.
func (b *bed) build(t *testing.T) image {
	t.Helper()
	home, lock := filepath.Join(b.dir, "h"), filepath.Join(b.store, "raybuild.lock")
	in, _ := b.testEnv.Installer("miniconda")
	a := b.testEnv.A
	args := []string{"--push", "--progress", "plain", "--insecure-registry", b.testEnv.Registry,
		"-f", training + "/raybuild.yaml", "--lock", lock, "--set", "base=" + b.testEnv.Base, "--set",
		"env.python=3.11",
		"--set", fmt.Sprintf("miniconda={version: %s, sha256: %s}", in.Version, in.SHA256),
		"--set", fmt.Sprintf("mirrors.fetch=[{apt: %s, conda: %s, installer: %s}, official]", a.Apt,
			a.Conda, a.Installer),
		b.testEnv.Registry + "/ray-training:test"}
	defer b.endBuilder(t, home)
	start := time.Now()
	cmd := exec.CommandContext(t.Context(), b.program, args...)
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(), "RAYBUILD_HOME="+home)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("build and push the example's image: %v", err)
	}
	built := strings.TrimSpace(string(out))
	made := image{Name: strings.TrimPrefix(built, b.testEnv.Registry+"/"), Seconds: time.Since(start).Seconds()}
	b.measure(t, built, lock, &made)
	return made
}

// measure fills in what registry and lock say of the image.
func (b *bed) measure(t *testing.T, built, lock string, made *image) {
	t.Helper()
	ref, err := name.ParseReference(built, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range m.Layers {
		made.Packed += l.Size
	}
	made.Layers = len(m.Layers)
	text, err := os.ReadFile(lock)
	if err != nil {
		t.Fatal(err)
	}
	made.Packages = bytes.Count(text, []byte(".whl"))
}

var (
	imageLine = regexp.MustCompile(`(?m)^image: \S+.*$`)
	localHost = regexp.MustCompile(`\blocal\b`)
)

// up starts one of the example's clusters on the host, with the image, and gives the seconds that it took.
func (b *bed) up(t *testing.T, file string, made image) float64 {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(training, file))
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for line := range strings.SplitSeq(string(data), "\n") {
		code, _, _ := strings.Cut(line, "#")
		text = append(text, localHost.ReplaceAllString(code, fmt.Sprintf("%q", "ssh://root@"+b.net+".11")))
	}
	b.cluster = filepath.Join(b.dir, file)
	whole := imageLine.ReplaceAllString(strings.Join(text, "\n"), "image: "+b.testEnv.Registry+"/"+made.Name)
	if err := os.WriteFile(b.cluster, []byte(whole), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.raybuild(context.WithoutCancel(t.Context()), t, "down") })
	b.onHost(t, "rm", "-rf", "/srv/shared")
	b.onHost(t, "install", "-d", "-o", "1000", "-g", "1000", "/srv/shared")
	start := time.Now()
	if _, code := b.raybuild(t.Context(), t, "up", "--wait", "10m"); code != 0 {
		t.Fatalf("cluster up: exit %d", code)
	}
	return time.Since(start).Seconds()
}

// raybuild runs a command of the cluster and gives what it wrote, and its exit code.
func (b *bed) raybuild(ctx context.Context, t *testing.T, verb string, args ...string) (string, int) {
	t.Helper()
	hosts := filepath.Join(b.dir, "hosts")
	all := append([]string{"cluster", verb, "-f", b.cluster, "--ssh-config", "none",
		"--identity", filepath.Join(hosts, "id_ed25519"), "--known-hosts", filepath.Join(hosts, "known_hosts"),
		"--insecure-registry", b.testEnv.Registry}, args...)
	cmd := exec.CommandContext(ctx, b.program, all...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK=")
	err := cmd.Run()
	log.Printf("raybuild cluster %s %s: %v\n%s%s", verb, strings.Join(args, " "), err, out.String(), said.String())
	return out.String() + said.String(), cmd.ProcessState.ExitCode()
}
