package fakesite

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/raybuild/raybuild/internal/registry"
)

// ServeRegistry runs the embedded registry on a free port until the test ends, and gives its address.
func ServeRegistry(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	store, done := t.TempDir(), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	open := &openListener{Listener: ln}
	go func() { done <- registry.Serve(ctx, open, store) }()
	t.Cleanup(func() {
		open.hangUp()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve registry: %v", err)
		}
	})
	return ln.Addr().String()
}

// openListener ends its connections at once, for which a server waits that somebody has opened and not used.
type openListener struct {
	net.Listener
	mu   sync.Mutex
	open []net.Conn
}

func (l *openListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.mu.Lock()
		l.open = append(l.open, conn)
		l.mu.Unlock()
	}
	return conn, err
}

func (l *openListener) hangUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range l.open {
		_ = conn.Close() // most of them are closed
	}
}
