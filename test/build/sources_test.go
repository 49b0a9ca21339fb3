package build

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/engine"
)

// companyIndex is mirror A's Python index behind a server of a company's own, as this machine's pip is configured with.
type companyIndex struct {
	*httptest.Server
	asked  atomic.Int64
	change atomic.Pointer[func(path string, page []byte) []byte] // what becomes of a page
	gate   atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]
}

// newCompanyIndex serves; secure serves with a certificate that nobody knows.
func newCompanyIndex(t *testing.T, secure bool) *companyIndex {
	t.Helper()
	need(t)
	target, err := url.Parse(testEnv.A.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := &companyIndex{}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Header.Del("Accept-Encoding") },
		ModifyResponse: func(resp *http.Response) error {
			change := c.change.Load()
			if change == nil || !strings.HasPrefix(resp.Request.URL.Path, "/pypi/simple/") ||
				resp.StatusCode != http.StatusOK {
				return nil
			}
			page, err := io.ReadAll(resp.Body)
			if err != nil {
				return err
			}
			page = (*change)(resp.Request.URL.Path, page)
			resp.Body = io.NopCloser(bytes.NewReader(page))
			resp.Header.Set("Content-Length", strconv.Itoa(len(page)))
			return nil
		},
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.asked.Add(1)
		if gate := c.gate.Load(); gate != nil && !(*gate)(w, r) {
			return
		}
		proxy.ServeHTTP(w, r)
	})
	c.Server = httptest.NewUnstartedServer(handler)
	c.Config.ErrorLog = nil
	if secure {
		c.StartTLS()
	} else {
		c.Start()
	}
	t.Cleanup(func() {
		c.CloseClientConnections()
		c.Close()
	})
	return c
}

func (c *companyIndex) index() string { return c.URL + "/pypi/simple/" }

// hostRecipe takes Python's packages from the host, and the rest from mirror A.
func hostRecipe(more ...string) string {
	in := fmt.Sprintf("{apt: %s, conda: %s, installer: %s}", testEnv.A.Apt, testEnv.A.Conda, testEnv.A.Installer)
	return strings.Replace(shortRecipe(more...), "{fetch: ["+testEnv.A.Fetch()+"]}", "{fetch: [host, "+in+"]}", 1)
}

// fresh is the shared builder with a recipe that has no lock yet.
func fresh(t *testing.T, recipe string) *home {
	t.Helper()
	h := warmHome(t)
	honest(t)
	h.write("raybuild.yaml", recipe)
	if err := os.Remove(filepath.Join(h.cwd, "raybuild.lock")); err != nil {
		t.Fatal(err)
	}
	return h
}

// nothingAtAll checks that a first build that failed left nothing: no lock, no metadata, no tag.
func nothingAtAll(t *testing.T, h *home, dst string) {
	t.Helper()
	for _, name := range []string{"raybuild.lock", "meta.json"} {
		if _, err := os.Stat(filepath.Join(h.cwd, name)); err == nil {
			t.Errorf("the failed build wrote %s", name)
		}
	}
	if found(t, dst) {
		t.Errorf("the failed build tagged %s", dst)
	}
}

// The index of this machine's pip, with its login, is where packages come from; who reads what is
// left of that finds no password.
func TestHostsIndexWithALogin(t *testing.T) {
	const password = "c4n4ry-host"
	h := fresh(t, hostRecipe("pip: [packaging]"))
	c := newCompanyIndex(t, false)
	gate := func(w http.ResponseWriter, r *http.Request) bool {
		if user, got, ok := r.BasicAuth(); !ok || user != "joe" || got != password {
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(http.StatusUnauthorized)
			return false
		}
		return true
	}
	c.gate.Store(&gate)
	index := strings.Replace(c.index(), "http://", "http://joe:"+password+"@", 1)
	h.write(".config/pip/pip.conf", "[global]\nindex-url = "+index+"\n")
	out := h.push(ref(t, "1"))
	if c.asked.Load() == 0 {
		t.Error("the host's index was not asked")
	}
	lock := h.read("raybuild.lock")
	shown := h.run("mirrors", "--list")
	asJSON := h.run("doctor", "--json")
	if strings.Contains(lock, c.URL) {
		t.Error("the lock names the host's index")
	}
	for what, text := range map[string]string{"the lock": lock, "the output": out.stderr + out.stdout,
		"raybuild mirrors": shown.stdout + shown.stderr, "raybuild doctor": asJSON.stdout + asJSON.stderr} {
		if strings.Contains(text, password) {
			t.Errorf("%s has the password:\n%s", what, tail(text, 40))
		}
	}
	for _, text := range []string{shown.stdout, asJSON.stdout} {
		if !strings.Contains(text, strings.TrimSuffix(c.index(), "/")) || !strings.Contains(text, "pip.conf") {
			t.Errorf("what was found on the host is not shown with the file that has it:\n%s", text)
		}
	}
	everyFile(t, h.dir, func(where string, data []byte) {
		if bytes.Contains(data, []byte(password)) {
			t.Errorf("%s has the password", where)
		}
	})
	// The same recipe with another mirror is the same graph.
	h.write("raybuild.yaml", shortRecipe("pip: [packaging]"))
	if again := h.push(ref(t, "1")); again.meta.Digest != out.meta.Digest || h.read("raybuild.lock") != lock {
		t.Error("another mirror made another image or lock")
	}
}

func TestUnknownAuthorityOfTheIndex(t *testing.T) {
	h := fresh(t, hostRecipe("pip: [packaging]"))
	c := newCompanyIndex(t, true)
	dst := ref(t, "1")
	h.env = []string{"PIP_INDEX_URL=" + c.index()}
	h.refused(1, []string{
		"the certificate of " + strings.TrimPrefix(c.URL, "https://") +
			" is signed by an authority that is not known here",
		"export PIP_CERT=FILE", "SSL_CERT_FILE=FILE",
	}, "--push", "--progress", "plain", "--metadata-file", "meta.json", dst)
	nothingAtAll(t, h, dst)
	h.write("ca.pem", pemOf(c.Certificate().Raw))
	h.env = append(h.env, "REQUESTS_CA_BUNDLE="+filepath.Join(h.cwd, "ca.pem"))
	h.push(dst)
}

func TestProxyWantsALogin(t *testing.T) {
	h := coldHome(t) // an engine for each proxy: it is the process's
	honest(t)
	h.write("raybuild.yaml", hostRecipe("pip: [packaging]"))
	if err := os.Remove(filepath.Join(h.cwd, "raybuild.lock")); err != nil {
		t.Fatal(err)
	}
	dst := ref(t, "1")
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Proxy-Authenticate", `Basic realm="corp"`)
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	t.Cleanup(proxy.Close)
	h.env = []string{"PIP_INDEX_URL=https://pypi.invalid/simple", "HTTPS_PROXY=" + proxy.URL}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := engine.Stop(ctx, engine.Options{Home: h.dir, Exe: program, Env: h.env[1:]}); err != nil {
			t.Errorf("stop the engine behind the proxy: %v", err)
		}
	})
	h.refused(1, []string{
		"407 Proxy Authentication Required", proxy.URL, "export HTTPS_PROXY",
		"USER:PASSWORD@" + strings.TrimPrefix(proxy.URL, "http://"),
	}, "--push", "--progress", "plain", "--metadata-file", "meta.json", dst)
	nothingAtAll(t, h, dst)
}

// The index dies in the middle of a first build, with no other to go on with.
func TestIndexDiesInTheMiddle(t *testing.T) {
	for _, tt := range []struct {
		name, match, pip string
		says             []string
	}{
		{"while pages are read", "/pypi/simple/", "websockets", []string{"raybuild mirrors"}},
		{"while files are read", `/pypi/.*\.whl$`, "uvloop, httptools, watchfiles", []string{"raybuild mirrors"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := fresh(t, hostRecipe("pip: ["+tt.pip+"]"))
			h.env = []string{"PIP_INDEX_URL=" + newCompanyIndex(t, false).index()}
			dst := ref(t, "1")
			if err := testEnv.A.Fault(fault{Match: tt.match, Mode: "broken", After: 1}); err != nil {
				t.Fatal(err)
			}
			h.refused(1, tt.says, "--push", "--progress", "plain", "--metadata-file", "meta.json", dst)
			nothingAtAll(t, h, dst)
			if err := testEnv.A.Fault(fault{Mode: "off"}); err != nil {
				t.Fatal(err)
			}
			h.push(dst)
		})
	}
}

// A wheel whose bytes changed on the index after it was locked is refused, and a lock that is
// brought up takes the new one.
func TestWheelChangedAfterTheLock(t *testing.T) {
	h := fresh(t, hostRecipe("pip: [networkx]")) // no other test builds it: the builder has no layer of it
	c := newCompanyIndex(t, false)
	h.env = []string{"PIP_INDEX_URL=" + c.index()}
	h.lockOnly()
	before, dst := h.read("raybuild.lock"), ref(t, "1")
	if err := testEnv.A.Fault(fault{Match: wheelOf("networkx"), Mode: "lying"}); err != nil {
		t.Fatal(err)
	}
	h.refused(1, []string{"wrong bytes", "networkx-", "raybuild lock --update"}, "--push", "--progress", "plain",
		"--metadata-file", "meta.json", dst)
	nothingWritten(t, h, before, dst)
}

var anchor = regexp.MustCompile(`<a href="`)

// A version that was yanked is taken where its version is pinned, with a warning and a note in the
// lock; a range passes it over.
func TestYankedVersion(t *testing.T) {
	const reason = "wrong results on Tuesdays"
	c := newCompanyIndex(t, false)
	yank := func(path string, page []byte) []byte {
		if !strings.Contains(path, "/mpmath/") {
			return page
		}
		return anchor.ReplaceAll(page, []byte(`<a data-yanked="`+reason+`" href="`))
	}
	c.change.Store(&yank)
	h := fresh(t, hostRecipe("pip: [mpmath]"))
	h.env = []string{"PIP_INDEX_URL=" + c.index()}
	dst := ref(t, "1")
	h.refused(1, []string{"mpmath", "yanked from the index, and taken only if == pins them"}, "--push", "--progress",
		"plain", "--metadata-file", "meta.json", dst)
	nothingAtAll(t, h, dst)

	version := regexp.MustCompile(`mpmath-([0-9.]+)-`).FindStringSubmatch(pageOf(t, testEnv.A.Pip+"/mpmath/"))
	if version == nil {
		t.Fatal("the world's index has no wheel of mpmath")
	}
	h.write("raybuild.yaml", hostRecipe("pip: [mpmath=="+version[1]+"]"))
	pinned := h.push(dst)
	if want := "warning: mpmath " + version[1] + " was yanked from the index by its makers (" +
		reason + ")"; !strings.Contains(pinned.stderr, want) {
		t.Errorf("the output does not say %q:\n%s", want, tail(pinned.stderr, 30))
	}
	if lock := h.read("raybuild.lock"); !regexp.MustCompile(`yanked: ["']?` + reason).MatchString(lock) {
		t.Errorf("the lock does not say that the version was yanked")
	}
}

// An index page of 20 MB is a page like others.
func TestIndexPageOf20MB(t *testing.T) {
	c := newCompanyIndex(t, false)
	var seen atomic.Int64
	note := strings.Repeat("a page as long as this one has more than pip needs ", 40)
	fill := func(path string, page []byte) []byte {
		if !strings.Contains(path, "/sniffio/") {
			return page
		}
		var more strings.Builder
		for i := 0; more.Len() < 20<<20; i++ {
			fmt.Fprintf(&more, "<a href=\"../../packages/00/%d/sniffio-0.0.%d-py3-none-any.whl#sha256=%064d\" "+
				"data-note=%q>sniffio-0.0.%[2]d-py3-none-any.whl</a><br/>\n", i, i, i, note)
		}
		seen.Store(int64(more.Len()))
		return bytes.Replace(page, []byte("</body>"), []byte(more.String()+"</body>"), 1)
	}
	c.change.Store(&fill)
	h := fresh(t, hostRecipe("pip: [sniffio]"))
	h.env = []string{"PIP_INDEX_URL=" + c.index()}
	h.push(ref(t, "1"))
	if seen.Load() < 20<<20 {
		t.Error("the large page was not asked for")
	}
}

func pemOf(certificate []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}))
}

// pageOf is what a server has at a URL.
func pageOf(t *testing.T, at string) string {
	t.Helper()
	resp, err := http.Get(at) //nolint:noctx // a server of this process
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return string(data)
}
