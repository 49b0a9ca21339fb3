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

// frozenError is an Engine that no longer answers while its host does.
type frozenError struct{ silent time.Duration }

func (e *frozenError) Error() string {
	return fmt.Sprintf("the Engine is frozen: its host answers, but the Engine has not answered for %s; see it with: "+
		"systemctl status docker", e.silent)
}

// attend watches the Engine during a call that may take long: SSH's keepalive tells of the host
// alone. Every so often the Engine is asked for a sign of life, and where it gives none the context
// of the call ends. why puts the cause in the place of the error that the call has seen of it; stop
// ends the watch.
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

// frozen asks the Engine for a sign of life. Any answer is one, an error too. Where all ways to it
// are taken, as sessions of `docker system dial-stdio` may be, nothing is known.
func (h *Host) frozen(ctx context.Context) bool {
	short, cancel := context.WithTimeout(ctx, h.limit)
	defer cancel()
	var asked atomic.Bool
	_, err := h.api.Ping(httptrace.WithClientTrace(short,
		&httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { asked.Store(true) }}), client.PingOptions{})
	return err != nil && short.Err() != nil && ctx.Err() == nil && (asked.Load() || h.stdio == nil)
}
