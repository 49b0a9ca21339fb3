package llb_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	digest "github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/engine/enginetest"
	"github.com/raybuild/raybuild/internal/testneeds"
	"github.com/raybuild/raybuild/llb"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

var amd64 = llb.Platform{OS: "linux", Architecture: "amd64"}

// builderAddr starts a fresh engine for the test. RAYBUILD_TEST_BUILDER names another builder to test against, but
// results in its cache make some tests fail.
func builderAddr(t *testing.T) string {
	t.Helper()
	if addr := os.Getenv("RAYBUILD_TEST_BUILDER"); addr != "" {
		return addr
	}
	return enginetest.Start(t)
}

// connect connects to a fresh engine.
func connect(t *testing.T) *llb.Builder {
	t.Helper()
	return connectTo(t, builderAddr(t))
}

func connectTo(t *testing.T, addr string) *llb.Builder {
	t.Helper()
	b, err := llb.Connect(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// world is a registry on loopback with a base image, and a source of artifacts.
type world struct {
	host string
	base string // pinned reference of an image with busybox, two layers

	mu    sync.Mutex
	blobs map[digest.Digest][]byte
	opens map[digest.Digest]int
	fail  error // what Open returns, if set
}

func newWorld(t *testing.T) *world {
	t.Helper()
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(srv.Close)
	w := &world{host: strings.TrimPrefix(srv.URL, "http://"), blobs: map[digest.Digest][]byte{},
		opens: map[digest.Digest]int{}}
	w.base = w.push(t, "base:1", "")
	return w
}

// push pushes a busybox image of two layers; motd makes it differ.
func (w *world) push(t *testing.T, repo, motd string) string {
	t.Helper()
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, "application/vnd.oci.image.manifest.v1+json"),
		"application/vnd.oci.image.config.v1+json")
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture = "linux", "amd64"
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		t.Fatal(err)
	}
	if img, err = mutate.AppendLayers(img, layerOf(t, busybox(t)),
		layerOf(t, tarOf(t, map[string]string{"etc/motd": motd, "etc/passwd": "root:x:0:0::/root:/bin/sh\n"}))); err !=
		nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(w.host + "/" + repo)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return ref.Context().Digest(d.String()).String()
}

func layerOf(t *testing.T, dt []byte) v1.Layer {
	t.Helper()
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(dt)), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// busybox is an archive of the machine's static busybox with a few of its commands.
func busybox(t *testing.T) []byte {
	t.Helper()
	path, err := filepath.EvalSymlinks("/bin/busybox")
	if err != nil {
		testneeds.Skip(t, fmt.Sprintf("no busybox for the base image (apt-get install -y busybox-static): %v", err))
	}
	dt, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	put := func(h *tar.Header, dt []byte) {
		h.ModTime = llb.Epoch()
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(dt); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"usr/", "usr/bin/", "tmp/", "proc/", "sys/", "dev/", "etc/", "root/"} {
		put(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}, nil)
	}
	put(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin", Linkname: "usr/bin"}, nil)
	put(&tar.Header{Typeflag: tar.TypeReg, Name: "usr/bin/busybox", Mode: 0o755, Size: int64(len(dt))}, dt)
	for _, cmd := range strings.Fields("sh cat cp mkdir touch find wget nc sleep rm env id stat ls head printf test " +
		"true echo chmod date od") {
		put(&tar.Header{Typeflag: tar.TypeSymlink, Name: "usr/bin/" + cmd, Linkname: "busybox"}, nil)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// tarOf is an archive of files; names ending in a slash are directories.
func tarOf(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, name := range sorted(files) {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(files[name])),
			ModTime: llb.Epoch()}
		if strings.HasSuffix(name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, files[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// add keeps an artifact.
func (w *world) add(name, text string) llb.Blob {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := digest.FromString(text)
	w.blobs[d] = []byte(text)
	return llb.Blob{Digest: d, Name: name}
}

// Open is [llb.ArtifactSource].
func (w *world) Open(_ context.Context, d digest.Digest) (io.ReadCloser, int64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opens[d]++
	if w.fail != nil {
		return nil, 0, w.fail
	}
	dt, ok := w.blobs[d]
	if !ok {
		return nil, 0, os.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(dt)), int64(len(dt)), nil
}

func (w *world) opened(d digest.Digest) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.opens[d]
}

// entry is what a layer says of a path.
type entry struct {
	tar.Header
	data string
}

// layer reads a layer of the builder's.
func layer(t *testing.T, b *llb.Builder, d digest.Digest) map[string]entry {
	t.Helper()
	r, _, err := b.Blob(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	z, err := gzip.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]entry{}
	for tr := tar.NewReader(z); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		dt, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		out["/"+strings.Trim(h.Name, "/")] = entry{Header: *h, data: string(dt)}
	}
}

// sh is a step of the layer that runs a shell script.
func sh(layer, step, script string) llb.Exec {
	return llb.Exec{Title: "[" + layer + "] " + step, Args: []string{"/bin/sh", "-euc", script}}
}
