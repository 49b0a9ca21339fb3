package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/raybuild/raybuild/internal/docker/enginetest"
	"github.com/raybuild/raybuild/internal/docker/sshtest"
)

const fleetImage = "registry.example/ray@sha256:1111111111111111111111111111111111111111111111111111111111111111"
const fleetImage2 = "registry.example/ray@sha256:2222222222222222222222222222222222222222222222222222222222222222"

// fakeFleet is hosts in the test's own process: real SSH servers, Engines in memory, and a head that counts the running
// containers as Ray counts its nodes. test/launcher has real sshd, Engines and faults.
type fakeFleet struct {
	engines []*enginetest.Engine
	larger  atomic.Int64 // bytes that the hosts have more than their Engines, which run in virtual machines
	stale   atomic.Bool  // Ray still counts containers that have ended
	started atomic.Int64 // when Ray's nodes have started, in milliseconds; 0: it does not say
	running atomic.Bool  // jobs run until they are stopped
	mute    atomic.Bool  // hosts do not show their addresses
	root    atomic.Bool  // we may read what belongs to root on the hosts
	free    atomic.Int64 // bytes on the hosts' disks
	public  atomic.Int64 // the number of a host that has a public address, too; -1: none
	servers []*sshtest.Server
	more    http.Handler             // what the dashboard answers below /test/
	jobs    atomic.Pointer[fakeJobs] // what it answers below /api/jobs/ and /api/packages/; nil: see serveRay
	known   string
	key     string
	ray     *httptest.Server
}

func newFleet(t sshtest.T, n int) *fakeFleet {
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
		case strings.HasPrefix(line, "cat /proc/net/fib_trie") && f.mute.Load():
			fmt.Fprintln(errs, "This account is currently not available.")
			return 1
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
	case strings.HasPrefix(r.URL.Path, "/test/"):
		f.more.ServeHTTP(w, r)
		return
	case f.jobs.Load() != nil && (strings.HasPrefix(r.URL.Path, "/api/jobs/") ||
		strings.HasPrefix(r.URL.Path, "/api/packages/")):
		f.jobs.Load().ServeHTTP(w, r)
		return
	case r.URL.Path == "/api/jobs/":
		fmt.Fprint(w, `{"submission_id": "raysubmit_1"}`)
		return
	case strings.HasPrefix(r.URL.Path, "/api/jobs/") && f.running.Load():
		fmt.Fprint(w, `{"status": "RUNNING", "logs": "step 1\n"}`)
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
			if n["node_name"] == nil {
				continue // it is of somebody else
			}
			nodes = append(nodes, n)
		}
	}
	// a launcher that left needs none
	_ = json.NewEncoder(w).Encode(map[string]any{"result": true,
		"data": map[string]any{"result": map[string]any{"result": nodes}}})
}

// FleetForExamples starts hosts for the examples of this package. It gives a cluster.yaml for them and the options that
// reach them.
func FleetForExamples(t sshtest.T, n int) (text string, o Options) {
	f := newFleet(t, n)
	return f.text(fleetImage, n), f.options()
}
