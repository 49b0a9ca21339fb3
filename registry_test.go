package raybuild

import (
	"net"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/raybuild/raybuild/internal/registry"
)

// serveRegistry runs the embedded registry on a free port until the test ends, and gives its address.
func serveRegistry(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	store, done := t.TempDir(), make(chan error, 1)
	go func() { done <- registry.Serve(t.Context(), ln, store) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Errorf("serve registry: %v", err)
		}
	})
	return ln.Addr().String()
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
