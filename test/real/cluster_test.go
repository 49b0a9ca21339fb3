package real

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/raybuild/raybuild/cluster"
	"github.com/raybuild/raybuild/test/bed"
)

// demo is a cluster of real Ray on three hosts.
type demo struct {
	*bed.Bed
	spec *cluster.Spec
}

// TestCluster starts one on three hosts, uses it in all ways, lets bad things happen to it, and has nothing left of it.
func TestCluster(t *testing.T) {
	p := needPlace(t)
	first := realImage(t)
	b := needHosts(t)
	x := p.project(t, p.realRecipe())
	x.write("raybuild.lock", p.image.lock)
	second := x.push("ray", "--label", "test=second")
	if second.err != nil {
		t.Fatal(second.err)
	}
	d := &demo{Bed: b, spec: b.Spec(t, "real", p.onHosts(first), "wait: 5m\n", 2, 3)}
	b.Clean(t, "real")
	d.up(t, 3)
	t.Run("tasks and actors run on all nodes", d.tasks)
	t.Run("ray status and the state API answer", d.state)
	t.Run("the dashboard and the Jobs API want the token", d.dashboard)
	t.Run("70 MB of log come through", d.longLog)
	t.Run("bench spreads the tasks", d.bench)
	t.Run("nothing to do is nothing done", func(t *testing.T) { d.up(t, 0) })
	t.Run("another image recreates the nodes", func(t *testing.T) {
		d.spec = b.Spec(t, "real", p.onHosts(second.ref), "wait: 5m\n", 2, 3)
		d.up(t, 3)
		if got := b.Must(t, "exec", "1", "docker", "inspect", "-f", `{{index .Config.Labels "test"}}`,
			d.spec.Head.ID); strings.TrimSpace(got) != "second" {
			t.Errorf("the head runs an image whose label is %q", got)
		}
	})
	t.Run("a worker's host goes off and comes back", func(t *testing.T) {
		b.Must(t, "off", "3")
		d.notices(t, b.Addr(3))
		b.Must(t, "boot", "3")
		d.heals(t)
	})
	t.Run("the head is killed and comes back", func(t *testing.T) {
		b.Must(t, "exec", "1", "sh", "-c", "kill -KILL $(docker inspect -f '{{.State.Pid}}' "+d.spec.Head.ID+")")
		d.heals(t)
		d.tasks(t)
	})
}

// up has all nodes alive, by so many changes.
func (d *demo) up(t *testing.T, changes int) {
	t.Helper()
	start := time.Now()
	s, err := cluster.Up(t.Context(), d.spec, d.Options(t))
	if err != nil || !s.Healthy || s.Alive != len(d.spec.Nodes()) || s.Changed != changes {
		t.Fatalf("up: %v, want all nodes alive after %d changes\n%s", err, changes, s)
	}
	t.Logf("up in %.1f s with %d changes", time.Since(start).Seconds(), changes)
}

// notices waits until status says that the cluster is not whole, and names the node at fault.
func (d *demo) notices(t *testing.T, address string) {
	t.Helper()
	d.await(t, "status does not say what is wrong", func(s *cluster.Status) bool {
		return !s.Healthy && strings.Contains(s.String(), address) && strings.Contains(s.String(), "unreachable")
	})
}

// heals waits until the cluster is whole, with nobody's help.
func (d *demo) heals(t *testing.T) {
	t.Helper()
	d.await(t, "the cluster is not whole again",
		func(s *cluster.Status) bool { return s.Healthy && s.Alive == len(d.spec.Nodes()) })
	if s, err := cluster.Up(t.Context(), d.spec, d.Options(t)); err != nil || s.Changed != 0 {
		t.Errorf("up finds something to do: %v\n%s", err, s)
	}
}

func (d *demo) await(t *testing.T, not string, done func(*cluster.Status) bool) {
	t.Helper()
	for start := time.Now(); ; {
		s, err := cluster.Inspect(t.Context(), d.spec, d.Reach())
		if err == nil && done(s) {
			t.Logf("after %.1f s:\n%s", time.Since(start).Seconds(), s)
			return
		}
		if time.Since(start) > 5*time.Minute {
			t.Fatalf("%s after 5 minutes: %v\n%s", not, err, s)
		}
	}
}

const tasksJob = `import os, socket, sys, time
import ray
import helper

ray.init()

@ray.remote
def where():
    time.sleep(0.5)
    return socket.gethostname()

@ray.remote
class Counter:
    def __init__(self):
        self.n = 0

    def add(self, k):
        self.n += k
        return self.n

counter = Counter.options(name="counter", lifetime="detached", get_if_exists=True).remote()
print("counted to", ray.get([counter.add.remote(i) for i in range(5)])[-1])
hosts = set(ray.get([where.options(scheduling_strategy="SPREAD").remote() for _ in range(20)]))
print("ran on", " ".join(sorted(hosts)))
print("object of", ray.get(ray.put(b"x" * 20_000_000)).__len__(), "bytes")
print("helper says", helper.word, os.environ["WHO"])
ray.kill(counter)
sys.exit(int(sys.argv[1]))
`

func (d *demo) tasks(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"job.py": tasksJob, "helper.py": "word = 'hello'\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, code := range []int{0, 3} {
		var out bytes.Buffer
		job := cluster.Job{Argv: []string{"python", "job.py", fmt.Sprint(code)}, Dir: dir,
			Env: map[string]string{"WHO": "world"}}
		res, err := cluster.Submit(t.Context(), d.spec, job, &out, io.Discard, d.Options(t))
		if err != nil {
			t.Fatalf("submit: %v\n%s", err, out.String())
		}
		if res.ExitCode != code || res.By != "jobs-api" {
			t.Errorf("a job that ends with %d: %+v", code, res)
		}
		for _, want := range []string{"counted to 10", "ran on h1 h2 h3", "object of 20000000 bytes",
			"helper says hello world"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("the job does not say %q:\n%s", want, out.String())
			}
		}
	}
}

// inHead is what a command in the head's container writes.
func (d *demo) inHead(t *testing.T, argv ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	code, err := cluster.Exec(t.Context(), d.spec, argv, cluster.ExecOptions{Stdout: &out, Stderr: &errs}, d.Reach())
	if err != nil || code != 0 {
		t.Fatalf("%s in the head: exit %d, %v\n%s%s", strings.Join(argv, " "), code, err, out.String(), errs.String())
	}
	return out.String()
}

func (d *demo) state(t *testing.T) {
	text := d.inHead(t, "ray", "status")
	if strings.Count(text, "1 node_") != 3 || !strings.Contains(text, "/5.0 CPU") {
		t.Errorf("ray status does not show three nodes with 5 CPUs:\n%s", text)
	}
	for what, least := range map[string]int{"nodes": 3, "tasks": 20, "jobs": 2, "actors": 1} {
		var rows []map[string]any
		text := d.inHead(t, "ray", "list", what, "--format", "json", "--limit", "1000")
		if err := json.Unmarshal([]byte(text), &rows); err != nil || len(rows) < least {
			t.Errorf("ray list %s: %d of at least %d rows, %v\n%.2000s", what, len(rows), least, err, text)
		}
	}
	if text := d.inHead(t, "ray", "summary", "tasks"); !strings.Contains(text, "where") {
		t.Errorf("ray summary tasks does not name the task:\n%s", text)
	}
}

// tunnel is the dashboard as one sees it who has opened the launcher's tunnel.
type tunnel struct{ url, token string }

func (d *demo) dashboard(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ready, done := make(chan tunnel, 1), make(chan error, 1)
	go func() {
		done <- cluster.Dashboard(ctx, d.spec, 0, func(url, token string) { ready <- tunnel{url, token} }, d.Options(t))
	}()
	var at tunnel
	select {
	case at = <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	for _, path := range []string{"/api/v0/nodes", "/api/jobs/", "/nodes?view=summary"} {
		for token, want := range map[string]int{"": 401, "wrong": 403, at.token: 200} {
			if got, text := at.do(t, http.MethodGet, path, token, ""); got != want {
				t.Errorf("GET %s with token %.5q: %d, want %d: %.300s", path, token, got, want, text)
			}
		}
	}
	const job = `{"entrypoint": "echo said by a job", "submission_id": "by-hand"}`
	if got, text := at.do(t, http.MethodPost, "/api/jobs/", "", job); got != 401 {
		t.Errorf("a job without the token: %d, want 401: %.300s", got, text)
	}
	if got, text := at.do(t, http.MethodPost, "/api/jobs/", at.token, job); got != 200 {
		t.Fatalf("a job with the token: %d, want 200: %.300s", got, text)
	}
	for start := time.Now(); ; {
		_, text := at.do(t, http.MethodGet, "/api/jobs/by-hand", at.token, "")
		if strings.Contains(text, `"SUCCEEDED"`) {
			break
		}
		if strings.Contains(text, `"FAILED"`) || time.Since(start) > 2*time.Minute {
			t.Fatalf("the job that was sent to the Jobs API by hand: %s", text)
		}
	}
	if _, text := at.do(t, http.MethodGet, "/api/jobs/by-hand/logs", at.token, ""); !strings.Contains(text,
		"said by a job") {
		t.Errorf("the job's log by the Jobs API: %s", text)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("the tunnel ends with %v", err)
	}
}

func (at tunnel) do(t *testing.T, method, path, token, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, at.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	client := http.Client{Timeout: time.Minute}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

func (d *demo) longLog(t *testing.T) {
	const lines, width = 700_000, 100 // more than 64 MiB, the limit of what one answer was read of (case 5)
	program := fmt.Sprintf("for i in range(%d): print(str(i).zfill(%d))", lines, width)
	var out bytes.Buffer
	start := time.Now()
	res, err := cluster.Submit(t.Context(), d.spec, cluster.Job{Argv: []string{"python", "-c", program}}, &out,
		io.Discard, d.Options(t))
	if err != nil || res.ExitCode != 0 {
		t.Fatalf("submit: %+v, %v", res, err)
	}
	t.Logf("%d bytes of log in %.1f s", out.Len(), time.Since(start).Seconds())
	next := 0
	for line := range strings.Lines(out.String()) {
		if line == fmt.Sprintf("%0*d\n", width, next) {
			next++
		}
	}
	if next != lines {
		t.Errorf("%d of %d lines came in their order", next, lines)
	}
}

func (d *demo) bench(t *testing.T) {
	r, err := cluster.Bench(t.Context(), d.spec, 20, 1, d.Options(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", r)
	if r.CPUs != 5 || len(r.Nodes) != 3 || r.SpeedUp < 2 { // its CPUs are this machine's, and others use them
		t.Errorf("%.1f times as fast on %g CPUs and %d nodes", r.SpeedUp, r.CPUs, len(r.Nodes))
	}
}
