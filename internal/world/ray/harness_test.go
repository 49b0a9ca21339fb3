package ray_test

import (
	"bytes"
	"context"
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

	"github.com/raybuild/raybuild/internal/testneeds"
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
	if runtime.GOOS != "linux" {
		testneeds.Skip(t, "the stand-in ray needs Linux")
	}
	testneeds.Programs(t, "python3")
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
	for name, text := range map[string]string{"ray/_version.py": "version = \"" + version + "\"\n",
		"aiohttp/__init__.py": ""} {
		err = errors.Join(err, write(filepath.Join(dir, name), []byte(text)))
	}
	if err != nil {
		t.Fatal(err)
	}
	env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "PYTHONPATH=" + dir,
		"PYTHONDONTWRITEBYTECODE=1"}, env...)
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
	p := &process{Cmd: exec.Command("python3", args...), out: &lockedBuffer{mu: make(chan struct{}, 1)},
		done: make(chan struct{})}
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
		defer l.Close() // a listener
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
	c.head = s.ray(append(c.args(0), "--head", "--port="+strconv.Itoa(c.gcs), "--include-dashboard=true",
		"--dashboard-port="+strconv.Itoa(c.dashboard), "--num-cpus=1")...)
	c.head.says(s.t, "Ray runtime started")
	for i := range workers {
		c.workers = append(c.workers, s.ray(append(c.args(i+1), "--address="+c.address(), "--num-cpus=4",
			"--node-name=w"+strconv.Itoa(i+1))...))
	}
	for _, w := range c.workers {
		w.says(s.t, "Ray runtime started")
	}
	return c
}

func (c *cluster) address() string { return "127.0.0.2:" + strconv.Itoa(c.gcs) }

func (c *cluster) args(i int) []string {
	return []string{"start", "--block", "--node-ip-address=127.0.0." + strconv.Itoa(i+2),
		"--object-store-memory=80000000", "--temp-dir=" + c.t.TempDir(),
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
	defer res.Body.Close() // read
	b, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func (c *cluster) url(path string) string {
	return "http://127.0.0.1:" + strconv.Itoa(c.dashboard) + path
}
