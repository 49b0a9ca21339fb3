package docker

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/docker/sshtest"
)

// TestSlowEngineIsNamed has an Engine that waits for a registry. The client's own error shows the URL of a socket.
func TestSlowEngineIsNamed(t *testing.T) {
	t.Parallel()
	e := newEngine(t, "1.41")
	h := newBed(t, sshtest.Options{Unix: e.unix}).dial(t)
	for name, tt := range map[string]struct {
		within func(context.Context) (context.Context, context.CancelFunc)
		cause  error
		want   string
	}{
		"a limit of ours": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			return Within(ctx, 50*time.Millisecond)
		}, context.DeadlineExceeded, ": the Engine did not answer within 50ms; it may be busy: run again, or"},
		"a limit that nobody named": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 50*time.Millisecond)
		}, context.DeadlineExceeded, ": the Engine did not answer in time"},
		"a call that is given up": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(50*time.Millisecond, cancel)
			return ctx, cancel
		}, context.Canceled, ": context canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := tt.within(t.Context())
			defer cancel()
			_, err := h.Digest(ctx, "registry.exmaple/ray:1", Auth{})
			if !errors.Is(err, tt.cause) || !strings.Contains(err.Error(), "on "+h.target.String()+tt.want) ||
				strings.Contains(err.Error(), "%2F") {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
