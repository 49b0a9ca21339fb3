package fetch

import (
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
)

// company is a server whose certificate no system knows, and the file of that certificate.
func company(t *testing.T, data []byte) (server *httptest.Server, cert string) {
	t.Helper()
	server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serve(w, r, data) }))
	server.Config.ErrorLog = nil
	t.Cleanup(server.Close)
	cert = filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(cert, block, 0o600); err != nil {
		t.Fatal(err)
	}
	return server, cert
}

func TestUnknownAuthority(t *testing.T) {
	t.Parallel()
	data := noise(50, 1000)
	server, cert := company(t, data)
	junk := filepath.Join(t.TempDir(), "junk.pem")
	if err := os.WriteFile(junk, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		certs []string
		warns string
		ok    bool
	}{
		{"nobody knows it", nil, "", false},
		{"its file is given", []string{cert}, "", true},
		{"its directory is given", []string{filepath.Dir(cert)}, "", true},
		{"a file with something else", []string{junk}, junk + " has none in PEM form", false},
		{"a file that is not there, and its own", []string{cert + ".no", cert}, cert + ".no", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := fast(t)
			var warned []string
			o.Certs, o.Candidates, o.Warn = tt.certs, nil, func(text string) { warned = append(warned, text) }
			r := newRigDirect(t, o)
			d := digest.FromBytes(data)
			r.Add(Item{Digest: d, URL: server.URL + "/a.whl"})
			_, err := r.read(t, d)
			if got := strings.Join(warned, "\n"); !strings.Contains(got, tt.warns) || tt.warns == "" && got != "" {
				t.Errorf("the warnings are %q, want one that says %q", got, tt.warns)
			}
			if tt.ok {
				if err != nil {
					t.Errorf("a certificate that is given is not trusted: %v", err)
				}
				return
			}
			var unknown *UntrustedError
			if !errors.As(err, &unknown) {
				t.Fatalf("the error is %v, want an UntrustedError", err)
			}
			host := strings.TrimPrefix(server.URL, "https://")
			for _, want := range []string{"the certificate of " +
				host + " is signed by an authority that is not known here", "export PIP_CERT=FILE", "SSL_CERT_FILE"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q: %v", want, err)
				}
			}
			if strings.Contains(err.Error(), "tries") {
				t.Errorf("it was tried again, which cannot help: %v", err)
			}
		})
	}
	s := Measure(t.Context(), []Probe{{Name: "corp", URL: server.URL}}, MeasureOptions{Netrc: "-"})
	if s[0].Err == nil || !strings.Contains(s[0].Err.Error(), "PIP_CERT") {
		t.Errorf("measuring says %v, want what to do about an unknown authority", s[0].Err)
	}
	if s := Measure(t.Context(), []Probe{{Name: "corp", URL: server.URL}},
		MeasureOptions{Netrc: "-", Certs: []string{cert}}); s[0].Err != nil {
		t.Errorf("measuring does not trust the certificate that is given: %v", s[0].Err)
	}
}

// A proxy that wants a login says 407, to a request as to a tunnel.
func TestProxyThatWantsALogin(t *testing.T) {
	var asked atomic.Int32
	proxy := newMirror(t, nil, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("Proxy-Authenticate", `Basic realm="corp"`)
		w.WriteHeader(http.StatusProxyAuthRequired)
	})
	host := strings.TrimPrefix(proxy.URL, "http://")
	tests := []struct {
		name, url, login string
		wants            []string
	}{
		{"http", "http://mirror.invalid/a.whl", "",
			[]string{"the proxy " + proxy.URL + " wants a login", "export HTTP_PROXY", "USER:PASSWORD@" + host}},
		{"https", "https://mirror.invalid/a.whl", "",
			[]string{"the proxy " + proxy.URL + " wants a login", "export HTTPS_PROXY", "USER:PASSWORD@" + host}},
		{"a login that it refuses", "https://mirror.invalid/a.whl", "joe:" + canary + "@",
			[]string{"refuses the login that is given", "export HTTPS_PROXY"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			asked.Store(0)
			for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"} {
				t.Setenv(name, "http://"+tt.login+host)
			}
			t.Setenv("NO_PROXY", "")
			t.Setenv("no_proxy", "")
			o := fast(t)
			o.Candidates = nil
			r := newRigDirect(t, o)
			d := digest.FromString("x")
			r.Add(Item{Digest: d, URL: tt.url})
			_, err := r.read(t, d)
			var login *ProxyLoginError
			if !errors.As(err, &login) {
				t.Fatalf("the error is %v, want a ProxyLoginError", err)
			}
			for _, want := range tt.wants {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q: %v", want, err)
				}
			}
			if strings.Contains(err.Error(), canary) {
				t.Errorf("the error has the proxy's password: %v", err)
			}
			if n := asked.Load(); n != 1 {
				t.Errorf("the proxy was asked %d times, want once: it says the same each time", n)
			}
			s := Measure(t.Context(), []Probe{{Name: "m", URL: tt.url}}, MeasureOptions{Netrc: "-"})
			if s[0].Err == nil || !strings.Contains(s[0].Err.Error(), tt.wants[0]) {
				t.Errorf("measuring says %v, want that %q", s[0].Err, tt.wants[0])
			}
		})
	}
}

// Logins that are given by origin go to that origin alone, before those of the netrc file.
func TestLoginsByOrigin(t *testing.T) {
	t.Parallel()
	netrc := filepath.Join(t.TempDir(), "netrc")
	if err := os.WriteFile(netrc, []byte("machine a.example login net password rc\n"+
		"machine b.example login joe password rc\nmachine c.example login net password rc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := readLogins(Options{Netrc: netrc, Logins: map[string]*url.Userinfo{
		"https://a.example:443": url.UserPassword("joe", "pw"), "https://b.example:443": url.User("joe"),
		"https://c.example:443": url.User("joe"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	for raw, want := range map[string]string{
		"https://a.example/x":       "joe:pw",
		"https://A.example:443/x":   "joe:pw",
		"https://me:my@a.example/x": "me:my",
		"http://a.example/x":        "net:rc", // another origin
		"https://a.example:8443/x":  "net:rc",
		"https://b.example/x":       "joe:rc", // the password is in the netrc file
		"https://c.example/x":       "joe:",
		"https://d.example/x":       "",
	} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if user, password, ok := l.find(t.Context(), u); ok {
			got = user + ":" + password
		}
		if got != want {
			t.Errorf("the login of %s is %q, want %q", raw, got, want)
		}
	}
}

// What a client of the gateway is refused because mirrors fail is kept for whoever asks; that a
// file is not there is not.
func TestTroubleOfTheGateway(t *testing.T) {
	t.Parallel()
	m := newMirror(t, nil, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "gone") {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.WriteHeader(http.StatusForbidden)
	})
	o := fast(t)
	o.Candidates = func(u *url.URL) []Candidate {
		return []Candidate{{Mirror: "m", URL: strings.Replace(m.URL, "http://", "http://u:"+canary+"@", 1) + u.Path}}
	}
	r := newRigDirect(t, o)
	gw := httptest.NewServer(r.gateway())
	t.Cleanup(gw.Close)
	page := http.Header{"Accept": {"application/vnd.pypi.simple.v1+json"}}
	through(t, gw.URL, "http://pypi.org/simple/gone/", page)
	if err := r.Trouble(); err != nil {
		t.Errorf("a page that is not there is trouble: %v", err)
	}
	through(t, gw.URL, "http://pypi.org/simple/x/", page)
	through(t, gw.URL, "http://pypi.org/simple/y/", page)
	err := r.Trouble()
	if err == nil || !strings.Contains(err.Error(), "/simple/x/: m (") ||
		!strings.Contains(err.Error(), "403 Forbidden") || !strings.Contains(err.Error(), "(and 1 more)") {
		t.Errorf("the trouble is %v, want what the first page's mirror answered, and how many more there are", err)
	}
	if err != nil && strings.Contains(err.Error(), canary) {
		t.Errorf("the trouble has the password: %v", err)
	}
}

// Only what some place says is not there, or is another file now, is worth another lock.
func TestWithdrawn(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		all  []Attempt
		want bool
	}{
		{"nobody was there to ask", nil, true},
		{"not there, and another one in trouble", []Attempt{{Status: 500, Err: &statusError{code: 500}},
			{Status: 404, Err: &statusError{code: 404}}}, true},
		{"changed", []Attempt{{Err: redacted{&failure{err: errWrong}}}}, true},
		{"not on the page", []Attempt{{Err: redacted{&failure{err: errNotListed}}}}, true},
		{"in trouble", []Attempt{{Status: 502, Err: &statusError{code: 502}}}, false},
		{"cut", []Attempt{{Err: errCut}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := (&NotFoundError{Tried: tt.all}).Withdrawn(); got != tt.want {
				t.Errorf("it counts as withdrawn: %v, want %v", got, tt.want)
			}
		})
	}
}
