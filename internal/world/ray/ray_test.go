package ray_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/raybuild/raybuild/internal/testneeds"
)

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
print(json.dumps({"values": [o[0] for o in out], "nodes": len(set(o[1] for o in out)),
                  "alive": len([n for n in ray.nodes() if n["Alive"]]),
                  "cpus": ray.cluster_resources()["CPU"], "nested": ray.get(nested.remote()), "cause": cause}))
`

func TestStandInClusterRunsTasksAndJobs(t *testing.T) {
	testneeds.Long(t)
	const token = "0123456789abcdef"
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := install(t, "2.60.0", "RAY_AUTH_MODE=token", "RAY_AUTH_TOKEN_PATH="+file,
		"RAY_gcs_rpc_server_reconnect_timeout_s=1")
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
		if len(got.Values) != 50 || got.Values[49] != 51 ||
			got.Nodes != 3 || got.Alive != 3 || got.CPUs != 9 || got.Nested != 42 || got.Cause != "ValueError('boom')" {
			t.Errorf("%+v", got)
		}
	})
	t.Run("the example of tasks runs", func(t *testing.T) {
		example, err := filepath.Abs("../../../examples/jobs/tasks.py")
		if err != nil {
			t.Fatal(err)
		}
		p := standIn{t: t, dir: s.dir, env: append(s.env, "RAY_ADDRESS="+c.address())}.start(example, "4")
		if code := p.wait(t); code != 0 || !strings.Contains(p.out.String(), "one process: 4.") ||
			!strings.Contains(p.out.String(), ": 4 tasks") {
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
			{"GET", c.url("/api/gcs_healthz"), nil, 200}, {"GET", c.url("/api/authentication_mode"), nil, 200},
			{"GET", agent + "/api/healthz", nil, 200},
			{"GET", agent + "/api/local_raylet_healthz", nil, 200}, {"GET", c.url("/api/v0/nodes"), nil, 401},
			{"GET", c.url("/api/v0/nodes"), []string{"Authorization", "Bearer wrong"}, 403},
			{"GET", c.url("/api/v0/nodes"), bearer, 200},
			{"GET", c.url("/nodes?view=summary"), []string{"X-Ray-Authorization", "Bearer " + token}, 200},
			{"GET", c.url("/api/version"), []string{"Cookie", "ray-authentication-token=" + token}, 200},
			{"GET", c.url("/api/cluster_status?format=1"), bearer, 200}, {"POST", c.url("/api/jobs/"), nil, 401},
			{"POST", c.url("/api/jobs/"), append(bearer, "User-Agent", "Mozilla/5.0"), 405},
			{"DELETE", c.url("/api/jobs/x"), append(bearer, "Origin", "http://x"), 405},
			{"GET", agent + "/api/healthz", []string{"User-Agent", "Mozilla/5.0"}, 403},
			{"GET", c.url("/api/none"), bearer, 404},
		} {
			if code, body := c.do(x.method, x.url, "", x.header...); code != x.code {
				t.Errorf("%s %s %v: %d %s, want %d", x.method, x.url, x.header, code, body, x.code)
			}
		}
		p := standIn{t: t, dir: s.dir, env: append(s.env, "RAY_AUTH_MODE=disabled")}.ray("health-check",
			"--address="+c.address())
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
		add := func(name, text string) {
			f, err := w.Create(name)
			if err == nil {
				_, err = f.Write([]byte(text))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		add("job.py", "import ray, lib, sys\nray.init()\n@ray.remote\ndef f():\n    import lib\n"+
			"    return lib.VALUE\nprint('value', ray.get(f.remote()))\nsys.exit(7)\n")
		add("lib.py", "VALUE = 12\n")
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if code, body := c.do("PUT", c.url("/api/packages/gcs/_ray_pkg_1.zip"), z.String(), bearer...); code != 200 {
			t.Fatalf("upload: %d %s", code, body)
		}
		code, body := c.do("POST", c.url("/api/jobs/"),
			`{"entrypoint": "python3 job.py", "runtime_env": {"working_dir": "gcs://_ray_pkg_1.zip"}, "submission_id": "one"}`, bearer...)
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
		if code, body := c.do("POST", c.url("/api/jobs/"), `{"entrypoint": "true", "submission_id": "one"}`,
			bearer...); code != 400 {
			t.Errorf("the same id again: %d %s", code, body)
		}
	})
	t.Run("a worker that stops is dead for the head, and exits with 1", func(t *testing.T) {
		c.workers[1].Process.Signal(syscall.SIGTERM) //nolint:errcheck // seen below
		if code := c.workers[1].wait(t); code != 1 {
			t.Errorf("exit %d", code)
		}
		until(t, func() error {
			if _, body := c.do("GET", c.url("/api/v0/nodes"), "", bearer...); strings.Count(body, `"DEAD"`) != 1 ||
				strings.Count(body, `"ALIVE"`) != 2 {
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
	for _, want := range []string{"Version mismatch: The cluster was started with:\n    Ray: 2.51.1\n" +
		"    Python: 3.", "This process on node 127.0.0.2 was started with:\n    Ray: 2.50.0\n"} {
		if !strings.Contains(p.out.String(), want) {
			t.Errorf("no %q in\n%s", want, p.out)
		}
	}
}

func TestStandInHasTheFlagsOfItsVersion(t *testing.T) {
	for _, x := range []struct{ version, flag, want string }{
		{"0.8.6", "--dashboard-host=x", "No such option: --dashboard-host"},
		{"2.52.0", "--webui-host=x", "No such option: --webui-host"},
		{"2.49.0", "--gcs-server-port=1", "No such option: --gcs-server-port"},
		{"2.52.0", "--bogus", "No such option: --bogus"},
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
	for path, want := range map[string]int{"/nodes?view=summary": 200, "/api/cluster_status": 200, "/api/version": 404,
		"/api/jobs/": 404, "/api/v0/nodes": 404, "/api/gcs_healthz": 404} {
		if code, body := c.do("GET", c.url(path), ""); code != want {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
}
