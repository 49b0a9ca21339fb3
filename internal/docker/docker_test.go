package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"golang.org/x/crypto/ssh"

	"github.com/raybuild/raybuild/internal/docker/sshtest"
)

// engine is as much of an Engine as the transport's tests call.
type engine struct {
	ln    *sshtest.Listener
	pings atomic.Int64
	api   string
}

func newEngine(t *testing.T, api string) *engine {
	e := &engine{ln: sshtest.NewListener(), api: api}
	mux := http.NewServeMux()
	mux.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) {
		e.pings.Add(1)
		if e.api != "" {
			w.Header().Set("Api-Version", e.api)
		}
	})
	mux.HandleFunc("/v1.41/containers/json", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `[]`) })
	mux.HandleFunc("/v1.41/events", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("/v1.41/images/load", func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "{\"stream\":\"Loaded image: demo:%d\\n\"}\n", n)
	})
	mux.HandleFunc("/v1.41/distribution/", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	srv := &http.Server{Handler: mux}
	go func() {
		if err := srv.Serve(e.ln); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the Engine ended with %v", err)
		}
	}()
	t.Cleanup(func() { srv.Close() })
	return e
}

func (e *engine) unix(path string, c net.Conn) {
	if path == "/var/run/docker.sock" {
		e.ln.Give(c)
		return
	}
	c.Close()
}

// exec is `docker system dial-stdio` in front of the Engine; any other command prints itself.
func (e *engine) exec(line string, in io.Reader, out, _ io.Writer) int {
	if !strings.HasSuffix(line, "dial-stdio") {
		fmt.Fprint(out, line)
		return 0
	}
	ours, theirs := net.Pipe()
	go e.ln.Give(theirs)
	go func() { _, _ = io.Copy(ours, in); ours.Close() }() // ends as the client leaves, with its error
	_, _ = io.Copy(out, ours)
	return 0
}

type bed struct {
	server *sshtest.Server
	target Target
	opts   Options
}

func newBed(t *testing.T, o sshtest.Options) bed {
	s := sshtest.Start(t, o)
	_, pem := sshtest.NewKey(t)
	key := filepath.Join(t.TempDir(), "id")
	if err := os.WriteFile(key, pem, 0o600); err != nil {
		t.Fatal(err)
	}
	return bed{server: s, target: targetOf(t, s.Addr, key),
		opts: Options{SSHConfig: "none", Agent: "none", Identities: []string{},
			KnownHosts: []string{sshtest.KnownHosts(t, s)}}}
}

func targetOf(t *testing.T, addr, key string) Target {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return Target{User: "me", Address: host, Port: n, Key: key}
}

func (b bed) dial(t *testing.T) *Host {
	t.Helper()
	h, err := Dial(t.Context(), b.target, b.opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func TestManyCallsShareOneConnection(t *testing.T) {
	t.Parallel()
	for _, n := range []int{64, 256} {
		t.Run(fmt.Sprintf("%d at once", n), func(t *testing.T) {
			e := newEngine(t, "1.41")
			b := newBed(t, sshtest.Options{Unix: e.unix})
			h := b.dial(t)
			var wg sync.WaitGroup
			var failed atomic.Int64
			for range n {
				wg.Go(func() {
					if _, err := h.Docker().ContainerList(t.Context(), client.ContainerListOptions{}); err != nil {
						failed.Add(1)
						t.Log(err)
					}
				})
			}
			wg.Wait()
			if failed.Load() > 0 {
				t.Errorf("%d of %d calls failed", failed.Load(), n)
			}
			if got := b.server.Connections(); got != 1 {
				t.Errorf("%d connections, want 1", got)
			}
			if got := e.pings.Load(); got != 1 {
				t.Errorf("version negotiated %d times, want once", got)
			}
		})
	}
}

func TestHangNamesThePhase(t *testing.T) {
	t.Parallel()
	for phase, want := range map[sshtest.Phase]string{
		sshtest.Banner: "SSH banner", sshtest.Kex: "SSH key exchange", sshtest.Auth: "SSH authentication"} {
		t.Run(string(phase), func(t *testing.T) {
			t.Parallel()
			b := newBed(t, sshtest.Options{Hang: phase})
			b.opts.HandshakeTimeout = 500 * time.Millisecond
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := Dial(ctx, b.target, b.opts)
			if err == nil || !strings.Contains(err.Error(), want) ||
				!strings.Contains(err.Error(), "no answer within 500ms") {
				t.Errorf("got %v, want the phase %q", err, want)
			}
		})
	}
	t.Run("connect", func(t *testing.T) {
		t.Parallel()
		o := Options{SSHConfig: "none", Agent: "none", ConnectTimeout: 200 * time.Millisecond}
		_, err := Dial(t.Context(), Target{User: "me", Address: "192.0.2.1"}, o) // RFC 5737: nobody
		if err == nil || !strings.Contains(err.Error(), "connect to 192.0.2.1:22") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("engine", func(t *testing.T) {
		t.Parallel()
		block := make(chan struct{})
		t.Cleanup(func() { close(block) })
		b := newBed(t, sshtest.Options{Unix: func(string, net.Conn) { <-block }})
		b.opts.EngineTimeout = 300 * time.Millisecond
		_, err := Dial(t.Context(), b.target, b.opts)
		if err == nil || !strings.Contains(err.Error(), "Engine is frozen") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("cancelled by the user", func(t *testing.T) {
		t.Parallel()
		b := newBed(t, sshtest.Options{Hang: sshtest.Kex})
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(100*time.Millisecond, func() { cancel(errors.New("interrupted")) })
		_, err := Dial(ctx, b.target, b.opts)
		if err == nil || !strings.Contains(err.Error(), "interrupted") {
			t.Errorf("got %v", err)
		}
	})
}

func TestEngineWithoutVersionIsRefused(t *testing.T) {
	t.Parallel()
	e := newEngine(t, "")
	b := newBed(t, sshtest.Options{Unix: e.unix})
	_, err := Dial(t.Context(), b.target, b.opts)
	if err == nil || !strings.Contains(err.Error(), "tells no API version") ||
		strings.Contains(err.Error(), "too new") {
		t.Errorf("got %v", err)
	}
}

func TestTooOldEngineIsNamed(t *testing.T) {
	t.Parallel()
	e := newEngine(t, "1.24")
	b := newBed(t, sshtest.Options{Unix: e.unix})
	_, err := Dial(t.Context(), b.target, b.opts)
	if err == nil || !strings.Contains(err.Error(), "1.24 is not supported") {
		t.Errorf("got %v", err)
	}
}

func TestStreamlocalRefusedFallsBackToDialStdio(t *testing.T) {
	t.Parallel()
	e := newEngine(t, "1.41")
	var lines sync.Map
	b := newBed(t, sshtest.Options{Exec: func(line string, in io.Reader, out, errs io.Writer) int {
		lines.Store(line, true)
		return e.exec(line, in, out, errs)
	}})
	h := b.dial(t)
	if h.Note() == "" {
		t.Error("the note does not name the fall-back")
	}
	var wg sync.WaitGroup
	var failed atomic.Int64
	for range 64 {
		wg.Go(func() {
			if _, err := h.Docker().ContainerList(t.Context(), client.ContainerListOptions{}); err != nil {
				failed.Add(1)
				t.Log(err)
			}
		})
	}
	wg.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d of 64 calls failed", failed.Load())
	}
	lines.Range(func(k, _ any) bool {
		if k != "docker system dial-stdio" {
			t.Errorf("ran %q", k)
		}
		return true
	})
}

func TestDialStdioSaysWhyItFails(t *testing.T) {
	t.Parallel()
	b := newBed(t, sshtest.Options{Exec: func(_ string, in io.Reader, out, errs io.Writer) int {
		fmt.Fprintln(errs, "permission denied while trying to connect to the Docker daemon socket")
		return 1
	}})
	_, err := Dial(t.Context(), b.target, b.opts)
	if err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("got %v", err)
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	b := newBed(t, sshtest.Options{Unix: newEngine(t, "1.41").unix,
		Exec: func(line string, in io.Reader, out, errs io.Writer) int {
			data, _ := io.ReadAll(in)
			fmt.Fprintf(out, "%s<%s", line, data)
			if strings.HasPrefix(line, "false") {
				fmt.Fprint(errs, "no such table")
				return 3
			}
			return 0
		}})
	h := b.dial(t)
	out, err := h.Run(t.Context(), strings.NewReader("rules"), "nft", "-f", "-")
	if err != nil || string(out) != "nft -f -<rules" {
		t.Errorf("got %q, %v", out, err)
	}
	_, err = h.Run(t.Context(), nil, "false")
	var failed *CommandError
	if !errors.As(err, &failed) || failed.Code != 3 || failed.Stderr != "no such table" {
		t.Errorf("got %v", err)
	}
	for _, bad := range []string{"a b", "$(touch /tmp/x)", "a;b", "`x`", "a|b", "a\nb", "'", `"`, "", "a\x00b", "*",
		"~", "a&b", "-o ProxyCommand", "!x", "{a,b}", "<x", "\u00a0"} {
		if _, err := h.Run(t.Context(), nil, "cat", bad); err == nil ||
			!strings.Contains(err.Error(), "a shell would read") {
			t.Errorf("argument %q: got %v", bad, err)
		}
	}
}

func TestRawStreamsGoToTheHostToo(t *testing.T) {
	t.Parallel()
	e := newEngine(t, "1.41")
	h := newBed(t, sshtest.Options{Unix: e.unix}).dial(t)
	c, err := h.Docker().Dialer()(t.Context()) // the way of attach and exec
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	before := e.pings.Load()
	fmt.Fprint(c, "GET /_ping HTTP/1.0\r\n\r\n")
	if got, err := io.ReadAll(c); err != nil || e.pings.Load() != before+1 {
		t.Errorf("the host's Engine was not asked: %q, %v", got, err)
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	e := newEngine(t, "1.41")
	h := newBed(t, sshtest.Options{Unix: e.unix}).dial(t)
	names, err := h.Load(t.Context(), bytes.NewReader(make([]byte, 5<<20)))
	if err != nil || len(names) != 1 || names[0] != "demo:5242880" {
		t.Errorf("got %v, %v", names, err)
	}
}

func TestTunnel(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		c, err := ln.Accept()
		if err == nil {
			_, _ = io.Copy(c, c) // what did not come back fails the test
			c.Close()
		}
	}()
	h := newBed(t, sshtest.Options{Unix: newEngine(t, "1.41").unix, TCP: sshtest.Dial}).dial(t)
	c, err := h.Dial(t.Context(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(c, "hello")
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Error(err)
	}
	got, err := io.ReadAll(c)
	if err != nil || string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
	ln.Close()
	if _, err := h.Dial(t.Context(), ln.Addr().String()); err == nil ||
		!strings.Contains(err.Error(), "connect from ssh://me@127.0.0.1") {
		t.Errorf("a closed port: %v", err)
	}
}

func TestJumpHost(t *testing.T) {
	t.Parallel()
	e := newEngine(t, "1.41")
	inner := sshtest.Start(t, sshtest.Options{Unix: e.unix})
	outer := newBed(t, sshtest.Options{TCP: sshtest.Dial})
	outer.opts.KnownHosts = []string{sshtest.KnownHosts(t, outer.server, inner)}
	tgt := targetOf(t, inner.Addr, outer.target.Key)
	tgt.Jump = fmt.Sprintf("me@127.0.0.1:%d", outer.target.Port)
	h, err := Dial(t.Context(), tgt, outer.opts)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if _, err := h.Docker().ContainerList(t.Context(), client.ContainerListOptions{}); err != nil {
		t.Error(err)
	}
	outer.opts.KnownHosts = []string{sshtest.KnownHosts(t, inner)}
	if _, err := Dial(t.Context(), tgt, outer.opts); err == nil || !strings.Contains(err.Error(), "jump host") {
		t.Errorf("a jump host with an unknown key: %v", err)
	}
}

func TestRefusedKeysAreNamed(t *testing.T) {
	t.Parallel()
	other, _ := sshtest.NewKey(t)
	b := newBed(t, sshtest.Options{Allow: []ssh.PublicKey{other.PublicKey()}})
	b.opts.Identities = []string{filepath.Join(t.TempDir(), "missing")}
	_, err := Dial(t.Context(), b.target, b.opts)
	if err == nil || !strings.Contains(err.Error(), b.target.Key) ||
		!strings.Contains(err.Error(), "accepted none of") {
		t.Errorf("got %v", err)
	}
}
