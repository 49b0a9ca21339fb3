package build

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

// refusingRegistry is the world's registry that answers some requests with a status of its own;
// status 0 lets a request through.
func refusingRegistry(t *testing.T, status func(r *http.Request) int) string {
	t.Helper()
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: testEnv.Registry})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		code := status(r)
		if code == 0 {
			proxy.ServeHTTP(w, r)
			return
		}
		if code == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		}
		http.Error(w, "refused", code)
	}))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

// closedPort is an address at which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// A registry that will not take the image is an error before anything is built, and names the registry and what to do.
func TestRegistryThatRefuses(t *testing.T) {
	h := warmHome(t)
	uploads := func(code int) func(*http.Request) int {
		return func(r *http.Request) int {
			if r.Method == http.MethodGet || r.Method == http.MethodHead {
				return 0
			}
			return code
		}
	}
	all := func(code int) func(*http.Request) int { return func(*http.Request) int { return code } }
	tests := []struct {
		name string
		host string
		says []string
	}{
		{"nobody listens", closedPort(t), []string{"connection refused", "check the address"}},
		{"401 for everything", refusingRegistry(t, all(401)), []string{"401 Unauthorized", "docker login"}},
		{"403 for uploads", refusingRegistry(t, uploads(403)), []string{"403 Forbidden", "docker login"}},
		{"404 for uploads", refusingRegistry(t, uploads(404)), []string{"no such repository"}},
		{"500 for uploads", refusingRegistry(t, uploads(500)),
			[]string{"500 Internal Server Error", "try again later"}},
	}
	// Neither with a lock that fits nor without one is there anything to be seen of a step.
	h.write("raybuild.yaml", shortRecipe("files: [{from: app, to: /home/ray/app}]"))
	h.write("app/never.py", "print()\n")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, args := range [][]string{nil, {"--no-cache"}, {"--lock", "none.lock"}} {
				args = append([]string{"--push", "--progress", "plain", "--metadata-file", "meta.json",
					tt.host + "/team/ray:1"}, args...)
				h := *h
				h.t = t
				out := h.refused(1, append(tt.says, tt.host), args...)
				if strings.Contains(out.stderr, "[") {
					t.Errorf("steps ran, though the push could not work:\n%s", tail(out.stderr, 30))
				}
				nothingWritten(t, &h, warm.lock, ref(t, "never"))
			}
		})
	}
}

// A registry that fails in the middle of a push is named; the tag is not there, and the next push
// brings what is missing.
func TestRegistryThatFailsDuringThePush(t *testing.T) {
	h := warmHome(t)
	h.write("raybuild.yaml", shortRecipe("files: [{from: app, to: /home/ray/app}]"))
	broken := &atomic.Bool{}
	for name, fails := range map[string]func(r *http.Request) bool{
		"blobs": func(r *http.Request) bool {
			return strings.Contains(r.URL.Path, "/blobs/uploads/") &&
				(r.Method == http.MethodPut || r.Method == http.MethodPatch)
		},
		"the manifest": func(r *http.Request) bool {
			return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/")
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := *h
			h.t = t
			h.write("app/main.py", "print('"+name+"')\n") // new content: what another row pushed would be mounted
			host := refusingRegistry(t, func(r *http.Request) int {
				if broken.Load() && fails(r) {
					return http.StatusInternalServerError
				}
				return 0
			})
			dst := strings.Replace(ref(t, "1"), testEnv.Registry, host, 1)
			broken.Store(true)
			h.refused(1, []string{host, "500", "run again"}, "--push", "--push-retry", "1s", "--progress", "plain",
				"--metadata-file", "meta.json", dst)
			nothingWritten(t, &h, warm.lock, dst)
			broken.Store(false)
			if again := h.push(dst); len(again.meta.ran()) != 0 {
				t.Errorf("the second push ran %v", again.meta.ran())
			}
		})
	}
}
