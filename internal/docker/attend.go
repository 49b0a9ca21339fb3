package docker

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/moby/moby/client"
)

// frozenError says that an Engine does not answer, although its host does.
type frozenError struct{ silent time.Duration }

func (e *frozenError) Error() string {
	return fmt.Sprintf("the Engine is frozen: its host answers, but the Engine has not answered for %s; see it with: "+
		"systemctl status docker", e.silent)
}

// attend watches the Engine during a long call: SSH's keepalive watches only the host. It pings the Engine again and
// again. If the Engine does not answer, the call's context ends. why then replaces the call's error by a frozenError.
// stop ends the watch.
func (h *Host) attend(ctx context.Context) (call context.Context, why func(error) error, stop context.CancelFunc) {
	watched, end := context.WithCancelCause(ctx)
	go func() {
		tick := time.NewTicker(h.quiet)
		defer tick.Stop()
		for {
			select {
			case <-watched.Done():
				return
			case <-tick.C:
			}
			if h.frozen(watched) {
				end(&frozenError{h.quiet + h.limit})
				return
			}
		}
	}()
	why = func(err error) error {
		var frozen *frozenError
		if err != nil && errors.As(context.Cause(watched), &frozen) {
			return frozen
		}
		return err
	}
	return watched, why, func() { end(nil) }
}

// frozen pings the Engine. Any answer is a sign of life, an error too. Over `docker system dial-stdio`, all sessions
// may be in use, and the ping gets no connection. Then frozen says no.
func (h *Host) frozen(ctx context.Context) bool {
	short, cancel := context.WithTimeout(ctx, h.limit)
	defer cancel()
	var asked atomic.Bool
	_, err := h.api.Ping(httptrace.WithClientTrace(short,
		&httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { asked.Store(true) }}), client.PingOptions{})
	return err != nil && short.Err() != nil && ctx.Err() == nil && (asked.Load() || h.stdio == nil)
}
