package registry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// bearer is a registry with a token service, as most public ones are. As with distribution, a token
// to push is none to give an upload up.
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
			challenge := fmt.Sprintf(`Bearer realm="http://%s/token",service="test"`, r.Host)
			if r.Method == http.MethodDelete {
				challenge += `,scope="repository:ray:delete",error="insufficient_scope"`
			}
			if r.Header.Get("Authorization") != "Bearer t0k3n" || r.Method == http.MethodDelete {
				w.Header().Set("Www-Authenticate", challenge)
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
		dockerConfig(t,
			map[string]any{"auths": map[string]any{host: map[string]string{"auth": basic("ann", "s3cret")}}})
		asked.reset()
		if _, ok, err := client(Options{}).Head(t.Context(), host+"/ray"); ok || err != nil {
			t.Errorf("Head: %v, %v", ok, err)
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
		//nolint:gosec // it is run
		if err := os.WriteFile(filepath.Join(bin, "docker-credential-raybuildtest"), []byte(script),
			0o755); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
		dockerConfig(t, map[string]any{"credHelpers": map[string]string{host: "raybuildtest"}})
		if _, ok, err := client(Options{}).Head(t.Context(), host+"/ray"); ok || err != nil {
			t.Errorf("Head: %v, %v", ok, err)
		}
	})
	t.Run("wrong ones are an error that names the next step and holds no password", func(t *testing.T) {
		dockerConfig(t, map[string]any{"auths": map[string]any{host: map[string]string{"auth": basic("ann", "wr0ng")}}})
		for verb, err := range attempts(t, client(Options{}), host+"/ray") {
			if refused(err) != http.StatusUnauthorized || !strings.Contains(err.Error(), "docker login "+host) {
				t.Errorf("%s: %v", verb, err)
			}
			if err != nil && (strings.Contains(err.Error(), "wr0ng") ||
				strings.Contains(err.Error(), basic("ann", "wr0ng"))) {
				t.Errorf("%s: the error holds the password: %v", verb, err)
			}
		}
	})
}

// attempts makes each call once and gives its error.
func attempts(t *testing.T, c *Client, ref string) map[string]error {
	t.Helper()
	calls := map[string]func(context.Context) error{
		"look":    func(ctx context.Context) error { _, _, err := c.Head(ctx, ref); return err },
		"resolve": func(ctx context.Context) error { _, err := c.Resolve(ctx, ref, linux("amd64")); return err },
		"inspect": func(ctx context.Context) error { _, err := c.Inspect(ctx, ref); return err },
		"has":     func(ctx context.Context) error { _, err := c.Has(ctx, ref, digest.FromString("x")); return err },
		"attach": func(ctx context.Context) error {
			_, err := c.Attach(ctx, ref, Document{ArtifactType: lockType})
			return err
		},
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
	t.Parallel()
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
		if _, err := client(Options{}).Inspect(t.Context(), host+"/ray"); refused(err) != http.StatusNotFound {
			t.Errorf("Inspect: %v, want status 404", err)
		}
	})
	for _, ref := range []string{"", "Ray", "a b", "host/ray@sha256:12", "http://host/ray", "-x",
		"ray:" + strings.Repeat("t", 200)} {
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
	t.Parallel()
	host, asked := start(t, nil)
	for _, name := range []string{"registry.test", "registry.test:5000", "10.1.2.3:5000"} {
		t.Run(name+" is refused", func(t *testing.T) {
			asked.reset()
			_, _, err := client(Options{Transport: dialTo(host)}).Head(t.Context(), name+"/ray")
			if err == nil || !strings.Contains(err.Error(), "--insecure-registry "+name) || asked.count("") != 0 {
				t.Errorf("Head: %v after requests %v", err, asked.list)
			}
		})
		t.Run(name+" is used when named", func(t *testing.T) {
			for _, named := range []string{name, strings.Split(name, ":")[0]} {
				if _, _, err := client(Options{Transport: dialTo(host), Insecure: []string{named}}).Head(t.Context(),
					name+"/ray"); err != nil {
					t.Errorf("Insecure %s: %v", named, err)
				}
			}
		})
	}
	t.Run("another host is not meant", func(t *testing.T) {
		_, _, err := client(Options{Transport: dialTo(host), Insecure: []string{"other.test"}}).Head(t.Context(),
			"registry.test/ray")
		if err == nil {
			t.Error("registry.test was reached over plain HTTP with only other.test named")
		}
	})
}

func TestHTTPS(t *testing.T) {
	t.Parallel()
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
		_, _, err := client(Options{Transport: dialTo(addr)}).Head(t.Context(), "registry.test/ray")
		if err == nil || !strings.Contains(err.Error(), "certificate is for other names") {
			t.Errorf("Head: %v", err)
		}
	})
}

// refused is the status with which a registry refused something.
func refused(err error) int {
	var e *Error
	if !errors.As(err, &e) {
		return 0
	}
	return e.Status
}
