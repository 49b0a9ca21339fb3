// Package launcher tests the launcher on real hosts: each with its own address, sshd and Docker Engine, made by test/hosts.sh on
// this machine. What runs in the containers is a stand-in for Ray; each test says which.
package launcher

import (
	"archive/tar"
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
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/raybuild/raybuild/cluster"
	"github.com/raybuild/raybuild/internal/docker"
)

// bed is three hosts and a registry that they reach. All tests of the package share it.
type bed struct {
	dir, net, name string
	hosts          int
	registry       string // host:port as the hosts see it
	store          http.Handler
	image          string // name@sha256:… of miniray
	moved          string // another image of it
	world          string // name@sha256:… of the offline world's image, once a test has asked for it
}

var (
	theBed  *bed
	bedOnce sync.Once
	errBed  error
)

func TestMain(m *testing.M) {
	if r := os.Getenv(upEnv); r != "" {
		os.Exit(runUp(r))
	}
	if list := os.Getenv(probeEnv); list != "" {
		os.Exit(runProbe(list))
	}
	code := m.Run()
	if err := os.RemoveAll(programDir); err != nil {
		log.Print(err)
		code = 1
	}
	if theBed != nil {
		if out, err := theBed.script("down"); err != nil {
			log.Printf("hosts.sh down: %v\n%s", err, out)
			code = 1
		}
		if err := os.RemoveAll(filepath.Dir(theBed.dir)); err != nil {
			log.Print(err)
			code = 1
		}
	}
	os.Exit(code)
}

// needBed returns the hosts, or skips where they cannot be had. With RAYBUILD_TEST_STRICT=1 that is a failure.
func needBed(t *testing.T) *bed {
	t.Helper()
	if why := missing(); why != "" {
		if os.Getenv("RAYBUILD_TEST_STRICT") == "1" {
			t.Fatal("strict mode: " + why)
		}
		t.Skip("no hosts can be made here: " + why)
	}
	bedOnce.Do(func() { theBed, errBed = makeBed() })
	if errBed != nil {
		t.Fatal(errBed)
	}
	return theBed
}

func missing() string {
	if os.Getuid() != 0 {
		return "this is not root"
	}
	for _, p := range []string{"dockerd", "containerd", "runc", "docker-init", "sshd", "ssh-keygen", "ip", "nft", "nsenter", "unshare", "curl"} {
		if _, err := exec.LookPath(p); err != nil {
			return p + " is not installed (apt-get install docker.io openssh-server openssh-client iproute2 nftables util-linux curl)"
		}
	}
	return ""
}

func makeBed() (*bed, error) {
	dir, err := os.MkdirTemp("/var/tmp", "raybuild-bed-")
	if err != nil {
		return nil, err
	}
	n := os.Getpid() % 250
	b := &bed{dir: filepath.Join(dir, "hosts"), net: fmt.Sprintf("10.86.%d", n), name: fmt.Sprintf("rt%d", n), hosts: 3}
	if s := os.Getenv("RAYBUILD_TEST_NET"); s != "" {
		b.net = s
	}
	if s := os.Getenv("RAYBUILD_TEST_HOSTS"); s != "" {
		if b.hosts, err = strconv.Atoi(s); err != nil {
			return nil, err
		}
	}
	ln, err := net.Listen("tcp", ":0") // the hosts reach it at this machine's address on their network
	if err != nil {
		return nil, err
	}
	b.store = registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	go http.Serve(ln, b.store) //nolint:errcheck // it serves until the process ends
	port := ln.Addr().(*net.TCPAddr).Port
	b.registry = fmt.Sprintf("%s.1:%d", b.net, port)
	if out, err := b.script("up", fmt.Sprint(b.hosts)); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("hosts.sh up: %w\n%s", err, out)
	}
	if b.image, err = b.push("miniray", "1"); err == nil {
		b.moved, err = b.push("miniray", "2")
	}
	return b, err
}

func (b *bed) script(args ...string) (string, error) {
	cmd := exec.Command("../hosts.sh", args...)
	cmd.Env = b.env()
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// env is hosts.sh's.
func (b *bed) env() []string {
	return append(os.Environ(), "HOSTS_NAME="+b.name, "HOSTS_NET="+b.net, "HOSTS_DIR="+b.dir, "HOSTS_DOCKERD_ARGS=--insecure-registry "+b.registry)
}

// must runs hosts.sh.
func (b *bed) must(t testing.TB, args ...string) string {
	t.Helper()
	out, err := b.script(args...)
	if err != nil {
		t.Fatalf("hosts.sh %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// push builds an image with miniray as its `ray` and pushes it.
func (b *bed) push(repo, mark string) (string, error) {
	bin := filepath.Join(filepath.Dir(b.dir), "miniray")
	if _, err := os.Stat(bin); err != nil {
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, "./miniray")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build miniray: %w\n%s", err, out)
		}
	}
	data, err := os.ReadFile(bin)
	if err != nil {
		return "", err
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range []struct {
		name string
		mode int64
		data []byte
	}{{"bin/ray", 0o755, data}, {"mark", 0o644, []byte(mark)}} {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data))}); err != nil {
			return "", err
		}
		if _, err := w.Write(f.data); err != nil {
			return "", err
		}
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	if err != nil {
		return "", err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return "", err
	}
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: must(img.ConfigFile()).RootFS,
		Config: v1.Config{Env: []string{"PATH=/bin"}, Labels: map[string]string{"dev.raybuild.ray": "2.52.0", "dev.raybuild.python": "3.12.3"}}})
	if err != nil {
		return "", err
	}
	ref, err := name.ParseReference(b.registry+"/"+repo+":"+mark, name.Insecure)
	if err != nil {
		return "", err
	}
	if err := remote.Write(ref, img); err != nil {
		return "", err
	}
	d, err := img.Digest()
	return b.registry + "/" + repo + "@" + d.String(), err
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (b *bed) addr(i int) string { return fmt.Sprintf("%s.%d", b.net, 10+i) }

// reach is how the bed's hosts are reached: with its own key and host keys.
func (b *bed) reach() cluster.Options {
	return cluster.Options{Images: images{}, SSH: docker.Options{SSHConfig: "none", Agent: "none",
		KnownHosts: []string{filepath.Join(b.dir, "known_hosts")}, Identities: []string{filepath.Join(b.dir, "id_ed25519")}}}
}

// options are those of reach, with the story in the test's log.
func (b *bed) options(t testing.TB) cluster.Options {
	o := b.reach()
	o.Log = testLog{t, time.Now()}
	return o
}

// testLog shows the launcher's story in the test's log.
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
	return cluster.ImageFacts{Ref: ref, Digest: d.String(), RayVersion: cfg.Config.Labels["dev.raybuild.ray"], Arch: []string{cfg.Architecture}}, err
}

// text is a cluster.yaml of one head and the given workers, by host number.
func (b *bed) text(name, image, more string, workers ...int) string {
	var hosts []string
	for _, w := range workers {
		hosts = append(hosts, fmt.Sprintf("%q", "ssh://root@"+b.addr(w)))
	}
	text := fmt.Sprintf("name: %s\nimage: %s\nhead: {host: %q, num_cpus: 1, shm_size: 128m}\nnum_cpus: 2\nshm_size: 128m\n", name, image, "ssh://root@"+b.addr(1))
	if len(workers) > 0 {
		text += "workers: [{hosts: [" + strings.Join(hosts, ", ") + "]}]\n"
	}
	return text + more
}

func (b *bed) spec(t testing.TB, name, image, more string, workers ...int) *cluster.Spec {
	t.Helper()
	text := b.text(name, image, more, workers...)
	s, err := cluster.Load("cluster.yaml", []byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return s
}

// clean takes the cluster down when the test ends, and checks that nothing is left on any host.
func (b *bed) clean(t testing.TB, name string) {
	t.Cleanup(func() {
		var hosts []cluster.Host
		for i := range b.hosts {
			hosts = append(hosts, cluster.Host{Address: b.addr(i + 1), User: "root"})
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if _, err := cluster.Down(ctx, name, hosts, b.options(t)); err != nil {
			t.Errorf("down: %v", err)
		}
		var looks sync.WaitGroup
		for i := range b.hosts {
			looks.Go(func() { b.nothingLeft(t, i+1) })
		}
		looks.Wait()
	})
}
