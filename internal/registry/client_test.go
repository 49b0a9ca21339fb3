package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	libregistry "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
)

const lockType = "application/vnd.raybuild.lock.v1+yaml"

func TestLook(t *testing.T) {
	host, asked := start(t, nil)
	want := push(t, host+"/ray:1", image(t, amd64(), map[string]string{"dev.raybuild.graph": "sha256:abc"}))
	asked.reset()
	found, ok, err := client(Options{}).Look(t.Context(), host+"/ray:1")
	if err != nil || !ok {
		t.Fatalf("Look: %v, %v", ok, err)
	}
	if string(found.Digest) != want || found.Annotations["dev.raybuild.graph"] != "sha256:abc" || found.Ref != host+"/ray@"+want {
		t.Errorf("found %+v, want digest %s", found, want)
	}
	if len(found.Layers) != 2 || found.Layers[0].Size == 0 || found.Layers[0].Digest.Validate() != nil {
		t.Errorf("layers %+v", found.Layers)
	}
	if n := asked.count(""); n > 5 || asked.count("GET /v2/ray/manifests/") != 1 {
		t.Errorf("%d requests %v, want one manifest GET and at most 5 in all", n, asked.list)
	}
	t.Run("an index has its own annotations", func(t *testing.T) {
		push(t, host+"/ray:multi", index(t))
		found, ok, err := client(Options{}).Look(t.Context(), host+"/ray:multi")
		if err != nil || !ok || found.Annotations["dev.raybuild.graph"] != "sha256:index" {
			t.Errorf("found %+v, %v, %v", found, ok, err)
		}
	})
	for _, ref := range []string{host + "/ray:other", host + "/nothing/here"} {
		t.Run("absent "+ref[len(host):], func(t *testing.T) {
			if _, ok, err := client(Options{}).Look(t.Context(), ref); ok || err != nil {
				t.Errorf("Look: %v, %v, want absent without an error", ok, err)
			}
		})
	}
}

// bearer is a registry with a token service, as most public ones are.
func bearer(t *testing.T, user, password string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				if u, p, _ := r.BasicAuth(); u != user || p != password {
					w.WriteHeader(http.StatusUnauthorized)
					_, err := fmt.Fprintf(w, `{"errors":[{"code":"UNAUTHORIZED","message":"bad password %s"}]}`, p)
					if err != nil {
						t.Error(err)
					}
					return
				}
				if _, err := fmt.Fprint(w, `{"token":"t0k3n"}`); err != nil {
					t.Error(err)
				}
				return
			}
			if r.Header.Get("Authorization") != "Bearer t0k3n" {
				w.Header().Set("Www-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="test"`, r.Host))
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

func TestCredentials(t *testing.T) {
	host, asked := start(t, bearer(t, "ann", "s3cret"))
	t.Run("from Docker's configuration", func(t *testing.T) {
		dockerConfig(t, map[string]any{"auths": map[string]any{host: map[string]string{"auth": basic("ann", "s3cret")}}})
		asked.reset()
		if _, ok, err := client(Options{}).Look(t.Context(), host+"/ray"); ok || err != nil {
			t.Errorf("Look: %v, %v", ok, err)
		}
		if n := asked.count(""); n > 5 {
			t.Errorf("%d requests with a token service: %v", n, asked.list)
		}
		if err := client(Options{}).CanPush(t.Context(), host+"/ray"); err != nil {
			t.Errorf("CanPush: %v", err)
		}
	})
	t.Run("from a credential helper", func(t *testing.T) {
		bin := t.TempDir()
		script := "#!/bin/sh\necho '{\"ServerURL\":\"x\",\"Username\":\"ann\",\"Secret\":\"s3cret\"}'\n"
		if err := os.WriteFile(filepath.Join(bin, "docker-credential-raybuildtest"), []byte(script), 0o755); err != nil { //nolint:gosec // it is run
			t.Fatal(err)
		}
		t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
		dockerConfig(t, map[string]any{"credHelpers": map[string]string{host: "raybuildtest"}})
		if _, ok, err := client(Options{}).Look(t.Context(), host+"/ray"); ok || err != nil {
			t.Errorf("Look: %v, %v", ok, err)
		}
	})
	t.Run("wrong ones are an error that names the next step and holds no password", func(t *testing.T) {
		dockerConfig(t, map[string]any{"auths": map[string]any{host: map[string]string{"auth": basic("ann", "wr0ng")}}})
		for verb, err := range attempts(t, client(Options{}), host+"/ray") {
			if !errors.Is(err, ErrUnauthorized) || !strings.Contains(err.Error(), "docker login "+host) {
				t.Errorf("%s: %v", verb, err)
			}
			if err != nil && (strings.Contains(err.Error(), "wr0ng") || strings.Contains(err.Error(), basic("ann", "wr0ng"))) {
				t.Errorf("%s: the error holds the password: %v", verb, err)
			}
		}
	})
}

// attempts makes each call once and gives its error.
func attempts(t *testing.T, c *Client, ref string) map[string]error {
	t.Helper()
	calls := map[string]func(context.Context) error{
		"look":       func(ctx context.Context) error { _, _, err := c.Look(ctx, ref); return err },
		"resolve":    func(ctx context.Context) error { _, err := c.Resolve(ctx, ref, linux("amd64")); return err },
		"inspect":    func(ctx context.Context) error { _, err := c.Inspect(ctx, ref); return err },
		"has":        func(ctx context.Context) error { _, err := c.Has(ctx, ref, digest.FromString("x")); return err },
		"attach":     func(ctx context.Context) error { _, err := c.Attach(ctx, ref, lockType, lockType, nil); return err },
		"attached":   func(ctx context.Context) error { _, err := c.Attached(ctx, ref, lockType); return err },
		"tag":        func(ctx context.Context) error { return c.Tag(ctx, ref, ref+":2") },
		"push check": func(ctx context.Context) error { return c.CanPush(ctx, ref) },
		"validate":   func(ctx context.Context) error { return c.Validate(ctx, ref) },
	}
	var (
		mu   sync.Mutex
		wait sync.WaitGroup
		all  = map[string]error{}
	)
	for verb, call := range calls {
		wait.Go(func() {
			err := call(t.Context())
			mu.Lock()
			defer mu.Unlock()
			all[verb] = err
		})
	}
	wait.Wait()
	return all
}

func TestRefusals(t *testing.T) {
	answer := func(status int) func(http.Handler) http.Handler {
		return func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		}
	}
	silent := func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	}
	broken := func(http.Handler) http.Handler {
		return http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		})
	}
	for what, c := range map[string]struct {
		middleware func(http.Handler) http.Handler
		says       string
		timeout    time.Duration
	}{
		"401":                      {answer(401), "docker login", 0},
		"403":                      {answer(403), "docker login", 0},
		"500":                      {answer(500), "try again later", 0},
		"503":                      {answer(503), "503 Service Unavailable", 0},
		"418":                      {answer(418), "418", 0},
		"silence":                  {silent, "did not answer in time", 200 * time.Millisecond},
		"a connection that breaks": {broken, "EOF", 0},
	} {
		t.Run(what, func(t *testing.T) {
			host, _ := start(t, c.middleware)
			for verb, err := range attempts(t, client(Options{Timeout: c.timeout}), host+"/ray") {
				if err == nil || !strings.Contains(err.Error(), host) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%s: %v, want it to name %s and say %q", verb, err, host, c.says)
				}
			}
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		host := ln.Addr().String()
		if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
		for verb, err := range attempts(t, client(Options{}), host+"/ray") {
			if err == nil || !strings.Contains(err.Error(), host+": connection refused") {
				t.Errorf("%s: %v", verb, err)
			}
		}
	})
	t.Run("no such image", func(t *testing.T) {
		host, _ := start(t, nil)
		if _, err := client(Options{}).Inspect(t.Context(), host+"/ray"); !errors.Is(err, ErrNotFound) {
			t.Errorf("Inspect: %v, want ErrNotFound", err)
		}
	})
	for _, ref := range []string{"", "Ray", "a b", "host/ray@sha256:12", "http://host/ray", "-x", "ray:" + strings.Repeat("t", 200)} {
		t.Run("bad reference "+ref[:min(len(ref), 20)], func(t *testing.T) {
			for verb, err := range attempts(t, client(Options{}), ref) {
				if err == nil || !strings.Contains(err.Error(), "parse image reference") {
					t.Errorf("%s: %v", verb, err)
				}
			}
		})
	}
}

func TestPlainHTTP(t *testing.T) {
	host, asked := start(t, nil)
	for _, name := range []string{"registry.test", "registry.test:5000", "10.1.2.3:5000"} {
		t.Run(name+" is refused", func(t *testing.T) {
			asked.reset()
			_, _, err := client(Options{Transport: dialTo(host)}).Look(t.Context(), name+"/ray")
			if err == nil || !strings.Contains(err.Error(), "--insecure-registry "+name) || asked.count("") != 0 {
				t.Errorf("Look: %v after requests %v", err, asked.list)
			}
		})
		t.Run(name+" is used when named", func(t *testing.T) {
			for _, named := range []string{name, strings.Split(name, ":")[0]} {
				if _, _, err := client(Options{Transport: dialTo(host), Insecure: []string{named}}).Look(t.Context(), name+"/ray"); err != nil {
					t.Errorf("Insecure %s: %v", named, err)
				}
			}
		})
	}
	t.Run("another host is not meant", func(t *testing.T) {
		_, _, err := client(Options{Transport: dialTo(host), Insecure: []string{"other.test"}}).Look(t.Context(), "registry.test/ray")
		if err == nil {
			t.Error("registry.test was reached over plain HTTP with only other.test named")
		}
	})
}

func TestHTTPS(t *testing.T) {
	handler, unlock, err := openServer(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(unlock)
	srv := httptest.NewTLSServer(handler)
	t.Cleanup(srv.Close)
	addr := strings.TrimPrefix(srv.URL, "https://")
	t.Run("on loopback with a certificate that nobody signed", func(t *testing.T) {
		if err := client(Options{}).CanPush(t.Context(), addr+"/ray"); err != nil {
			t.Error(err)
		}
	})
	t.Run("elsewhere the certificate is checked", func(t *testing.T) {
		_, _, err := client(Options{Transport: dialTo(addr)}).Look(t.Context(), "registry.test/ray")
		if err == nil || !strings.Contains(err.Error(), "certificate is not trusted") {
			t.Errorf("Look: %v", err)
		}
	})
}

func TestResolve(t *testing.T) {
	host, _ := start(t, nil)
	all := push(t, host+"/ubuntu:22.04", index(t))
	one := push(t, host+"/single", image(t, amd64(), nil))
	c := client(Options{})
	manifests := map[digest.Digest]bool{}
	for _, arch := range []string{"amd64", "arm64"} {
		pinned, err := c.Resolve(t.Context(), host+"/ubuntu:22.04", linux(arch))
		if err != nil {
			t.Fatal(err)
		}
		if pinned.Ref != host+"/ubuntu:22.04@"+all || string(pinned.Digest) != all || !strings.Contains(string(pinned.Config), `"architecture":"`+arch+`"`) {
			t.Errorf("%s: %+v", arch, pinned)
		}
		manifests[pinned.Manifest] = true
		again, err := c.Resolve(t.Context(), pinned.Ref, linux(arch))
		if err != nil || again.Ref != pinned.Ref || again.Manifest != pinned.Manifest {
			t.Errorf("a pinned reference: %+v, %v, want %+v", again, err, pinned)
		}
	}
	if len(manifests) != 2 {
		t.Errorf("two platforms have manifests %v", manifests)
	}
	if pinned, err := c.Resolve(t.Context(), host+"/single", linux("amd64")); err != nil || string(pinned.Manifest) != one {
		t.Errorf("a single image: %+v, %v", pinned, err)
	}
	for _, name := range []string{"ubuntu:22.04", "single"} {
		_, err := c.Resolve(t.Context(), host+"/"+name, linux("riscv64"))
		var missing *PlatformError
		if !errors.As(err, &missing) || !slices.Contains(missing.Has, "linux/amd64") || slices.Contains(missing.Has, "unknown/unknown") {
			t.Errorf("%s for riscv64: %v", name, err)
		}
	}
}

func TestTag(t *testing.T) {
	host, asked := start(t, nil)
	for _, what := range []struct {
		name string
		push remote.Taggable
	}{{"image", image(t, amd64(), nil)}, {"index", index(t)}} {
		t.Run(what.name, func(t *testing.T) {
			d := push(t, host+"/ray:1", what.push)
			asked.reset()
			other := host + "/other/" + what.name + ":2"
			if err := client(Options{}).Tag(t.Context(), host+"/ray@"+d, host+"/ray:2", other, host+"/ray:3"); err != nil {
				t.Fatal(err)
			}
			if n := asked.count("PUT /v2/ray/manifests/"); n != 2 {
				t.Errorf("%d PUTs in the same repository, want 2: %v", n, asked.list)
			}
			if n := asked.count("PATCH"); n != 0 {
				t.Errorf("%d chunks sent, want blobs mounted: %v", n, asked.list)
			}
			for _, ref := range []string{host + "/ray:2", host + "/ray:3", other} {
				found, ok, err := client(Options{}).Look(t.Context(), ref)
				if err != nil || !ok || string(found.Digest) != d {
					t.Errorf("%s: %+v, %v, %v, want %s", ref, found, ok, err, d)
				}
				if err := client(Options{}).Validate(t.Context(), ref); err != nil {
					t.Error(err)
				}
			}
		})
	}
	t.Run("another registry", func(t *testing.T) {
		elsewhere, _ := start(t, nil)
		if err := client(Options{}).Tag(t.Context(), host+"/ray:1", elsewhere+"/copy:1"); err != nil {
			t.Fatal(err)
		}
		if err := client(Options{}).Validate(t.Context(), elsewhere+"/copy:1"); err != nil {
			t.Error(err)
		}
	})
}

func TestInspect(t *testing.T) {
	host, _ := start(t, nil)
	annotations := map[string]string{
		"org.opencontainers.image.base.name":   "docker.io/library/ubuntu:22.04",
		"org.opencontainers.image.base.digest": "sha256:base",
	}
	img := image(t, amd64(), annotations)
	d := push(t, host+"/ray:1", img)
	got, err := client(Options{}).Inspect(t.Context(), host+"/ray:1")
	if err != nil {
		t.Fatal(err)
	}
	if got.Ref != host+"/ray@"+d || len(got.Platforms) != 1 || !maps.Equal(got.Annotations, annotations) {
		t.Fatalf("got %+v", got)
	}
	one := got.Platforms[0]
	if one.BaseName != "docker.io/library/ubuntu:22.04" || one.BaseDigest != "sha256:base" || one.Config.User != "1000:1000" {
		t.Errorf("got %+v", one)
	}
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(one.Layers) != 2 || one.Size != manifest.Config.Size+manifest.Layers[0].Size+manifest.Layers[1].Size {
		t.Fatalf("layers %+v of size %d", one.Layers, one.Size)
	}
	if l := one.Layers[1]; l.History != "[ray] install ray 2.52.0" || l.Digest.String() != manifest.Layers[1].Digest.String() || l.DiffID == "" {
		t.Errorf("layer %+v", l)
	}
	push(t, host+"/ray:multi", index(t))
	multi, err := client(Options{}).Inspect(t.Context(), host+"/ray:multi")
	if err != nil || len(multi.Platforms) != 2 || multi.Platforms[1].Platform.Architecture != "arm64" {
		t.Errorf("index: %+v, %v", multi.Platforms, err)
	}
}

func TestHas(t *testing.T) {
	host, asked := start(t, nil)
	img := image(t, amd64(), nil)
	push(t, host+"/ray:1", img)
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	there, absent := digest.Digest(manifest.Layers[0].Digest.String()), digest.FromString("absent")
	asked.reset()
	has, err := client(Options{}).Has(t.Context(), host+"/ray:2", there, absent)
	if err != nil || !has[there] || has[absent] || len(has) != 2 {
		t.Errorf("has %v, %v", has, err)
	}
	if asked.count("HEAD /v2/ray/blobs/") != 2 || asked.count("GET /v2/ray") != 0 {
		t.Errorf("requests %v, want HEADs alone", asked.list)
	}
	if _, err := client(Options{}).Has(t.Context(), host+"/ray", "sha256:../x"); err == nil {
		t.Error("a broken digest was asked for")
	}
}

func TestAttach(t *testing.T) {
	for what, handler := range map[string]http.Handler{
		"this registry":            nil,
		"no referrers API":         libregistry.New(libregistry.WithReferrersSupport(false), libregistry.Logger(log.New(io.Discard, "", 0))),
		"referrers by config type": libregistry.New(libregistry.WithReferrersSupport(true), libregistry.Logger(log.New(io.Discard, "", 0))),
	} {
		t.Run(what, func(t *testing.T) {
			var host string
			if handler == nil {
				host, _ = start(t, nil)
			} else {
				host, _ = serveHandler(t, handler, nil)
			}
			push(t, host+"/ray:1", image(t, amd64(), nil))
			ctx, c := t.Context(), client(Options{})
			if none, err := c.Attached(ctx, host+"/ray:1", lockType); err != nil || len(none) != 0 {
				t.Fatalf("attached before: %v, %v", none, err)
			}
			first, err := c.Attach(ctx, host+"/ray:1", lockType, lockType, []byte("version: 1\n"))
			if err != nil {
				t.Fatal(err)
			}
			if again, err := c.Attach(ctx, host+"/ray:1", lockType, lockType, []byte("version: 1\n")); err != nil || again != first {
				t.Errorf("again: %s, %v, want %s", again, err, first)
			}
			if _, err := c.Attach(ctx, host+"/ray:1", "application/vnd.other", "text/plain", []byte("other")); err != nil {
				t.Fatal(err)
			}
			got, err := c.Attached(ctx, host+"/ray:1", lockType)
			if err != nil || len(got) != 1 || string(got[0].Data) != "version: 1\n" || got[0].MediaType != lockType {
				t.Errorf("attached %+v, %v", got, err)
			}
		})
	}
}

func TestValidateFindsDamage(t *testing.T) {
	dir := t.TempDir()
	handler, unlock, err := openServer(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(unlock)
	host, _ := serveHandler(t, handler, nil)
	img := image(t, amd64(), nil)
	push(t, host+"/ray:1", img)
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	layer := filepath.Join(dir, "blobs", "sha256", manifest.Layers[0].Digest.Hex)
	data, err := os.ReadFile(layer)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(layer, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := client(Options{}).Validate(t.Context(), host+"/ray:1"); err == nil {
		t.Error("an image with a damaged layer is valid")
	}
}

func TestNames(t *testing.T) {
	d := digest.FromString("x").String()
	for ref, want := range map[string][2]string{
		"ray":                           {"docker.io", "ray@" + d},
		"team/ray:1":                    {"docker.io", "team/ray@" + d},
		"docker.io/library/ray":         {"docker.io", "ray@" + d},
		"127.0.0.1:5000/ray:1":          {"127.0.0.1:5000", "127.0.0.1:5000/ray@" + d},
		"[::1]:5000/ray":                {"[::1]:5000", "[::1]:5000/ray@" + d},
		"localhost/a/b@" + d:            {"localhost", "localhost/a/b@" + d},
		"registry.example/team/ray:1-2": {"registry.example", "registry.example/team/ray@" + d},
	} {
		host, err := Host(ref)
		pinned, perr := Pin(ref, d)
		if err != nil || perr != nil || host != want[0] || pinned != want[1] {
			t.Errorf("%s: host %q, pinned %q, %v, %v, want %v", ref, host, pinned, err, perr, want)
		}
	}
	for host, want := range map[string]bool{
		"localhost": true, "a.localhost": true, "127.0.0.1": true, "127.9.8.7": true, "::1": true, "[::1]": true,
		"10.0.0.1": false, "registry.example": false, "localhost.example": false, "": false,
	} {
		if Loopback(host) != want {
			t.Errorf("Loopback(%q) = %v", host, !want)
		}
	}
}

// What CanPush opened, it gives up again.
func TestCanPushLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	handler, unlock, err := openServer(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(unlock)
	host, _ := serveHandler(t, handler, nil)
	if err := client(Options{}).CanPush(t.Context(), host+"/ray"); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(filepath.Join(dir, "uploads"))
	if err != nil || len(left) != 0 {
		t.Errorf("uploads left: %v, %v", left, err)
	}
}
