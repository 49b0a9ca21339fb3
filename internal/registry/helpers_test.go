package registry

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// requests counts what a registry is asked.
type requests struct {
	mu   sync.Mutex
	list []string
}

func (r *requests) add(req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, req.Method+" "+req.URL.Path)
}

func (r *requests) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = nil
}

func (r *requests) count(prefix string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, one := range r.list {
		if strings.HasPrefix(one, prefix) {
			n++
		}
	}
	return n
}

// start serves a fresh directory and gives host:port. The middleware may answer in the registry's place.
func start(t *testing.T, middleware func(next http.Handler) http.Handler) (string, *requests) {
	t.Helper()
	handler, unlock, err := openServer(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(unlock)
	return serveHandler(t, handler, middleware)
}

func serveHandler(t *testing.T, handler http.Handler,
	middleware func(next http.Handler) http.Handler) (string, *requests) {
	t.Helper()
	if middleware != nil {
		handler = middleware(handler)
	}
	asked := &requests{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.add(r)
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://"), asked
}

// answering is a transport that asks a handler without a network, so that a test may run on synctest's clock.
func answering(h http.Handler) transportFunc {
	return func(r *http.Request) (*http.Response, error) {
		if r.Body == nil {
			r.Body = http.NoBody
		}
		w := &recorder{ResponseRecorder: httptest.NewRecorder()}
		done := make(chan struct{})
		go func() {
			defer close(done)
			h.ServeHTTP(w, r)
		}()
		defer func() { _ = r.Body.Close() }()
		select {
		case <-r.Context().Done():
			return nil, r.Context().Err()
		case <-done:
		}
		if w.cut {
			return nil, io.ErrUnexpectedEOF
		}
		resp := w.Result()
		resp.Request = r
		return resp, nil
	}
}

// recorder is an answer whose connection can be cut.
type recorder struct {
	*httptest.ResponseRecorder
	cut bool
}

// Hijack implements http.Hijacker.
func (w *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.cut = true
	here, there := net.Pipe()
	_ = there.Close()
	return here, nil, nil
}

// transportFunc is a function that makes requests.
type transportFunc func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// client gives up after a second, so that tests of silence are short.
func client(o Options) *Client {
	if o.Timeout == 0 {
		o.Timeout = time.Second
	}
	return New(o)
}

// image is a small image for a platform, with history and annotations.
func image(t *testing.T, p v1.Platform, annotations map[string]string) v1.Image {
	t.Helper()
	layers := []string{"[base] ubuntu", "[ray] install ray 2.52.0"}
	img := mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1)
	for _, title := range layers {
		layer, err := random.Layer(2048, types.OCILayer)
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.Append(img, mutate.Addendum{Layer: layer,
			History: v1.History{CreatedBy: title}}); err != nil {
			t.Fatal(err)
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = p.OS, p.Architecture, p.Variant
	config.Config.User, config.Config.WorkingDir = "1000:1000", "/home/ray"
	config.Config.Env = []string{"PATH=/opt/conda/envs/ray/bin:/usr/bin"}
	config.History = append(config.History, v1.History{CreatedBy: "[image] config", EmptyLayer: true})
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	if annotations == nil {
		return img
	}
	annotated, ok := mutate.Annotations(img, annotations).(v1.Image)
	if !ok {
		t.Fatal("annotated image is no image")
	}
	return annotated
}

func amd64() v1.Platform { return v1.Platform{OS: "linux", Architecture: "amd64"} }

func linux(arch string) ocispecs.Platform { return ocispecs.Platform{OS: "linux", Architecture: arch} }

// push stores an image or an index and gives its digest.
func push(t *testing.T, ref string, what remote.Taggable) string {
	t.Helper()
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Push(parsed, what, remote.WithContext(t.Context())); err != nil {
		t.Fatalf("push %s: %v", ref, err)
	}
	desc, err := remote.Head(parsed, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return desc.Digest.String()
}

// index is an image for two platforms.
func index(t *testing.T) v1.ImageIndex {
	t.Helper()
	arm := v1.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}
	x86 := amd64()
	unknown := v1.Platform{OS: "unknown", Architecture: "unknown"}
	idx := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
		mutate.IndexAddendum{Add: image(t, x86, nil), Descriptor: v1.Descriptor{Platform: &x86}},
		mutate.IndexAddendum{Add: image(t, arm, nil), Descriptor: v1.Descriptor{Platform: &arm}},
		mutate.IndexAddendum{Add: image(t, unknown, nil), Descriptor: v1.Descriptor{Platform: &unknown}})
	annotated, ok := mutate.Annotations(idx, map[string]string{"dev.raybuild.graph": "sha256:index"}).(v1.ImageIndex)
	if !ok {
		t.Fatal("annotated index is no index")
	}
	return annotated
}

// dockerConfig writes a Docker configuration for host and makes it the current one.
func dockerConfig(t *testing.T, config map[string]any) {
	t.Helper()
	dir := t.TempDir()
	raw, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_CONFIG", dir)
}

func basic(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
}

// dialTo is a transport for which every host is the server at addr, so that tests can use names that do not exist.
func dialTo(addr string) *http.Transport {
	return &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}}
}
