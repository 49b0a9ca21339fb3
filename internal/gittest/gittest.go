// Package gittest serves git repositories over HTTP for tests, by git's own server.
package gittest

import (
	"fmt"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/raybuild/raybuild/internal/testneeds"
)

// Server has repositories below its URL.
type Server struct {
	*httptest.Server
	// Asked counts requests.
	Asked atomic.Int64
	root  string
	gate  atomic.Pointer[Gate]
}

// Gate answers a request itself, or lets it in.
type Gate func(w http.ResponseWriter, r *http.Request) (in bool)

// New serves over TLS or without it. It needs git.
func New(t *testing.T, secure bool) *Server {
	t.Helper()
	testneeds.Programs(t, "git")
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{root: t.TempDir()}
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + s.root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_GLOBAL=/dev/null"},
	}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.Asked.Add(1)
		if gate := s.gate.Load(); gate == nil || (*gate)(w, r) {
			backend.ServeHTTP(w, r)
		}
	}))
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

// Let puts a gate before the server.
func (s *Server) Let(g Gate) { s.gate.Store(&g) }

// Login lets in who has a login.
func Login(user, password string) Gate {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if u, p, _ := r.BasicAuth(); u == user && p == password {
			return true
		}
		w.Header().Set("WWW-Authenticate", "Basic")
		w.WriteHeader(http.StatusUnauthorized)
		return false
	}
}

// Repository is a repository of a server, with its files beside it.
type Repository struct {
	// URL of the repository.
	URL string
	// Dir has its files.
	Dir string
	t   *testing.T
}

// Repository makes an empty one.
func (s *Server) Repository(t *testing.T, name string) *Repository {
	t.Helper()
	r := &Repository{URL: s.URL + "/" + name, Dir: filepath.Join(s.root, name), t: t}
	if err := os.MkdirAll(r.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r.Git("init", "-q", "-b", "main")
	return r
}

// Git runs git in the repository, and gives what it says.
func (r *Repository) Git(args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", append([]string{"-C", r.Dir}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a",
		"GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org",
		"GIT_AUTHOR_DATE=2026-01-02T03:04:05Z", "GIT_COMMITTER_DATE=2026-01-02T03:04:05Z")
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// Commit writes files and commits all that there is; it gives the commit's name.
func (r *Repository) Commit(files map[string]string) string {
	r.t.Helper()
	for name, data := range files {
		file := filepath.Join(r.Dir, name)
		err := os.MkdirAll(filepath.Dir(file), 0o755)
		if err == nil {
			err = os.WriteFile(file, []byte(data), 0o644)
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
	r.Git("add", "-A")
	r.Git("commit", "-q", "--allow-empty", "-m", fmt.Sprintf("%d files", len(files)))
	return r.Git("rev-parse", "HEAD")
}
