package llb_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/llb"
)

// answer runs a step that writes /out/answer, and reads it.
func answer(t *testing.T, b *llb.Builder, w *world, e llb.Exec, s llb.Session) (string, error) {
	t.Helper()
	st := llb.From(w.base).Make(e, llb.Output{Path: "/out", On: llb.Scratch()})
	files, err := b.ReadFiles(t.Context(), st, amd64, []string{"/answer"}, s)
	return string(files["/answer"]), err
}

func TestStepErrorSaysWhatFailed(t *testing.T) {
	w, b := newWorld(t), connect(t)
	e := sh("ray", "install ray", `i=0; while [ $i -lt 30 ]; do echo line $i; i=$((i+1)); done; exit 7`)
	_, err := answer(t, b, w, e, llb.Session{})
	var se *llb.StepError
	if !errors.As(err, &se) {
		t.Fatalf("error %v", err)
	}
	if se.Layer != "ray" || se.Step != "install ray" ||
		se.ExitCode != 7 || len(se.Log) != 20 || se.Log[19] != "line 29" || se.Hint != "" {
		t.Errorf("%+v", se)
	}
	if want := `layer ray: step "install ray": exit code 7`; err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
}

func TestOfflineStepsSayThatTheyHaveNoNetwork(t *testing.T) {
	w, b := newWorld(t), connect(t)
	host, port, _ := strings.Cut(w.host, ":")
	script := `printf 'GET /v2/ HTTP/1.0\r\n\r\n' | nc ` + host + " " + port + ` > /out/answer`
	_, err := answer(t, b, w, sh("x", "ask", script), llb.Session{})
	var se *llb.StepError
	if !errors.As(err, &se) || !strings.Contains(se.Hint, "no network") {
		t.Errorf("offline step: %v, %+v", err, se)
	}
	_, err = answer(t, b, w, sh("x", "ask far away", `nc 192.0.2.1 80 </dev/null`), llb.Session{})
	if !errors.As(err, &se) || !strings.Contains(err.Error(), "no network") {
		t.Errorf("offline step: %v, %+v", err, se)
	}
}

// The network of the builder's machine is for those who ask for it. A step that is online has another loopback.
func TestNetworkOfTheHost(t *testing.T) {
	w, b := newWorld(t), connect(t)
	host, port, _ := strings.Cut(w.host, ":")
	e := sh("x", "ask", `printf 'GET /v2/ HTTP/1.0\r\n\r\n' | nc `+host+" "+port+` > /out/answer`)
	for _, c := range []struct {
		name    string
		network llb.Network
		asked   bool
		answers bool
	}{
		{"an online step", llb.Online, false, false},
		{"a step on the host's network", llb.HostNetwork, true, true},
		{"a step on the host's network, unasked", llb.HostNetwork, false, false},
	} {
		e.Network = c.network
		dir := t.TempDir()
		err := b.Export(t.Context(), llb.From(w.base).Make(e, llb.Output{Path: "/out", On: llb.Scratch()}), amd64, dir,
			llb.Session{}, llb.SolveOptions{HostNetwork: c.asked})
		got, _ := os.ReadFile(filepath.Join(dir, "answer")) // there is none after an error
		if (err == nil && strings.Contains(string(got), "200 OK")) != c.answers {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}

func TestSecretsReachStepsAndLeaveNoTrace(t *testing.T) {
	w, b := newWorld(t), connect(t)
	e := sh("s", "use secrets",
		`printf "%s,%s,%s" "$(cat /run/secret)" "$TOKEN" "$(stat -c %a.%u /run/secret)" | od -An -c | head -n1 >/dev/null
		[ "$(cat /run/secret)$TOKEN" = onetwo ] && [ ! -e /run/none ]; stat -c %a.%u /run/secret > /out/answer`)
	e.Secrets = []llb.Secret{
		{ID: "one", Path: "/run/secret", UID: 5, Mode: 0o440},
		{ID: "two", Env: "TOKEN"},
		{ID: "none", Path: "/run/none", Optional: true},
	}
	get := func(values map[string]string) func(context.Context, string) ([]byte, error) {
		return func(_ context.Context, id string) ([]byte, error) {
			if v, ok := values[id]; ok {
				return []byte(v), nil
			}
			return nil, fmt.Errorf("%q: %w", id, llb.ErrNoSecret)
		}
	}
	got, err := answer(t, b, w, e, llb.Session{Secrets: get(map[string]string{"one": "one", "two": "two"})})
	if err != nil || got != "440.5\n" {
		t.Errorf("answer %q, %v", got, err)
	}
	got, err = answer(t, b, w, e, llb.Session{Secrets: get(map[string]string{"one": "other", "two": "two"})})
	if err != nil || got != "440.5\n" {
		t.Errorf("with another value of the secret the step ran again: %q, %v", got, err)
	}
	e.Args = append(e.Args, "again")
	if _, err = answer(t, b, w, e, llb.Session{}); err == nil ||
		!strings.Contains(err.Error(), "pass it with --secret id=") {
		t.Errorf("missing secret: %v", err)
	}
}

func TestSocketsAreServed(t *testing.T) {
	w, b := newWorld(t), connect(t)
	e := sh("s", "ask socket",
		`cp /in/dial /tmp/dial; chmod +x /tmp/dial; printf 'GET /hello HTTP/1.0\r\n\r\n' | /tmp/dial /run/gw.sock > /out/answer`)
	e.Sockets = []llb.Socket{{ID: "gw", Path: "/run/gw.sock"}}
	e.Mounts = []llb.Mount{{Path: "/in", Stage: llb.Artifact(w.add("dial", dialer(t)))}}
	e.Tmpfs = []string{"/tmp"}
	var calls atomic.Int32
	serve := func(c net.Conn) {
		calls.Add(1)
		req, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		fmt.Fprintf(c, "HTTP/1.0 200 OK\r\n\r\nyou asked %s", req.URL.Path)
		// A large answer, to the end of which the client reads.
		if _, err := io.CopyN(c, zeros{}, 1<<20); err != nil {
			t.Error(err)
		}
	}
	got, err := answer(t, b, w, e, llb.Session{Artifacts: w, Sockets: map[string]func(net.Conn){"gw": serve}})
	if err != nil || !strings.Contains(got, "you asked /hello") || len(got) < 1<<20 || calls.Load() != 1 {
		t.Errorf("%d calls, %d bytes, %v", calls.Load(), len(got), err)
	}
	e.Args = append(e.Args, "again")
	if _, err = answer(t, b, w, e, llb.Session{Artifacts: w}); err == nil ||
		!strings.Contains(err.Error(), `socket "gw" is not served`) {
		t.Errorf("missing socket: %v", err)
	}
}

// dialer is a static program that connects its standard input and output to a Unix socket.
func dialer(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	src := filepath.Join(dir, "dial.go")
	if err := os.WriteFile(src, []byte(dialSource), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", filepath.Join(dir, "dial"), src)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOOS=linux")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	dt, err := os.ReadFile(filepath.Join(dir, "dial"))
	if err != nil {
		t.Fatal(err)
	}
	return string(dt)
}

const dialSource = `package main

import (
	"io"
	"net"
	"os"
)

func main() {
	c, err := net.Dial("unix", os.Args[1])
	if err != nil {
		panic(err)
	}
	if _, err := io.Copy(c, os.Stdin); err != nil {
		panic(err)
	}
	if err := c.(*net.UnixConn).CloseWrite(); err != nil {
		panic(err)
	}
	if _, err := io.Copy(os.Stdout, c); err != nil {
		panic(err)
	}
}
`

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type sourceError struct{ mirror string }

func (e *sourceError) Error() string { return "mirror " + e.mirror + " answers 503; try another" }

func TestArtifactErrorsKeepTextAndType(t *testing.T) {
	w, b := newWorld(t), connect(t)
	w.fail = &sourceError{mirror: "tuna"}
	st := llb.Merge("both", llb.Artifact(w.add("a.whl", "a")), llb.Artifact(w.add("b.whl", "b")))
	_, err := b.Build(t.Context(), []llb.Image{{Platform: amd64, Layers: []llb.Layer{{Name: "l", Stage: st}}}},
		llb.Session{Artifacts: w}, llb.BuildOptions{})
	var own *sourceError
	var fe *llb.FetchError
	if !errors.As(err, &own) || own.mirror != "tuna" || !errors.As(err, &fe) || fe.Name == "" {
		t.Errorf("error %v", err)
	}
	if err == nil || !strings.HasPrefix(err.Error(), `fetch artifact "`) ||
		!strings.HasSuffix(err.Error(), "mirror tuna answers 503; try another") {
		t.Errorf("error %v", err)
	}
	_, err = b.ReadFiles(t.Context(), llb.Artifact(w.add("c", "c")), amd64, nil, llb.Session{})
	if !errors.As(err, &fe) || fe.Name != "c" {
		t.Errorf("without a source: %v", err)
	}
}

func TestWrongBytesAreRefused(t *testing.T) {
	w, b := newWorld(t), connect(t)
	blob := w.add("a", "right")
	w.blobs[blob.Digest] = []byte("wrong")
	_, err := b.ReadFiles(t.Context(), llb.Artifact(blob), amd64, []string{"/a"}, llb.Session{Artifacts: w})
	if err == nil || !strings.HasPrefix(err.Error(), "fetch a: ") || !strings.Contains(err.Error(), "digest mismatch") {
		t.Errorf("error %v", err)
	}
}

func TestCancelEndsStepsAndFetches(t *testing.T) {
	w, b := newWorld(t), connect(t)
	for _, tc := range []struct {
		name string
		st   llb.Stage
		s    llb.Session
	}{
		{"while a step runs", llb.From(w.base).Run(sh("x", "sleep", `echo started; sleep 3600`)), llb.Session{}},
		{"while an artifact is fetched", llb.Artifact(w.add("slow", "slow")), llb.Session{Artifacts: stalled{}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			began := make(chan struct{}, 64)
			if _, ok := tc.s.Artifacts.(stalled); ok {
				tc.s.Artifacts = stalled{began}
			}
			go func() {
				<-began
				cancel()
			}()
			progress := writer(func(p []byte) (int, error) {
				if strings.Contains(string(p), "started") {
					began <- struct{}{}
				}
				return len(p), nil
			})
			o := llb.SolveOptions{Progress: llb.ProgressPlain, ProgressTo: progress}
			err := ended(t, func() error {
				return b.Read(ctx, tc.st, amd64, tc.s, o, func(context.Context, llb.Tree) error { return nil })
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

// ended gives what f returns. The test fails if f hangs.
func ended(t *testing.T, f func() error) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		t.Fatal("it did not end within two minutes")
		return nil
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// stalled is a source whose bytes never come.
type stalled struct{ began chan struct{} }

func (s stalled) Open(ctx context.Context, _ digest.Digest) (io.ReadCloser, int64, error) {
	s.began <- struct{}{}
	<-ctx.Done()
	return nil, 0, ctx.Err()
}

func TestReadingFiles(t *testing.T) {
	w, b := newWorld(t), connect(t)
	big := strings.Repeat("0123456789abcdef", 600<<10/16*8) // more than one message holds
	st := llb.Scratch().Unpack("[x] unpack", llb.Artifact(w.add("t.tar",
		string(tarOf(t, map[string]string{"big": big, "dir/": "", "dir/f": "x", "empty": ""})))), "t.tar", "/d")
	s := llb.Session{Artifacts: w}
	files, err := b.ReadFiles(t.Context(), st, amd64, []string{"/d/big", "/d/none", "/d/dir/f", "/d/empty"}, s)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 3 || string(files["/d/big"]) != big || string(files["/d/dir/f"]) != "x" {
		t.Errorf("%d files, big has %d bytes", len(files), len(files["/d/big"]))
	}
	names, err := b.ListDir(t.Context(), st, amd64, "/d", s)
	if err != nil || !slices.Equal(names, []string{"big", "dir/", "empty"}) {
		t.Errorf("names %q, %v", names, err)
	}
	if _, err := b.ListDir(t.Context(), st, amd64, "/none", s); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing directory: %v", err)
	}
	dir := filepath.Join(t.TempDir(), "out")
	if err := b.Export(t.Context(), st, amd64, dir, s, llb.SolveOptions{}); err != nil {
		t.Fatal(err)
	}
	if dt, err := os.ReadFile(filepath.Join(dir, "d/dir/f")); err != nil || string(dt) != "x" {
		t.Errorf("exported %q, %v", dt, err)
	}
	mine := errors.New("mine")
	if err := b.Read(t.Context(), st, amd64, s, llb.SolveOptions{}, func(context.Context, llb.Tree) error {
		return mine
	}); !errors.Is(err, mine) {
		t.Errorf("the function's own error: %v", err)
	}
}

// A builder without QEMU names it, and the platform that it cannot run.
func TestForeignProgramNamesQEMU(t *testing.T) {
	w, b := newWorld(t), connect(t)
	mips := llb.Platform{OS: "linux", Architecture: "mips64le"} // which no machine of these tests has QEMU for
	// The head of a program for that CPU: ELF, 64 bits, little-endian, executable, machine 8 (elf.h, EM_MIPS).
	program := "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9) + "\x02\x00\x08\x00\x01" + strings.Repeat("\x00", 43)
	st := llb.From(w.base).Files("[x] write", llb.File{Path: "/opt/foreign", Data: []byte(program), Mode: 0o755}).
		Make(llb.Exec{Title: "[x] run", Args: []string{"/opt/foreign"}}, llb.Output{Path: "/out", On: llb.Scratch()})
	_, err := b.ReadFiles(t.Context(), st, mips, []string{"/answer"}, llb.Session{})
	var se *llb.StepError
	if !errors.As(err, &se) || !strings.Contains(err.Error(), "QEMU") ||
		!strings.Contains(err.Error(), "linux/mips64le") ||
		!strings.Contains(err.Error(), "--install mips64le") {
		t.Errorf("a program of another CPU: %v\n%+v", err, se)
	}
}
