package raybuild

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/raybuild/raybuild/internal/registry"
)

// serveRegistry runs the embedded registry on a free port until the test ends, and gives its address.
func serveRegistry(t testing.TB) string {
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

// pushRandom puts an image of three layers into a registry.
func pushRandom(t *testing.T, to string) v1.Image {
	t.Helper()
	ref, err := name.ParseReference(to)
	if err != nil {
		t.Fatal(err)
	}
	img, err := random.Image(1000, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	return img
}
