package docker

import (
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/raybuild/raybuild/internal/docker/sshtest"
	"github.com/raybuild/raybuild/internal/testneeds"
)

// TestDefaultLimitsNameAHangWithinFifteenSeconds takes the limits as users have them. The host that
// is slow at each step, and at none too slow, is the one for which limits on each step are not
// enough.
func TestDefaultLimitsNameAHangWithinFifteenSeconds(t *testing.T) {
	testneeds.Long(t)
	const most = 15 * time.Second
	block := make(chan struct{})
	t.Cleanup(func() { close(block) })
	e := newEngine(t, "1.41")
	slow := func(path string, c net.Conn) {
		time.AfterFunc(8*time.Second, func() { e.unix(path, c) })
		<-block
	}
	for what, tt := range map[string]struct {
		server sshtest.Options
		want   string
	}{
		"banner":                  {sshtest.Options{Hang: sshtest.Banner}, "SSH banner"},
		"key exchange":            {sshtest.Options{Hang: sshtest.Kex}, "SSH key exchange"},
		"authentication":          {sshtest.Options{Hang: sshtest.Auth}, "SSH authentication"},
		"engine":                  {sshtest.Options{Unix: func(string, net.Conn) { <-block }}, "Engine is frozen"},
		"slow at login and after": {sshtest.Options{SlowAuth: 8 * time.Second, Unix: slow}, "not there within 14s"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, tt.server)
			start := time.Now()
			_, err := Dial(t.Context(), b.target, b.opts)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if d := time.Since(start); d > most {
				t.Errorf("it took %s", d)
			}
		})
	}
	for what, chatty := range map[string]bool{"silent in mid-stream": false, "silent while it was talking": true} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			e := newEngine(t, "1.41")
			b := newBed(t, sshtest.Options{Unix: e.unix, TCP: sshtest.Dial})
			h := b.dial(t)
			events := h.Docker().Events(t.Context(), client.EventsListOptions{})
			if chatty { // an answer is always on its way
				go func() {
					for h.Err() == nil {
						h.Docker().Ping(t.Context(), client.PingOptions{}) //nolint:errcheck // it ends by failing
					}
				}()
				for e.pings.Load() < 100 {
					runtime.Gosched()
				}
			}
			b.server.Freeze()
			endsWithin(t, events.Err, most)
		})
	}
}

// endsWithin waits for a stream to end because its host fell silent.
func endsWithin(t *testing.T, ended <-chan error, most time.Duration) {
	t.Helper()
	start := time.Now()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "no sign of life") {
			t.Errorf("the stream ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the stream still hangs")
	}
	if d := time.Since(start); d > most {
		t.Errorf("it took %s", d)
	}
}

func TestSilentHostEndsOpenStream(t *testing.T) {
	e := newEngine(t, "1.41")
	b := newBed(t, sshtest.Options{Unix: e.unix})
	b.opts.KeepaliveEvery, b.opts.KeepaliveLimit = 100*time.Millisecond, 300*time.Millisecond
	h := b.dial(t)
	events := h.Docker().Events(t.Context(), client.EventsListOptions{})
	b.server.Freeze()
	endsWithin(t, events.Err, 5*time.Second)
	if err := h.Err(); err == nil || !strings.Contains(err.Error(), "no sign of life") {
		t.Errorf("Err is %v", err)
	}
	if _, err := h.Docker().ContainerList(t.Context(), client.ContainerListOptions{}); err == nil ||
		!strings.Contains(err.Error(), "no sign of life") {
		t.Errorf("a later call says %v", err)
	}
}
