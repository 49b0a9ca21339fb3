package llb_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/internal/testneeds"
	"github.com/raybuild/raybuild/llb"
)

// filesImage needs no base, so it can be of any platform.
func filesImage(p llb.Platform, text string) llb.Image {
	return llb.Image{Platform: p, Layers: []llb.Layer{
		{Name: "a", Stage: llb.Scratch().Files("[a] write", llb.File{Path: "/etc/a", Data: []byte(text)})},
		{Name: "b", Stage: llb.Scratch().Files("[b] write", llb.File{Path: "/etc/b", Data: []byte("b")})},
	}}
}

type buffer struct {
	bytes.Buffer
	closed int
}

func (b *buffer) Close() error { b.closed++; return nil }

func TestOneSolveWritesEveryOutput(t *testing.T) {
	w, b := newWorld(t), connect(t)
	var oci, docker buffer
	dir := filepath.Join(t.TempDir(), "files")
	res := build(t, b, w, filesImage(amd64, "x"), llb.BuildOptions{
		Names: []string{w.host + "/ray:1"}, Push: true, OCI: &oci, Docker: &docker, Local: dir,
		Annotations: map[string]string{"k": "v"},
	})
	ref, err := name.ParseReference(w.host + "/ray:1")
	if err != nil {
		t.Fatal(err)
	}
	pushed, err := remote.Head(ref)
	if err != nil || pushed.Digest.String() != res.Digest.String() {
		t.Errorf("pushed %v, %v, want %s", pushed, err, res.Digest)
	}
	for name, buf := range map[string]*buffer{"oci": &oci, "docker": &docker} {
		if got := indexed(t, buf.Bytes()); got != res.Digest.String() || buf.closed != 1 {
			t.Errorf("%s archive holds %s, closed %d times; want %s", name, got, buf.closed, res.Digest)
		}
	}
	if _, err := tarball.Image(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(docker.Bytes())),
			nil
	}, nil); err != nil {
		t.Errorf("docker archive: %v", err)
	}
	if dt, err := os.ReadFile(filepath.Join(dir, "etc/a")); err != nil || string(dt) != "x" {
		t.Errorf("local file %q, %v", dt, err)
	}
	if len(res.Images[0].Layers) != 2 || res.Images[0].Layers[0].Name != "a" {
		t.Errorf("layers %+v", res.Images[0].Layers)
	}
}

// indexed is the digest in the index.json of an archive.
func indexed(t *testing.T, dt []byte) string {
	t.Helper()
	for tr := tar.NewReader(bytes.NewReader(dt)); ; {
		h, err := tr.Next()
		if err != nil {
			t.Fatalf("no index.json: %v", err)
		}
		if h.Name != "index.json" {
			continue
		}
		var index ocispecs.Index
		if err := json.NewDecoder(tr).Decode(&index); err != nil {
			t.Fatal(err)
		}
		return index.Manifests[0].Digest.String()
	}
}

func TestSeveralPlatformsMakeAnIndex(t *testing.T) {
	w, b := newWorld(t), connect(t)
	images := []llb.Image{filesImage(amd64, "amd"), filesImage(llb.Platform{OS: "linux", Architecture: "arm64"}, "arm")}
	res, err := b.Build(t.Context(), images, llb.Session{}, llb.BuildOptions{Names: []string{w.host + "/ray:1"},
		Push: true, Annotations: map[string]string{"k": "v"}})
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(w.host + "/ray:1")
	if err != nil {
		t.Fatal(err)
	}
	idx, err := remote.Index(ref)
	if err != nil {
		t.Fatal(err)
	}
	m, err := idx.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if m.Annotations["k"] != "v" || len(m.Manifests) != 2 {
		t.Errorf("index %+v", m)
	}
	for i, d := range m.Manifests {
		got := res.Images[i]
		if d.Platform.Architecture != got.Platform.Architecture || d.Digest.String() != got.Manifest.String() ||
			len(got.Layers) != 2 || got.Config == "" {
			t.Errorf("platform %v of %s, result %+v", d.Platform, d.Digest, got)
		}
	}
	if res.Images[0].Layers[1].Digest != res.Images[1].Layers[1].Digest {
		t.Error("the same files are another layer on another platform")
	}
}

// The layers of an image are known before it is pushed, and whoever sees them may stop there.
func TestLayersAreKnownBeforeTheyMove(t *testing.T) {
	w, b := newWorld(t), connect(t)
	ref, err := name.ParseReference(w.host + "/ray:1")
	if err != nil {
		t.Fatal(err)
	}
	o := llb.BuildOptions{Names: []string{ref.String()}, Push: true, SolveOptions: llb.SolveOptions{NoCache: true}}
	stop := errors.New("stop")
	img := []llb.Image{filesImage(amd64, "x")}
	failed, err := started(t, b, img, o, func(_ context.Context, build *llb.Build) error {
		if _, err := remote.Head(ref); err == nil {
			t.Error("pushed already")
		}
		if len(build.Result.Images[0].Layers) != 2 {
			t.Errorf("layers %+v", build.Result.Images[0].Layers)
		}
		return stop
	})
	if !errors.Is(err, stop) || len(ran(failed)) != 2 {
		t.Errorf("error %v, steps %+v", err, failed.Steps)
	}
	res, err := started(t, b, img, o, func(ctx context.Context, build *llb.Build) error { return build.Push(ctx) })
	if err != nil {
		t.Fatal(err)
	}
	if d, err := remote.Head(ref); err != nil || d.Digest.String() != res.Digest.String() {
		t.Errorf("pushed %v, %v, want %s", d, err, res.Digest)
	}
	if len(ran(res)) != 2 {
		t.Errorf("steps %+v", res.Steps)
	}
}

func TestLayersOfOtherCompressions(t *testing.T) {
	w, b := newWorld(t), connect(t)
	gz := build(t, b, w, filesImage(amd64, "x"), llb.BuildOptions{})
	zs := build(t, b, w, filesImage(amd64, "x"), llb.BuildOptions{Compression: "zstd"})
	again := build(t, b, w, filesImage(amd64, "x"), llb.BuildOptions{})
	if mt := zs.Images[0].Layers[0].MediaType; mt != ocispecs.MediaTypeImageLayerZstd || again.Digest != gz.Digest ||
		zs.Digest == gz.Digest {
		t.Errorf("zstd %s of type %s, gzip %s and then %s", zs.Digest, mt, gz.Digest, again.Digest)
	}
	es := build(t, b, w, filesImage(amd64, "x"), llb.BuildOptions{Compression: "estargz"})
	l := es.Images[0].Layers[0]
	r, _, err := b.Blob(t.Context(), l.Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	// The footer says where the table of contents is: containerd's stargz-snapshotter, docs/estargz.md.
	if !bytes.Contains(data[max(0, len(data)-51):], []byte("STARGZ")) ||
		l.MediaType != ocispecs.MediaTypeImageLayerGzip || es.Digest == gz.Digest {
		t.Errorf("estargz %s of type %s has no footer of estargz; gzip is %s", es.Digest, l.MediaType, gz.Digest)
	}
	if twice := build(t, b, w, filesImage(amd64, "x"), llb.BuildOptions{Compression: "estargz",
		SolveOptions: llb.SolveOptions{NoCache: true}}); twice.Digest != es.Digest {
		t.Errorf("estargz twice is %s and %s", es.Digest, twice.Digest)
	}
}

func TestLineHasTheSameFiles(t *testing.T) {
	w, b := newWorld(t), connect(t)
	img := rayImage(t, w, w.base, "2.52.0")
	dir := map[bool]string{}
	for _, line := range []bool{false, true} {
		dir[line] = filepath.Join(t.TempDir(), "files")
		res := build(t, b, w, img, llb.BuildOptions{Linear: line, Local: dir[line],
			Names: []string{w.host + "/ray:line"}})
		if res.Linear != line || len(res.Images[0].Layers) != 7 {
			t.Errorf("line %v: %d layers", res.Linear, len(res.Images[0].Layers))
		}
	}
	if a, b := listing(t, dir[false]), listing(t, dir[true]); a != b {
		t.Errorf("files differ:\n%s\nin a line:\n%s", a, b)
	}
}

func listing(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		out.WriteString(strings.TrimPrefix(p, dir) + " " + fi.Mode().String())
		if d.Type().IsRegular() && fi.Size() < 1000 {
			dt, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			out.WriteString(" " + string(dt))
		}
		out.WriteString("\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestPushUsesDockerCredentials(t *testing.T) {
	w, b := newWorld(t), connect(t)
	var authorized atomic.Bool
	locked := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if user, pass, ok := r.BasicAuth(); !ok || user != "ray" || pass != "s3cret" {
			rw.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		authorized.Store(true)
		r.URL.Scheme, r.URL.Host, r.RequestURI = "http", w.host, ""
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			rw.WriteHeader(http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		for k, v := range resp.Header {
			rw.Header()[k] = v
		}
		rw.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(rw, resp.Body) // the builder checks what it got
	}))
	t.Cleanup(locked.Close)
	host := strings.TrimPrefix(locked.URL, "http://")
	cfg := t.TempDir()
	if err := os.WriteFile(filepath.Join(cfg, "config.json"),
		[]byte(`{"auths":{"`+host+`":{"username":"ray","password":"s3cret"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	img := []llb.Image{filesImage(amd64, "x")}
	o := llb.BuildOptions{Names: []string{host + "/ray:1"}, Push: true}
	if _, err := b.Build(t.Context(), img, llb.Session{DockerConfig: t.TempDir()}, o); err == nil ||
		!strings.Contains(err.Error(), "401") {
		t.Errorf("without credentials: %v", err)
	}
	if _, err := b.Build(t.Context(), img, llb.Session{DockerConfig: cfg}, o); err != nil || !authorized.Load() {
		t.Errorf("with credentials: %v", err)
	}
}

func TestInfo(t *testing.T) {
	info, err := connect(t).Info(t.Context())
	if err != nil || !info.Merge || len(info.Platforms) == 0 ||
		info.Labels["org.mobyproject.buildkit.worker.snapshotter"] == "" {
		t.Errorf("info %+v, %v", info, err)
	}
}

func TestConnectErrorsNameTheAddress(t *testing.T) {
	testneeds.Long(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() }) // it accepts, and never answers
	for _, tc := range []struct{ name, addr, want string }{
		{"nobody listens", "unix:///nonexistent/buildkitd.sock", "buildkitd runs there"},
		{"nobody answers", "tcp://" + ln.Addr().String(), "buildkitd runs there"},
		{"no address", "buildkitd", "want an address"},
		{"unknown scheme", "gopher://x", "buildkitd runs there"},
		{"unknown setting", "tcp://127.0.0.1:1?tls=yes", `unknown setting "tls"`},
		{"missing certificate", "tcp://127.0.0.1:1?cacert=/nonexistent", "no such file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			err := ended(t, func() error {
				_, err := llb.Connect(t.Context(), tc.addr)
				return err
			})
			if err == nil || !strings.Contains(err.Error(), tc.addr) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// numbers is a text that each level of gzip packs into other bytes.
func numbers(first int) string {
	var b strings.Builder
	for n := range 50000 {
		fmt.Fprintln(&b, first+n*n)
	}
	return b.String()
}

// checkLevel checks that Go's compress/gzip at GzipLevel, and nothing else, is what makes a layer's
// bytes; so they are the same on every BuildKit of today.
func checkLevel(t *testing.T, b *llb.Builder, layer digest.Digest) {
	t.Helper()
	r, _, err := b.Blob(t.Context(), layer)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	packed, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	files, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	for level := gzip.BestSpeed; level <= gzip.BestCompression; level++ {
		var want bytes.Buffer
		z, err := gzip.NewWriterLevel(&want, level)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := z.Write(files); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		if same := bytes.Equal(packed, want.Bytes()); same != (level == llb.GzipLevel) {
			t.Errorf("a layer of %d bytes is that of level %d (%d bytes): %v, want it to be of level %d alone",
				len(packed), level, want.Len(), same, llb.GzipLevel)
		}
	}
}

func TestLayersArePackedAtGzipLevel(t *testing.T) {
	w, b := newWorld(t), connect(t)
	res := build(t, b, w, filesImage(amd64, numbers(1)), llb.BuildOptions{})
	checkLevel(t, b, res.Images[0].Layers[0].Digest)
}

// The export of a cache, which makes layers where no image was exported before, packs them as an image's are.
func TestCachesPackLayersAlike(t *testing.T) {
	w, b := newWorld(t), connect(t)
	text := numbers(int(time.Now().Unix()))
	to := llb.CacheEntry{Type: "registry", Attrs: map[string]string{"ref": w.host + "/level:cache", "mode": "max"}}
	o := llb.BuildOptions{Local: filepath.Join(t.TempDir(), "files"),
		SolveOptions: llb.SolveOptions{CacheTo: []llb.CacheEntry{to}}}
	build(t, b, w, filesImage(amd64, text), o)
	res := build(t, b, w, filesImage(amd64, text), llb.BuildOptions{})
	checkLevel(t, b, res.Images[0].Layers[0].Digest)
}
