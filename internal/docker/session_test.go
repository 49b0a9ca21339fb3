package docker

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/moby/moby/client"

	"github.com/raybuild/raybuild/internal/docker/sshtest"
)

func TestMoreSessionsThanSSHDGrants(t *testing.T) {
	t.Parallel()
	for _, most := range []int{1, 4} {
		t.Run(fmt.Sprintf("MaxSessions %d", most), func(t *testing.T) {
			e := newEngine(t, "1.41")
			b := newBed(t, sshtest.Options{MaxSessions: most, Exec: e.exec})
			h := b.dial(t)
			events := h.Docker().Events(t.Context(), client.EventsListOptions{}) // it holds a session for ever
			var wg sync.WaitGroup
			for range 64 {
				wg.Go(func() {
					if _, err := h.Docker().ContainerList(t.Context(), client.ContainerListOptions{}); err != nil {
						t.Error(err)
					}
				})
				wg.Go(func() {
					if out, err := h.Run(t.Context(), nil, "hostname"); err != nil {
						t.Errorf("%q, %v", out, err)
					}
				})
			}
			wg.Wait()
			if n := b.server.Connections(); n > maxStdio+maxCommands {
				t.Errorf("%d connections", n)
			}
			select {
			case err := <-events.Err:
				t.Errorf("the stream ended: %v", err)
			default:
			}
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		e := newEngine(t, "1.41")
		b := newBed(t, sshtest.Options{MaxSessions: -1, Exec: e.exec})
		if _, err := Dial(t.Context(), b.target, b.opts); err == nil || !strings.Contains(err.Error(), "MaxSessions") {
			t.Errorf("got %v", err)
		}
	})
}
