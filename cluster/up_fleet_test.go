package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/docker"
	"github.com/raybuild/raybuild/internal/docker/enginetest"
	"github.com/raybuild/raybuild/internal/docker/sshtest"
	"github.com/raybuild/raybuild/internal/testneeds"
)

// The tests of this file run on hosts in the test's own process: real SSH servers, Engines in
// memory, and a head that counts the containers that run as Ray would count its nodes. Real sshd,
// Engines and faults are in test/launcher.

const fleetImage = "registry.example/ray@sha256:1111111111111111111111111111111111111111111111111111111111111111"
const fleetImage2 = "registry.example/ray@sha256:2222222222222222222222222222222222222222222222222222222222222222"

type fakeFleet struct {
	engines []*enginetest.Engine
	larger  atomic.Int64 // bytes that the hosts have more than their Engines, which run in virtual machines
	stale   atomic.Bool  // Ray still counts containers that have ended
	started atomic.Int64 // when Ray's nodes have started, in milliseconds; 0: it does not say
	root    atomic.Bool  // we may read what belongs to root on the hosts
	free    atomic.Int64 // bytes on the hosts' disks
	public  atomic.Int64 // the number of a host that has a public address, too; -1: none
	servers []*sshtest.Server
	known   string
	key     string
	ray     *httptest.Server
}

func newFleet(t testing.TB, n int) *fakeFleet {
	f := &fakeFleet{}
	f.free.Store(90 << 30)
	f.public.Store(-1)
	images := map[string]map[string]string{}
	for _, ref := range []string{fleetImage, fleetImage2} {
		images[ref] = map[string]string{imageRay: "2.52.0"}
	}
	f.ray = httptest.NewServer(http.HandlerFunc(f.serveRay))
	t.Cleanup(f.ray.Close)
	for i := range n {
		e := enginetest.Start(fmt.Sprintf("h%d", i), map[string]map[string]string{}, images)
		t.Cleanup(func() { e.Listener.Close() })
		f.engines = append(f.engines, e)
		o := sshtest.Options{Listen: fmt.Sprintf("127.0.1.%d:0", i+1), Exec: f.exec(i),
			Unix: func(_ string, c net.Conn) { e.Listener.Give(c) },
			TCP: func(addr string) (net.Conn, error) {
				if strings.HasSuffix(addr, ":8265") && i == 0 {
					return net.Dial("tcp", f.ray.Listener.Addr().String())
				}
				return nil, errors.New("Connection refused")
			}}
		f.servers = append(f.servers, sshtest.Start(t, o))
	}
	f.known = sshtest.KnownHosts(t, f.servers...)
	_, pem := sshtest.NewKey(t)
	f.key = filepath.Join(t.TempDir(), "id")
	if err := os.WriteFile(f.key, pem, 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

// text is the cluster's file for the first n hosts.
func (f *fakeFleet) text(image string, n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "name: fleet\nimage: %s\nhead: {host: %q}\nnum_cpus: 2\nshm_size: 100m\n"+
		"parallel: 64\n", image, "ssh://me@"+f.servers[0].Addr)
	if n > 1 {
		b.WriteString("workers:\n  - hosts:\n")
		for _, s := range f.servers[1:n] {
			fmt.Fprintf(&b, "      - %q\n", "ssh://me@"+s.Addr)
		}
	}
	return b.String()
}

func (f *fakeFleet) spec(t testing.TB, image string, n int) *Spec {
	s, err := Load("cluster.yaml", []byte(f.text(image, n)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (f *fakeFleet) options() Options {
	return Options{SSH: SSH{Config: "none", Agent: "none", KnownHosts: []string{f.known},
		Identities: []string{f.key}}}
}

// exec answers the commands that the API has no call for, as a Debian host does.
func (f *fakeFleet) exec(i int) func(string, io.Reader, io.Writer, io.Writer) int {
	return func(line string, _ io.Reader, out, errs io.Writer) int {
		switch {
		case strings.HasPrefix(line, "cat /proc/net/fib_trie"):
			fmt.Fprintf(out, "Local:\n  +-- 0.0.0.0/0 3 0 5\n           |-- 127.0.0.1\n              /32 host LOCAL\n"+
				"           |-- 10.7.0.%d\n              /32 host LOCAL\n", i+1)
			if f.public.Load() == int64(i) {
				fmt.Fprintln(out, "           |-- 8.8.8.8\n              /32 host LOCAL")
			}
			e := f.engines[i]
			e.Become(func() {
				fmt.Fprintf(out, "MemTotal:       %d kB\n"+
					"MemFree:        1024 kB\n0-%d\n", (e.Memory+f.larger.Load())>>10, e.CPUs-1)
			})
		case strings.HasPrefix(line, "cat /var/lib/docker/"):
			data, ok := f.engines[i].Kept(strings.TrimPrefix(line, "cat "))
			if !ok || !f.root.Load() {
				fmt.Fprintln(errs, "Permission denied")
				return 1
			}
			fmt.Fprintln(out, string(data))
		case line == "ss -Hltnp":
			fmt.Fprintln(out, `LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=612,fd=3))`)
		case strings.HasPrefix(line, "df "):
			fmt.Fprintf(out, "Filesystem 1024-blocks Used Available Capacity Mounted on\n"+
				"/dev/sda1 100000000 1 %d 1%% /\n", f.free.Load()>>10)
		default:
			fmt.Fprintln(errs, "command not found")
			return 127
		}
		return 0
	}
}

// serveRay counts the containers that run.
func (f *fakeFleet) serveRay(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/api/gcs_healthz" {
		return
	}
	if len(r.Header.Get("Authorization")) != len("Bearer ")+64 {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	switch {
	case r.URL.Path == "/api/jobs/":
		fmt.Fprint(w, `{"submission_id": "raysubmit_1"}`)
		return
	case strings.HasPrefix(r.URL.Path, "/api/jobs/"):
		http.Error(w, "\x1b[31mJob raysubmit_1 does not exist\x1b[0m", http.StatusNotFound)
		return
	}
	var nodes []map[string]any
	for _, e := range f.engines {
		for _, c := range e.Containers() {
			if ended := c.State == "exited" && f.stale.Load(); c.State != "running" && !ended {
				continue
			}
			n := map[string]any{"node_id": c.ID, "state": "ALIVE", "start_time_ms": f.started.Load(),
				"resources_total": map[string]float64{"CPU": 2}}
			for _, a := range c.Cmd {
				if v, ok := strings.CutPrefix(a, "--node-ip-address="); ok {
					n["node_ip"] = v
				}
				if v, ok := strings.CutPrefix(a, "--num-cpus="); ok {
					n["resources_total"] = map[string]json.Number{"CPU": json.Number(v)}
				}
				if v, ok := strings.CutPrefix(a, "--node-name="); ok {
					n["node_name"] = v
				}
			}
			nodes = append(nodes, n)
		}
	}
	// a launcher that left needs none
	_ = json.NewEncoder(w).Encode(map[string]any{"result": true,
		"data": map[string]any{"result": map[string]any{"result": nodes}}})
}

func TestFleetUpAgainTakesOneLook(t *testing.T) {
	f := newFleet(t, 5)
	s, err := Up(t.Context(), f.spec(t, fleetImage, 5), f.options())
	if err != nil || !s.Healthy || s.Changed != 5 {
		t.Fatalf("%+v, %v", s, err)
	}
	for _, root := range []bool{false, true} {
		f.root.Store(root)
		for _, e := range f.engines {
			e.Calls()
		}
		if s, err = Up(t.Context(), f.spec(t, fleetImage, 5), f.options()); err != nil || s.Changed != 0 {
			t.Fatalf("again: %+v, %v", s, err)
		}
		for i, e := range f.engines {
			for route, n := range e.Calls() {
				if n > 1 || !strings.HasPrefix(route, "GET ") || route == "GET /info" ||
					root && strings.HasSuffix(route, "/archive") {
					t.Errorf("host %d: %s was called %d times by an up that changes nothing, as root: %v", i,
						route, n, root)
				}
			}
		}
	}
	if s, err = Up(t.Context(), f.spec(t, fleetImage2, 5), f.options()); err != nil || s.Changed != 5 || !s.Healthy {
		t.Fatalf("another image: %+v, %v", s, err)
	}
	if s, err = Scale(t.Context(), f.spec(t, fleetImage2, 5), 2, f.options()); err != nil ||
		s.Alive != 3 || s.Changed != 2 {
		t.Fatalf("scale: %+v, %v", s, err)
	}
	res, err := Down(t.Context(), "fleet", f.spec(t, fleetImage, 5).Hosts(), f.options())
	if err != nil || res.Containers != 3 {
		t.Errorf("down: %+v, %v", res, err)
	}
	for i, e := range f.engines {
		if e.Left() > 0 {
			t.Errorf("host %d: %d things left", i, e.Left())
		}
	}
}

func TestClockSkewStealsNoLock(t *testing.T) {
	testneeds.Long(t)
	for _, skew := range []time.Duration{-24 * time.Hour, -5 * time.Minute, 5 * time.Minute, 24 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 1)
			f.engines[0].Skew = skew
			f.engines[0].Images[toolImage] = nil
			h, err := docker.Dial(t.Context(), target(f.spec(t, fleetImage, 1).Head.Host), f.options().SSH.options())
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			// shorter, and a busy machine misses a renewal
			_, k, err := acquire(t.Context(), h, "fleet", "first", 2*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			for range 5 { // several renewals
				var busy *LockedError
				if _, _, err := acquire(t.Context(), h, "fleet", "second", time.Minute); !errors.As(err, &busy) ||
					busy.Owner != "first" {
					t.Fatalf("a lock that is held was given away: %v", err)
				}
				time.Sleep(500 * time.Millisecond)
			}
			if err := k.release(t.Context()); err != nil {
				t.Fatal(err)
			}
			_, k, err = acquire(t.Context(), h, "fleet", "third", time.Minute)
			if err != nil {
				t.Fatalf("after its release: %v", err)
			}
			k.stop()
		})
	}
}

func TestLauncherLosesTheLockWhenItIsTakenAway(t *testing.T) {
	f := newFleet(t, 1)
	h, err := docker.Dial(t.Context(), target(f.spec(t, fleetImage, 1).Head.Host), f.options().SSH.options())
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	ctx, k, err := acquire(t.Context(), h, "fleet", "first", 300*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Remove(t.Context(), k.id); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ctx.Done():
		if err := context.Cause(ctx); !strings.Contains(err.Error(), "lost the lock") {
			t.Errorf("got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the work goes on without the lock")
	}
}

func TestUpClearsWhatAKilledLauncherLeft(t *testing.T) {
	f := newFleet(t, 2)
	spec := f.spec(t, fleetImage, 2)
	if _, err := Up(t.Context(), spec, f.options()); err != nil {
		t.Fatal(err)
	}
	for i, role := range map[int]string{0: roleLock, 1: roleToken} {
		h, err := docker.Dial(t.Context(), target(spec.Nodes()[i].Host), f.options().SSH.options())
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if _, err := h.Create(t.Context(),
			docker.Create{Name: map[string]string{roleLock: lockName("fleet"), roleToken: "raybuild-token-fleet"}[role],
				Image: fleetImage, Labels: map[string]string{labelCluster: "fleet", labelRole: role,
					labelDeadline: time.Now().Add(-time.Minute).Format(time.RFC3339Nano)}}); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Up(t.Context(), spec, f.options())
	if err != nil || s.Changed != 0 || !s.Healthy {
		t.Fatalf("%+v, %v", s, err)
	}
	for i, e := range f.engines {
		if c := e.Containers(); len(c) != 1 {
			t.Errorf("host %d has %d containers", i, len(c))
		}
	}
}

func TestFleetFailuresAreByHost(t *testing.T) {
	f := newFleet(t, 3)
	spec := f.spec(t, fleetImage, 3)
	f.engines[2].Registry = nil // this host cannot pull
	_, err := Up(t.Context(), spec, f.options())
	if err == nil || !strings.Contains(err.Error(), spec.Workers[1].Host.ID()) ||
		strings.Contains(err.Error(), spec.Workers[0].Host.ID()) ||
		!strings.Contains(err.Error(), "manifest for") || !strings.Contains(err.Error(), "next:") {
		t.Errorf("got %v", err)
	}
	for i, e := range f.engines {
		if e.Left() > 0 {
			t.Errorf("host %d: something was started", i)
		}
	}
	spec.MinWorkers = 1
	s, err := Up(t.Context(), spec, f.options())
	if err != nil || s.Alive != 2 || s.Healthy {
		t.Errorf("with leave: %+v, %v", s, err)
	}
}

const fleetEnv = "RAYBUILD_TEST_FLEET"

type fleetRequest struct{ Yaml, Known, Key string }

// TestFleetLauncher is a launcher in a process of its own, for TestSixtyFourHosts.
func TestFleetLauncher(t *testing.T) {
	data := os.Getenv(fleetEnv)
	if data == "" {
		t.Skip("it is started by TestSixtyFourHosts")
	}
	var r fleetRequest
	if err := json.Unmarshal([]byte(data), &r); err != nil {
		t.Fatal(err)
	}
	spec, err := Load("cluster.yaml", []byte(r.Yaml))
	if err != nil {
		t.Fatal(err)
	}
	o := Options{SSH: SSH{Config: "none", Agent: "none", KnownHosts: []string{r.Known},
		Identities: []string{r.Key}}}
	s, err := Up(t.Context(), spec, o)
	if err != nil || !s.Healthy || s.Changed != 0 {
		t.Fatalf("%+v, %v", s, err)
	}
	fmt.Printf("SECONDS %.3f\n", s.Seconds)
}

func TestSixtyFourHosts(t *testing.T) {
	if testing.Short() {
		t.Skip("64 hosts take some seconds of both CPUs")
	}
	const most = 64
	f := newFleet(t, most)
	measure := func(n int) (seconds float64, rss int64) {
		data, err := json.Marshal(fleetRequest{f.text(fleetImage, n), f.known, f.key})
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestFleetLauncher$")
		cmd.Env = append(os.Environ(), fleetEnv+"="+string(data))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		_, text, _ := strings.Cut(string(out), "SECONDS ")
		if _, err := fmt.Sscanf(text, "%f", &seconds); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return seconds, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss >> 10
	}
	if _, err := Up(t.Context(), f.spec(t, fleetImage, 1), f.options()); err != nil {
		t.Fatal(err)
	}
	one, rssOne := measure(1)
	if _, err := Up(t.Context(), f.spec(t, fleetImage, most), f.options()); err != nil {
		t.Fatal(err)
	}
	all, rssAll := measure(most)
	t.Logf("no-op up: 1 host %.2f s, %d MiB; %d hosts %.2f s, %d MiB", one, rssOne, most, all, rssAll)
	if all > 5 {
		t.Errorf("%d hosts take %.2f s, more than 5 s", most, all)
	}
	if rssAll-rssOne > 64 {
		t.Errorf("%d hosts take %d MiB more than one, more than 64 MiB", most, rssAll-rssOne)
	}
	var left sync.WaitGroup
	for _, e := range f.engines {
		left.Go(func() {
			if n := len(e.Containers()); n != 1 {
				t.Errorf("%s has %d containers", e.Name, n)
			}
		})
	}
	left.Wait()
}
