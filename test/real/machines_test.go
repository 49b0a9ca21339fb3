package real

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// machines are hosts, each with its own address, sshd and Docker Engine, made by test/hosts.sh, a registry that they reach, and a home
// directory of somebody whose SSH key they take.
type machines struct {
	dir, net, name string
	registry       string // host:port as the hosts see it
	home           string
	program        string // raybuild
}

// startMachines starts n hosts for the length of a test, or skips where they cannot be had.
func startMachines(t *testing.T, n int) *machines {
	t.Helper()
	needTools(t, "dockerd", "containerd", "runc", "docker-init", "sshd", "ssh", "ssh-keygen", "ip", "nft", "nsenter", "unshare", "curl")
	base, err := os.MkdirTemp("/var/tmp", "raybuild-real-") //nolint:usetesting // a Docker Engine needs a real file system
	if err != nil {
		t.Fatal(err)
	}
	id := os.Getpid() % 250
	m := &machines{dir: filepath.Join(base, "hosts"), home: filepath.Join(base, "home"), net: fmt.Sprintf("10.85.%d", id), name: fmt.Sprintf("rr%d", id)}
	t.Cleanup(func() {
		if out, err := m.script("down"); err != nil {
			t.Errorf("hosts.sh down: %v\n%s", err, out)
		}
		if err := os.RemoveAll(base); err != nil {
			t.Error(err)
		}
	})
	ln, err := net.Listen("tcp", ":0") // the hosts reach it at this machine's address on their network
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	go server.Serve(ln) //nolint:errcheck // it serves until the test ends
	t.Cleanup(func() { server.Close() })
	m.registry = fmt.Sprintf("%s.1:%d", m.net, ln.Addr().(*net.TCPAddr).Port)
	if out, err := m.script("up", fmt.Sprint(n)); err != nil {
		t.Fatalf("hosts.sh up: %v\n%s", err, out)
	}
	for from, to := range map[string]string{"id_ed25519": "id_ed25519", "known_hosts": "known_hosts"} {
		data, err := os.ReadFile(filepath.Join(m.dir, from))
		if err == nil {
			err = os.MkdirAll(filepath.Join(m.home, ".ssh"), 0o700)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(m.home, ".ssh", to), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	m.program = filepath.Join(base, "raybuild")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", m.program, "github.com/raybuild/raybuild/cmd/raybuild")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build raybuild: %v\n%s", err, out)
	}
	return m
}

// needTools skips where a program is missing, or this is not root. With RAYBUILD_TEST_STRICT=1 that is a failure.
func needTools(t *testing.T, programs ...string) {
	t.Helper()
	why := ""
	if os.Getuid() != 0 {
		why = "this is not root"
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			why = p + " is not installed (scripts/needs)"
		}
	}
	if why != "" && os.Getenv("RAYBUILD_TEST_STRICT") == "1" {
		t.Fatal("strict mode: " + why)
	}
	if why != "" {
		t.Skip(why)
	}
}

func (m *machines) script(args ...string) (string, error) {
	cmd := exec.Command("../hosts.sh", args...)
	cmd.Env = append(os.Environ(), "HOSTS_NAME="+m.name, "HOSTS_NET="+m.net, "HOSTS_DIR="+m.dir, "HOSTS_DOCKERD_ARGS=--insecure-registry "+m.registry)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// must runs hosts.sh.
func (m *machines) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := m.script(args...)
	if err != nil {
		t.Fatalf("hosts.sh %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (m *machines) addr(i int) string { return fmt.Sprintf("%s.%d", m.net, 10+i) }

// bring copies an image to the registry that the hosts reach, and names it there by digest.
func (m *machines) bring(t *testing.T, image string) string {
	t.Helper()
	from, err := name.ParseReference(image, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(from, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	to, err := name.ParseReference(m.registry+"/ray:real", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(to, img, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return m.registry + "/ray@" + d.String()
}

// env is that of somebody who works in m.home.
func (m *machines) env(more ...string) []string {
	return append([]string{"HOME=" + m.home, "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8"}, more...)
}

// said is what a program printed and how it ended.
type said struct {
	stdout, stderr string
	code           int
}

// raybuild runs `raybuild cluster ARGS` in m.home, where cluster.yaml is.
func (m *machines) raybuild(ctx context.Context, t *testing.T, args ...string) said {
	t.Helper()
	cmd := exec.CommandContext(ctx, m.program, append([]string{"cluster", "--insecure-registry", m.registry}, args...)...)
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = m.home, m.env(), &out, &errs
	start := time.Now()
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	s := said{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
	t.Logf("raybuild cluster %s: exit code %d after %.1f s\n%s%s", strings.Join(args, " "), s.code, time.Since(start).Seconds(), s.stderr, s.stdout)
	if strings.ContainsRune(s.stderr+s.stdout, 0x1b) {
		t.Errorf("raybuild cluster %s prints escape codes: %q", strings.Join(args, " "), s.stderr+s.stdout)
	}
	return s
}

// write writes a file of m.home.
func (m *machines) write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.home, file), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// clusterYAML is a cluster named demo of n hosts.
func (m *machines) clusterYAML(image string, n int) string {
	text := fmt.Sprintf("name: demo\nimage: %s\nhead: {host: root@%s, num_cpus: 1}\nnum_cpus: 1\nshm_size: 256m\n", image, m.addr(1))
	var hosts []string
	for i := 2; i <= n; i++ {
		hosts = append(hosts, "root@"+m.addr(i))
	}
	if len(hosts) > 0 {
		text += "workers: [{hosts: [" + strings.Join(hosts, ", ") + "]}]\n"
	}
	return text
}

// until polls f, and gives up after limit.
func until(ctx context.Context, limit time.Duration, f func() bool) bool {
	end := time.Now().Add(limit)
	for !f() {
		if time.Now().After(end) || ctx.Err() != nil {
			return false
		}
		select {
		case <-ctx.Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
	return true
}
