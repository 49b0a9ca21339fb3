// Package build tests raybuild as its users meet it: the program, a real engine, a real registry, and the offline
// package world as mirrors. Conda, Ray and the other Python packages are stand-ins; Debian's packages, apt, pip and
// Python are real.
package build

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/testneeds"
	"github.com/raybuild/raybuild/internal/world"
)

var (
	program string       // the built raybuild
	testEnv *world.World // the package world that all tests share
	why     string       // why no test can run here; empty where they can
)

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "rbt")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	flag.Parse()
	if why = testneeds.Missing("runc", "mmdebstrap"); why != "" &&
		(testing.Short() || os.Getenv("RAYBUILD_TEST_STRICT") != "1") {
		fmt.Fprintln(os.Stderr, "no test is run:", why)
		return 0
	}
	if why == "" {
		if err := prepare(dir); err != nil {
			fmt.Fprintln(os.Stderr, "prepare:", err)
			return 1
		}
		defer testEnv.Close()
	}
	code := m.Run()
	if err := stopWarm(); err != nil {
		fmt.Fprintln(os.Stderr, "end the shared builder:", err)
		return 1
	}
	return code
}

func prepare(dir string) error {
	program = filepath.Join(dir, "raybuild")
	build := exec.Command("go", "build", "-o", program, "github.com/raybuild/raybuild/cmd/raybuild")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build raybuild: %w\n%s", err, out)
	}
	var err error
	testEnv, err = world.Start(context.Background(), world.Options{Log: os.Stderr})
	return err
}

// need skips the test where it cannot run; RAYBUILD_TEST_STRICT=1 makes that a failure.
func need(t *testing.T) {
	t.Helper()
	testneeds.Skip(t, why)
}

// home is a builder of its own: a RAYBUILD_HOME whose engine ends with the test.
type home struct {
	t   *testing.T
	dir string
	cwd string
	env []string

	within []string // a command that runs raybuild: nsenter
}

func newHome(t *testing.T) *home {
	t.Helper()
	need(t)
	//nolint:usetesting // a socket's path has to be short; t.TempDir has the test's name in it
	dir, err := os.MkdirTemp("", "rbh")
	if err != nil {
		t.Fatal(err)
	}
	h := &home{t: t, dir: dir, cwd: t.TempDir()}
	t.Cleanup(func() {
		if err := stopEngine(dir); err != nil {
			t.Errorf("stop engine: %v", err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the builder's state: %v", err)
		}
	})
	h.write("raybuild.yaml", string(testEnv.Recipe()))
	return h
}

// write makes a file beside the recipe.
func (h *home) write(name, text string) {
	h.t.Helper()
	file := filepath.Join(h.cwd, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

func (h *home) read(name string) string {
	h.t.Helper()
	data, err := os.ReadFile(filepath.Join(h.cwd, name))
	if err != nil {
		h.t.Fatal(err)
	}
	return string(data)
}

// outcome is what one call of raybuild came to.
type outcome struct {
	code           int
	stdout, stderr string
	meta           metadata
}

// metadata is the part of --metadata-file that tests look at.
type metadata struct {
	Digest   string `json:"containerimage.digest"`
	Name     string `json:"image.name"`
	Raybuild struct {
		Engine       string `json:"engine"`
		LockDigest   string `json:"lock_digest"`
		UpToDate     bool   `json:"up_to_date"`
		Found        struct{ How, From string }
		LayersFrom   string  `json:"layers_from"`
		Smoke        string  `json:"smoke"`
		Seconds      float64 `json:"seconds"`
		BytesFetched int64   `json:"bytes_fetched"`
		BytesPushed  int64   `json:"bytes_pushed"`
		Steps        []struct {
			Name, Layer string
			Cached      bool
			Seconds     float64
		} `json:"steps"`
		Layers []struct {
			Name, Digest string
			Size         int64
			Reused       bool
		} `json:"layers"`
	} `json:"raybuild"`
}

// ran are the layers whose steps ran, sorted, each once. The test of the image is of none: see tested.
func (m metadata) ran() []string {
	var out []string
	for _, s := range m.Raybuild.Steps {
		if !s.Cached && s.Layer != "smoke" {
			out = append(out, s.Layer)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// tested tells whether the image was tested, and not known to pass.
func (m metadata) tested() bool {
	for _, s := range m.Raybuild.Steps {
		if !s.Cached && s.Layer == "smoke" {
			return m.Raybuild.Smoke == "passed"
		}
	}
	return false
}

// layer is the digest of the named layer.
func (m metadata) layer(name string) string {
	for _, l := range m.Raybuild.Layers {
		if l.Name == name {
			return l.Digest
		}
	}
	return ""
}

// command is raybuild in the home, with nothing of the machine's own settings.
func (h *home) command(ctx context.Context, args ...string) *exec.Cmd {
	all := append(append(slices.Clone(h.within), program), args...)
	cmd := exec.CommandContext(ctx, all[0], all[1:]...)
	cmd.Dir = h.cwd
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + h.cwd, "RAYBUILD_HOME=" + h.dir}, h.env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) }
	return cmd
}

// run calls raybuild and waits for its end.
func (h *home) run(args ...string) outcome {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := h.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.t.Fatalf("raybuild %s: %v", strings.Join(args, " "), err)
	}
	return outcome{code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
}

// push builds and pushes to ref, which must work.
func (h *home) push(ref string, args ...string) outcome {
	h.t.Helper()
	file := filepath.Join(h.t.TempDir(), "meta.json")
	out := h.run(append([]string{"--push", "--progress", "plain", "--metadata-file", file, ref}, args...)...)
	if out.code != 0 {
		h.t.Fatalf("raybuild --push %s %s: exit %d\n%s", ref, strings.Join(args, " "), out.code, tail(out.stderr, 60))
	}
	data, err := os.ReadFile(file)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := json.Unmarshal(data, &out.meta); err != nil {
		h.t.Fatal(err)
	}
	if want := repository(ref) + "@" + out.meta.Digest; strings.TrimSpace(out.stdout) != want {
		h.t.Errorf("stdout is %q, want the one line %q", out.stdout, want)
	}
	return out
}

// refused calls raybuild, which must fail with the code and say all of texts.
func (h *home) refused(code int, texts []string, args ...string) outcome {
	h.t.Helper()
	out := h.run(args...)
	if out.code != code {
		h.t.Errorf("raybuild %s: exit %d, want %d\n%s", strings.Join(args, " "), out.code, code, tail(out.stderr, 40))
	}
	for _, text := range texts {
		if !strings.Contains(out.stderr, text) {
			h.t.Errorf("raybuild %s: the error does not say %q:\n%s", strings.Join(args, " "), text,
				tail(out.stderr, 40))
		}
	}
	if out.stdout != "" {
		h.t.Errorf("raybuild %s failed and still wrote to stdout: %q", strings.Join(args, " "), out.stdout)
	}
	return out
}

// ref is a name in the world's registry that no other test uses.
func ref(t *testing.T, tag string) string {
	t.Helper()
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(t.Name()))
	return testEnv.Registry + "/" + strings.Trim(name, "-") + ":" + tag
}

func repository(ref string) string { return ref[:strings.LastIndex(ref, ":")] }

func tail(text string, lines int) string {
	all := strings.Split(text, "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// counter is the world's registry behind a proxy that counts requests.
type counter struct {
	host     string
	requests atomic.Int64
	handler  atomic.Pointer[http.HandlerFunc] // answers instead of the registry where it is set
}

func newCounter(t *testing.T) *counter {
	t.Helper()
	c := &counter{}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: testEnv.Registry})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.host = ln.Addr().String()
	server := &http.Server{ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c.requests.Add(1)
			if h := c.handler.Load(); h != nil {
				(*h)(w, r)
				return
			}
			proxy.ServeHTTP(w, r)
		})}
	go func() {
		if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the registry's counter ended with %v", err)
		}
	}()
	t.Cleanup(func() { server.Close() })
	return c
}
