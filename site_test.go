package raybuild

import (
	"path/filepath"
	"sync"
	"testing"

	"github.com/raybuild/raybuild/internal/fakesite"
)

// site is a project with a builder that runs nothing and a registry of its own.
type site struct {
	*fakesite.Site
	t      testing.TB
	mu     sync.Mutex
	events []Event
}

func newSite(t testing.TB) *site {
	t.Helper()
	return &site{Site: fakesite.New(t), t: t}
}

func (s *site) options() Options {
	s.events = nil
	return Options{Dir: s.Dir, Builder: s.Builder.Addr(), Home: filepath.Join(s.Dir, "home"),
		Getenv: func(string) string { return "" },
		Log: func(e Event) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.events = append(s.events, e)
		}}
}

// tryBuild builds and pushes, and gives the titles of the steps that the builder ran.
func (s *site) tryBuild(o BuildOptions) (*Result, []string, error) {
	s.t.Helper()
	s.Builder.Ran()
	if len(o.Names) == 0 {
		o.Names = []string{s.Ref("ray:1")}
	}
	o.Push, o.Frozen, o.PushRetry = true, true, -1
	p, err := Open(s.t.Context(), s.options())
	if err != nil {
		s.t.Fatal(err)
	}
	defer p.Close()
	res, err := p.Build(s.t.Context(), o)
	return res, s.Builder.Ran(), err
}

// build is tryBuild of what has to work.
func (s *site) build(o BuildOptions) (*Result, []string) {
	s.t.Helper()
	res, ran, err := s.tryBuild(o)
	if err != nil {
		s.t.Fatalf("build: %v", err)
	}
	return res, ran
}
