package ray_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/world/ray"
)

// standIn is an installed stand-in ray of one version, with ray[default].
type standIn struct {
	t   *testing.T
	dir string
	env []string
}

func install(t *testing.T, version string, env ...string) standIn {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil || runtime.GOOS != "linux" {
		reason := "the stand-in ray needs python3 on Linux"
		if os.Getenv("RAYBUILD_TEST_STRICT") == "1" {
			t.Fatal(reason)
		}
		t.Skip(reason)
	}
	dir := t.TempDir()
	err := fs.WalkDir(ray.Files, ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.HasSuffix(path, ".go") || strings.HasSuffix(path, ".pyc") {
			return err
		}
		b, err := ray.Files.ReadFile(path)
		if err != nil {
			return err
		}
		return write(filepath.Join(dir, "ray", path), b)
	})
	for name, text := range map[string]string{"ray/_version.py": "version = \"" + version + "\"\n", "aiohttp/__init__.py": ""} {
		err = errors.Join(err, write(filepath.Join(dir, name), []byte(text)))
	}
	if err != nil {
		t.Fatal(err)
	}
	env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "PYTHONPATH=" + dir, "PYTHONDONTWRITEBYTECODE=1"}, env...)
	return standIn{t: t, dir: dir, env: env}
}

func write(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o644)
}

// process is a running command with its output.
type process struct {
	*exec.Cmd
	out  *lockedBuffer
	done chan struct{}
	code int
}

type lockedBuffer struct {
	mu  chan struct{}
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu <- struct{}{}
	defer func() { <-b.mu }()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu <- struct{}{}
	defer func() { <-b.mu }()
	return b.buf.String()
}

func (s standIn) start(args ...string) *process {
	s.t.Helper()
	p := &process{Cmd: exec.Command("python3", args...), out: &lockedBuffer{mu: make(chan struct{}, 1)}, done: make(chan struct{})}
	p.Env, p.Dir, p.Stdout, p.Stderr = s.env, s.t.TempDir(), p.out, p.out
	if err := p.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		var exit *exec.ExitError
		if err := p.Wait(); errors.As(err, &exit) {
			p.code = exit.ExitCode()
		}
		close(p.done)
	}()
	s.t.Cleanup(func() {
		select {
		case <-p.done:
			return
		default:
		}
		p.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may have ended meanwhile
		select {
		case <-p.done:
		case <-time.After(20 * time.Second):
			p.Process.Kill() //nolint:errcheck // as above
		}
	})
	return p
}

func (s standIn) ray(args ...string) *process {
	return s.start(append([]string{"-m", "ray.scripts.scripts"}, args...)...)
}

// wait returns the exit code.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.done:
		return p.code
	case <-time.After(90 * time.Second):
		t.Fatalf("still runs: %v\n%s", p.Args, p.out)
		return -1
	}
}

// says waits for a text in the output.
func (p *process) says(t *testing.T, text string) {
	t.Helper()
	until(t, func() error {
		if strings.Contains(p.out.String(), text) {
			return nil
		}
		select {
		case <-p.done:
			t.Fatalf("ended without %q:\n%s", text, p.out)
		default:
		}
		return fmt.Errorf("no %q in\n%s", text, p.out)
	})
}

func until(t *testing.T, f func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

// free returns ports that were free a moment ago.
func free(t *testing.T, n int) []int {
	t.Helper()
	var out []int
	for range n {
		l, err := net.Listen("tcp", "0.0.0.0:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() //nolint:errcheck // a listener
		out = append(out, l.Addr().(*net.TCPAddr).Port)
	}
	return out
}

// cluster is a head and workers on addresses 127.0.0.2, .3 … of this machine.
type cluster struct {
	standIn
	gcs, dashboard int
	head           *process
	workers        []*process
	agents         []int
}

func (s standIn) cluster(workers int) *cluster {
	s.t.Helper()
	ports := free(s.t, 2+workers+1)
	c := &cluster{standIn: s, gcs: ports[0], dashboard: ports[1], agents: ports[2:]}
	c.head = s.ray(append(c.args(0), "--head", "--port="+strconv.Itoa(c.gcs), "--include-dashboard=true", "--dashboard-port="+strconv.Itoa(c.dashboard), "--num-cpus=1")...)
	c.head.says(s.t, "Ray runtime started")
	for i := range workers {
		c.workers = append(c.workers, s.ray(append(c.args(i+1), "--address="+c.address(), "--num-cpus=4", "--node-name=w"+strconv.Itoa(i+1))...))
	}
	for _, w := range c.workers {
		w.says(s.t, "Ray runtime started")
	}
	return c
}

func (c *cluster) address() string { return "127.0.0.2:" + strconv.Itoa(c.gcs) }

func (c *cluster) args(i int) []string {
	return []string{"start", "--block", "--node-ip-address=127.0.0." + strconv.Itoa(i+2), "--object-store-memory=80000000", "--temp-dir=" + c.t.TempDir(),
		"--dashboard-agent-listen-port=" + strconv.Itoa(c.agents[i])}
}

func (c *cluster) do(method, path, body string, header ...string) (int, string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close() //nolint:errcheck // read
	b, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func (c *cluster) url(path string) string {
	return "http://127.0.0.1:" + strconv.Itoa(c.dashboard) + path
}

const benchProgram = `
import collections, json, time, ray
ray.init()
OFFSET = 2
def helper(i):
    return i + OFFSET
@ray.remote
def inner(x):
    return x + 1
@ray.remote
def task(i):
    time.sleep(0.1)
    return helper(i), ray.get_runtime_context().get_node_id()
@ray.remote
def nested():
    return ray.get(inner.remote(41))
@ray.remote
def boom():
    raise ValueError("boom")
out = ray.get([task.remote(i) for i in range(50)])
try:
    ray.get(boom.remote())
    cause = None
except ray.exceptions.RayTaskError as e:
    cause = repr(e.cause)
print(json.dumps({"values": [o[0] for o in out], "nodes": len(set(o[1] for o in out)), "alive": len([n for n in ray.nodes() if n["Alive"]]),
                  "cpus": ray.cluster_resources()["CPU"], "nested": ray.get(nested.remote()), "cause": cause}))
`

func TestStandInClusterRunsTasksAndJobs(t *testing.T) {
	const token = "0123456789abcdef"
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := install(t, "2.53.0", "RAY_AUTH_MODE=token", "RAY_AUTH_TOKEN_PATH="+file, "RAY_gcs_rpc_server_reconnect_timeout_s=1")
	c := s.cluster(2)
	bearer := []string{"Authorization", "Bearer " + token}

	t.Run("50 tasks run on all nodes", func(t *testing.T) {
		driver := standIn{t: t, dir: s.dir, env: append(s.env, "RAY_ADDRESS="+c.address())}
		p := driver.start("-c", benchProgram)
		if code := p.wait(t); code != 0 {
			t.Fatalf("exit %d:\n%s", code, p.out)
		}
		var got struct {
			Values               []int
			Nodes, Alive, Nested int
			CPUs                 float64
			Cause                string
		}
		if err := json.Unmarshal([]byte(p.out.String()), &got); err != nil {
			t.Fatal(err, p.out)
		}
		if len(got.Values) != 50 || got.Values[49] != 51 || got.Nodes != 3 || got.Alive != 3 || got.CPUs != 9 || got.Nested != 42 || got.Cause != "ValueError('boom')" {
			t.Errorf("%+v", got)
		}
	})
	t.Run("the example of tasks runs", func(t *testing.T) {
		example, err := filepath.Abs("../../../examples/jobs/tasks.py")
		if err != nil {
			t.Fatal(err)
		}
		p := standIn{t: t, dir: s.dir, env: append(s.env, "RAY_ADDRESS="+c.address())}.start(example, "4")
		if code := p.wait(t); code != 0 || !strings.Contains(p.out.String(), "one process: 4.") || !strings.Contains(p.out.String(), ": 4 tasks") {
			t.Errorf("exit %d\n%s", code, p.out)
		}
	})
	t.Run("the HTTP answers keep strangers out", func(t *testing.T) {
		agent := fmt.Sprintf("http://127.0.0.3:%d", c.agents[1])
		for _, x := range []struct {
			method, url string
			header      []string
			code        int
		}{
			{"GET", c.url("/api/gcs_healthz"), nil, 200}, {"GET", c.url("/api/authentication_mode"), nil, 200}, {"GET", agent + "/api/healthz", nil, 200},
			{"GET", agent + "/api/local_raylet_healthz", nil, 200}, {"GET", c.url("/api/v0/nodes"), nil, 401},
			{"GET", c.url("/api/v0/nodes"), []string{"Authorization", "Bearer wrong"}, 403}, {"GET", c.url("/api/v0/nodes"), bearer, 200},
			{"GET", c.url("/nodes?view=summary"), []string{"X-Ray-Authorization", "Bearer " + token}, 200},
			{"GET", c.url("/api/version"), []string{"Cookie", "ray-authentication-token=" + token}, 200},
			{"GET", c.url("/api/cluster_status?format=1"), bearer, 200}, {"POST", c.url("/api/jobs/"), nil, 401},
			{"POST", c.url("/api/jobs/"), append(bearer, "User-Agent", "Mozilla/5.0"), 405}, {"DELETE", c.url("/api/jobs/x"), append(bearer, "Origin", "http://x"), 405},
			{"GET", agent + "/api/healthz", []string{"User-Agent", "Mozilla/5.0"}, 403}, {"GET", c.url("/api/none"), bearer, 404},
		} {
			if code, body := c.do(x.method, x.url, "", x.header...); code != x.code {
				t.Errorf("%s %s %v: %d %s, want %d", x.method, x.url, x.header, code, body, x.code)
			}
		}
		p := standIn{t: t, dir: s.dir, env: append(s.env, "RAY_AUTH_MODE=disabled")}.ray("health-check", "--address="+c.address())
		if code := p.wait(t); code != 1 || !strings.Contains(p.out.String(), "InvalidAuthToken") {
			t.Errorf("without a token: exit %d, %s", code, p.out)
		}
		if p := s.ray("health-check", "--address="+c.address()); p.wait(t) != 0 {
			t.Errorf("health-check: %s", p.out)
		}
	})
	t.Run("a job runs from an uploaded directory and its exit code is told", func(t *testing.T) {
		var z bytes.Buffer
		w := zip.NewWriter(&z)
		f, _ := w.Create("job.py")
		fmt.Fprint(f, "import ray, lib, sys\nray.init()\n@ray.remote\ndef f():\n    import lib\n    return lib.VALUE\nprint('value', ray.get(f.remote()))\nsys.exit(7)\n")
		f, _ = w.Create("lib.py")
		fmt.Fprint(f, "VALUE = 12\n")
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if code, body := c.do("PUT", c.url("/api/packages/gcs/_ray_pkg_1.zip"), z.String(), bearer...); code != 200 {
			t.Fatalf("upload: %d %s", code, body)
		}
		code, body := c.do("POST", c.url("/api/jobs/"), `{"entrypoint": "python3 job.py", "runtime_env": {"working_dir": "gcs://_ray_pkg_1.zip"}, "submission_id": "one"}`, bearer...)
		if code != 200 || !strings.Contains(body, `"submission_id": "one"`) {
			t.Fatalf("submit: %d %s", code, body)
		}
		var job struct {
			Status string
			Code   *int `json:"driver_exit_code"`
		}
		until(t, func() error {
			_, body = c.do("GET", c.url("/api/jobs/one"), "", bearer...)
			if err := json.Unmarshal([]byte(body), &job); err != nil {
				t.Fatal(err, body)
			}
			if job.Status == "PENDING" || job.Status == "RUNNING" {
				return errors.New(body)
			}
			return nil
		})
		_, logs := c.do("GET", c.url("/api/jobs/one/logs"), "", bearer...)
		if job.Status != "FAILED" || job.Code == nil || *job.Code != 7 || !strings.Contains(logs, "value 12") {
			t.Errorf("%s\n%s", body, logs)
		}
		c.do("POST", c.url("/api/jobs/"), `{"entrypoint": "sleep 1000", "submission_id": "two"}`, bearer...)
		if _, body := c.do("POST", c.url("/api/jobs/two/stop"), "", bearer...); !strings.Contains(body, "true") {
			t.Errorf("stop: %s", body)
		}
		if code, body := c.do("POST", c.url("/api/jobs/"), `{"entrypoint": "true", "submission_id": "one"}`, bearer...); code != 400 {
			t.Errorf("the same id again: %d %s", code, body)
		}
	})
	t.Run("a worker that stops is dead for the head, and exits with 1", func(t *testing.T) {
		c.workers[1].Process.Signal(syscall.SIGTERM) //nolint:errcheck // seen below
		if code := c.workers[1].wait(t); code != 1 {
			t.Errorf("exit %d", code)
		}
		until(t, func() error {
			if _, body := c.do("GET", c.url("/api/v0/nodes"), "", bearer...); strings.Count(body, `"DEAD"`) != 1 || strings.Count(body, `"ALIVE"`) != 2 {
				return errors.New(body)
			}
			return nil
		})
	})
	t.Run("when the head dies its workers end", func(t *testing.T) {
		c.head.Process.Signal(syscall.SIGTERM) //nolint:errcheck // seen below
		if code := c.head.wait(t); code != 1 {
			t.Errorf("head: exit %d", code)
		}
		if code := c.workers[0].wait(t); code != 1 {
			t.Errorf("worker: exit %d", code)
		}
	})
}

func TestStandInRefusesAnotherVersion(t *testing.T) {
	c := install(t, "2.51.1").cluster(0)
	other := install(t, "2.50.0")
	args := append(c.args(0), "--address="+c.address())
	p := other.ray(args...)
	if code := p.wait(t); code != 1 {
		t.Errorf("exit %d", code)
	}
	for _, want := range []string{"Version mismatch: The cluster was started with:\n    Ray: 2.51.1\n    Python: 3.", "This process on node 127.0.0.2 was started with:\n    Ray: 2.50.0\n"} {
		if !strings.Contains(p.out.String(), want) {
			t.Errorf("no %q in\n%s", want, p.out)
		}
	}
}

func TestStandInHasTheFlagsOfItsVersion(t *testing.T) {
	for _, x := range []struct{ version, flag, want string }{
		{"0.8.6", "--dashboard-host=x", "No such option: --dashboard-host"}, {"2.52.0", "--webui-host=x", "No such option: --webui-host"},
		{"2.49.0", "--gcs-server-port=1", "No such option: --gcs-server-port"}, {"2.52.0", "--bogus", "No such option: --bogus"},
		{"2.52.0", "--num-cpus=two", "'two' is not a valid integer"}, {"2.52.0", "--block=1", "does not take a value"},
	} {
		p := install(t, x.version).ray("start", "--head", x.flag)
		if code := p.wait(t); code != 2 || !strings.Contains(p.out.String(), x.want) {
			t.Errorf("ray %s %s: exit %d\n%s", x.version, x.flag, code, p.out)
		}
	}
	if p := install(t, "0.8.6").ray("status"); p.wait(t) != 2 {
		t.Errorf("0.8.6 has ray status: %s", p.out)
	}
}

func TestStandInWithoutATokenDoesNotStart(t *testing.T) {
	p := install(t, "2.52.0", "RAY_AUTH_MODE=token").ray("start", "--head", "--temp-dir="+t.TempDir())
	if code := p.wait(t); code != 1 || !strings.Contains(p.out.String(), "no authentication token was found") {
		t.Errorf("exit %d\n%s", code, p.out)
	}
}

func TestStandInHTTPByVersion(t *testing.T) {
	c := install(t, "1.8.0").cluster(0)
	for path, want := range map[string]int{"/nodes?view=summary": 200, "/api/cluster_status": 200, "/api/version": 404, "/api/jobs/": 404, "/api/v0/nodes": 404, "/api/gcs_healthz": 404} {
		if code, body := c.do("GET", c.url(path), ""); code != want {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
}
