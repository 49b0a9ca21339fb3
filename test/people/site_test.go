package people_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/fakesite"
	"github.com/raybuild/raybuild/internal/faultyregistry"
)

// site is a project whose registry behaves as a real one.
type site struct {
	*fakesite.Site
	t    *testing.T
	host string // of the registry behind its profile
	home string // raybuild's directory

	mu     sync.Mutex
	events []raybuild.Event
	asked  []string // of the registry: method and path
}

// newSite makes a site. profile stands before its registry.
func newSite(t *testing.T, profile faultyregistry.Middleware) *site {
	t.Helper()
	s := &site{Site: fakesite.New(t), t: t, home: t.TempDir()}
	s.host = s.front(profile)
	return s
}

// front serves the site's registry at another address, behind a profile.
func (s *site) front(profile faultyregistry.Middleware) string {
	s.t.Helper()
	handler := profile(behind(s.Host))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, r.Method+" "+r.URL.Path)
		s.mu.Unlock()
		handler.ServeHTTP(w, r)
	}))
	s.t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

// behind hands requests on to a host.
func behind(host string) http.Handler {
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: host})
	proxy.ErrorLog = log.New(io.Discard, "", 0) // clients give requests up as they like
	return proxy
}

// built is what a build did.
type built struct {
	*raybuild.Result
	ran      []string // steps that the builder ran
	warnings []string
	notes    []string
}

// try builds and pushes.
func (s *site) try(o raybuild.BuildOptions) (built, error) {
	s.t.Helper()
	s.Builder.Ran()
	s.events = nil
	if len(o.Names) == 0 {
		o.Names = []string{s.host + "/team/ray:1"}
	}
	o.Push, o.Frozen = true, true
	p, err := raybuild.Open(s.t.Context(), raybuild.Options{Dir: s.Dir, Builder: s.Builder.Addr(), Home: s.home,
		Getenv: func(string) string { return "" },
		Log: func(e raybuild.Event) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.events = append(s.events, e)
		}})
	if err != nil {
		s.t.Fatal(err)
	}
	defer p.Close()
	out := built{}
	out.Result, err = p.Build(s.t.Context(), o)
	out.ran = s.Builder.Ran()
	for _, e := range s.events {
		switch e.Kind {
		case raybuild.Warning:
			out.warnings = append(out.warnings, e.Text)
		case raybuild.Note:
			out.notes = append(out.notes, e.Text)
		}
	}
	return out, err
}

// build is try of what has to work.
func (s *site) build(o raybuild.BuildOptions) built {
	s.t.Helper()
	out, err := s.try(o)
	if err != nil {
		s.t.Fatalf("build: %v", err)
	}
	return out
}

// elsewhere forgets what this machine knows, as a new runner of CI does.
func (s *site) elsewhere() {
	s.home = filepath.Join(s.t.TempDir(), "home")
}

// change edits a file of the project, so that one layer changes.
func (s *site) change(text string) { s.Write("app/main.py", text) }
