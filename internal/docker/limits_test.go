package docker

import (
	"context"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/raybuild/raybuild/internal/docker/sshtest"
	"github.com/raybuild/raybuild/internal/testneeds"
)

// TestDefaultLimitsNameAHangWithinFifteenSeconds takes the limits as users have them. The error of each hang names the
// limit that ended it, so the test reads the limits and does not measure time on a busy machine. The last host is slow
// at each step and too slow at none: it needs the limit on all steps together.
func TestDefaultLimitsNameAHangWithinFifteenSeconds(t *testing.T) {
	t.Parallel()
	testneeds.Long(t)
	const most = 15 * time.Second
	if o := (Options{}).withDefaults(); o.DialTimeout > most || o.KeepaliveEvery+o.KeepaliveLimit > most {
		t.Errorf("the default limits %+v let a hang last longer than %s", o, most)
	}
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
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := Dial(ctx, b.target, b.opts)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
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
			endsSilent(t, events.Err)
		})
	}
}

// endsSilent waits for a stream to end because its host fell silent.
func endsSilent(t *testing.T, ended <-chan error) {
	t.Helper()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "no sign of life") {
			t.Errorf("the stream ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the stream still hangs")
	}
}

func TestSilentHostEndsOpenStream(t *testing.T) {
	t.Parallel()
	e := newEngine(t, "1.41")
	b := newBed(t, sshtest.Options{Unix: e.unix})
	b.opts.KeepaliveEvery, b.opts.KeepaliveLimit = 100*time.Millisecond, 300*time.Millisecond
	h := b.dial(t)
	events := h.Docker().Events(t.Context(), client.EventsListOptions{})
	b.server.Freeze()
	endsSilent(t, events.Err)
	if err := h.Err(); err == nil || !strings.Contains(err.Error(), "no sign of life") {
		t.Errorf("Err is %v", err)
	}
	if _, err := h.Docker().ContainerList(t.Context(), client.ContainerListOptions{}); err == nil ||
		!strings.Contains(err.Error(), "no sign of life") {
		t.Errorf("a later call says %v", err)
	}
}
