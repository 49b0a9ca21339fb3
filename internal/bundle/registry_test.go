package bundle_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/internal/bundle"
	"github.com/raybuild/raybuild/internal/registry"
)

// noNetwork counts requests, and answers none.
type noNetwork struct{ asked atomic.Int64 }

// RoundTrip implements http.RoundTripper.
func (n *noNetwork) RoundTrip(*http.Request) (*http.Response, error) {
	n.asked.Add(1)
	return nil, errors.New("there is no network")
}

// A client finds base images of a bundle by tag and by digest, and asks no registry for them.
func TestBundleHasBasesForAClient(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "b")
	_, base, finished := sample(t, dir)
	network := &noNetwork{}
	c := registry.New(registry.Options{Bases: open(t, dir).Bases(), Transport: network})
	pinned, err := c.Resolve(t.Context(), "debian:12", ocispecs.Platform{OS: "linux", Architecture: "amd64"})
	if err != nil || pinned.Manifest != base.Manifest.Digest {
		t.Fatalf("debian:12 is %s (%v), want %s", pinned.Manifest, err, base.Manifest.Digest)
	}
	_, err = c.Resolve(t.Context(), "debian:12", ocispecs.Platform{OS: "linux", Architecture: "s390x"})
	if err == nil ||
		!strings.Contains(err.Error(), "linux/amd64") || !strings.Contains(err.Error(), "linux/arm64") {
		t.Errorf("another platform: %v, want an error that lists those that there are", err)
	}
	ref := "debian@" + base.Manifest.Digest.String()
	if text := blobOf(t, c, ref, "layer of amd64"); text != "layer of amd64" {
		t.Errorf("the base's layer is %q", text)
	}
	if image, err := c.Inspect(t.Context(), ref); err != nil || len(image.Platforms) != 1 {
		t.Errorf("inspect gives %+v, %v", image, err)
	}
	if n := network.asked.Load(); n > 0 {
		t.Errorf("%d requests were sent for what is in the bundle", n)
	}
	for _, name := range []string{"debian:12", "registry.example/team/ray@" + finished.Manifest.Digest.String()} {
		before := network.asked.Load()
		if _, _, err := c.Head(t.Context(), name); err == nil || network.asked.Load() == before {
			t.Errorf("what the name %s has today was taken from the bundle: %v", name, err)
		}
	}
}

func blobOf(t *testing.T, c *registry.Client, ref, text string) string {
	t.Helper()
	r, err := c.OpenBlob(t.Context(), ref, digest.FromString(text), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// serveBundle serves the finished images of a bundle, and gives the address.
func serveBundle(t *testing.T, s bundle.Set) string {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- registry.ServeImages(ctx, ln, s.Finished()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

func TestBundleServesItsImages(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "b")
	wheel, _, finished := sample(t, dir)
	host := serveBundle(t, open(t, dir))
	c := registry.New(registry.Options{})
	image, err := c.Inspect(t.Context(), host+"/team/ray:1", "text/lock")
	if err != nil {
		t.Fatal(err)
	}
	if lock := image.Attached["text/lock"]; image.Digest != finished.Manifest.Digest || len(lock) != 1 ||
		string(lock[0].Data) != "the lock of registry.example/team/ray:1" {
		t.Errorf("the image is %s with %v attached, want %s with its lock", image.Digest, lock,
			finished.Manifest.Digest)
	}
	if text := blobOf(t, c, image.Ref, "layer of amd64"); text != "layer of amd64" {
		t.Errorf("the layer is %q", text)
	}
	if has, err := c.Has(t.Context(), image.Ref, wheel); err != nil || has[wheel] {
		t.Errorf("an artifact is a layer of the image: %v, %v", has, err)
	}
	if _, ok, err := c.Head(t.Context(), host+"/library/debian:12"); ok || err != nil {
		t.Errorf("the base is served as an image: %v, %v", ok, err)
	}
	if err := c.CanPush(t.Context(), host+"/team/ray:2"); err == nil {
		t.Error("it lets clients push")
	}
}

// A bundle goes to a registry whole, and is the same bundle there.
func TestBundleThroughARegistry(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "b")
	wheel, base, finished := sample(t, dir)
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- registry.Serve(ctx, ln, t.TempDir()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	c, ref := registry.New(registry.Options{}), ln.Addr().String()+"/bundles/ray:1"
	d, err := bundle.Push(t.Context(), dir, c, registry.PushOptions{Names: []string{ref}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := bundle.OpenRemote(t.Context(), registry.New(registry.Options{}), ref)
	if err != nil || b.Digest() != d {
		t.Fatalf("the bundle there is %v, want %s: %v", b, d, err)
	}
	s := bundle.Set{b}
	if text := readAll(t, s, wheel); text != "the wheel" {
		t.Errorf("the artifact is %q", text)
	}
	r, size, err := s.OpenImage(t.Context(), base.Manifest.Digest)
	if err != nil || size != base.Manifest.Size {
		t.Fatalf("the base's manifest has %d bytes (%v), want %d", size, err, base.Manifest.Size)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if refs := s.Finished().Referrers("team/ray", finished.Manifest.Digest); len(refs) != 1 {
		t.Errorf("attached to the image is %v, want its lock", refs)
	}
}
