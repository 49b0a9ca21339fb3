package docker

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/docker/sshtest"
	"github.com/raybuild/raybuild/internal/testneeds"
)

// stuck is an Engine of which every call but a ping hangs once it has begun to answer, and with
// frozen the ping as well.
type stuck struct {
	ln     *sshtest.Listener
	mu     sync.Mutex
	frozen bool
	pings  int
}

func newStuck(t *testing.T) *stuck {
	e := &stuck{ln: sshtest.NewListener()}
	over := make(chan struct{})
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		frozen := e.frozen
		if strings.HasSuffix(r.URL.Path, "/_ping") && !frozen {
			e.pings++
		}
		e.mu.Unlock()
		if strings.HasSuffix(r.URL.Path, "/_ping") && !frozen {
			w.Header().Set("Api-Version", "1.41")
			return
		}
		if strings.HasSuffix(r.URL.Path, "/logs") {
			w.Write([]byte("\x01\x00\x00\x00\x00\x00\x00\x03hi\n")) //nolint:errcheck // a line of stdout
			w.(http.Flusher).Flush()
		}
		select {
		case <-over:
		case <-r.Context().Done():
		}
	})}
	go srv.Serve(e.ln) //nolint:errcheck // it serves until the test ends
	t.Cleanup(func() { close(over); srv.Close() })
	return e
}

func (e *stuck) unix(_ string, c net.Conn) { e.ln.Give(c) }

func (e *stuck) freeze() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.frozen = true
}

func (e *stuck) asked() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.pings
}

// TestFrozenEngineEndsCalls freezes an Engine whose host is well. A call that takes long is left
// alone while the Engine answers others.
func TestFrozenEngineEndsCalls(t *testing.T) {
	t.Parallel()
	testneeds.Long(t)
	for what, call := range map[string]func(*testing.T, *Host) error{
		"logs": func(t *testing.T, h *Host) error {
			var out bytes.Buffer
			err := h.Logs(t.Context(), "c", LogOptions{Follow: true}, &out, io.Discard)
			if out.String() != "hi\n" {
				t.Errorf("the logs are %q", out.String())
			}
			return err
		},
		"pull":   func(t *testing.T, h *Host) error { _, err := h.Pull(t.Context(), "a/b:c", Auth{}); return err },
		"start":  func(t *testing.T, h *Host) error { return h.Start(t.Context(), "c") },
		"stop":   func(t *testing.T, h *Host) error { return h.Stop(t.Context(), "c") },
		"remove": func(t *testing.T, h *Host) error { return h.Remove(t.Context(), "c") },
		"create": func(t *testing.T, h *Host) error {
			_, err := h.Create(t.Context(), Create{Name: "c", Image: "i"})
			return err
		},
		"load": func(t *testing.T, h *Host) error {
			_, err := h.Load(t.Context(), strings.NewReader("tar"))
			return err
		},
		"exec": func(t *testing.T, h *Host) error {
			_, err := h.Exec(t.Context(), "c", Exec{Cmd: []string{"x"}, Stdout: io.Discard, Stderr: io.Discard})
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			e := newStuck(t)
			b := newBed(t, sshtest.Options{Unix: e.unix})
			b.opts.KeepaliveEvery, b.opts.KeepaliveLimit = 100*time.Millisecond, 4*time.Second
			h := b.dial(t)
			done := make(chan error, 1)
			go func() { done <- call(t, h) }()
			for before := e.asked(); e.asked() < before+5; {
				select {
				case err := <-done:
					t.Fatalf("it ends while the Engine answers others: %v", err)
				case <-time.After(time.Millisecond):
				}
			}
			e.freeze()
			select {
			case err := <-done:
				if err == nil || !strings.Contains(err.Error(), "the Engine is frozen: its host answers") ||
					!strings.Contains(err.Error(), fmt.Sprint(h.Target())) {
					t.Errorf("got %v", err)
				}
			case <-time.After(time.Minute):
				t.Fatal("it still hangs")
			}
			if h.Err() != nil {
				t.Errorf("the connection to the host has ended: %v", h.Err())
			}
		})
	}
}
