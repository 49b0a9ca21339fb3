package fetch

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

const canary = "c4n4ry"

func TestCredentials(t *testing.T) {
	t.Parallel()
	data := noise(30, 1000)
	asked := func(t *testing.T, change func(o *Options, m *mirror)) *http.Request {
		m := newMirror(t, data, nil)
		o := fast(t)
		o.Candidates = func(u *url.URL) []Candidate { return []Candidate{{URL: m.URL + u.Path}} }
		change(&o, m)
		r := newRig(t, o)
		r.mustRead(t, r.want(data))
		return m.requests()[0]
	}
	host := func(m *mirror) string { return strings.TrimPrefix(m.URL, "http://") }
	tests := []struct {
		name       string
		user, pass string
		change     func(o *Options, m *mirror)
	}{
		{"none", "", "", func(*Options, *mirror) {}},
		{"of the url", "me", canary, func(o *Options, m *mirror) {
			o.Candidates = func(u *url.URL) []Candidate {
				return []Candidate{{URL: "http://me:" + canary + "@" + host(m) + u.Path}}
			}
		}},
		{"of netrc", "net", canary, func(o *Options, m *mirror) {
			o.Netrc = filepath.Join(t.TempDir(), "netrc")
			write(t, o.Netrc, []byte("machine 127.0.0.1 login net password "+canary))
		}},
		{"of the function", "fn", canary, func(o *Options, m *mirror) {
			o.Credentials = func(_ context.Context, u *url.URL, _ string) (string, string, bool) {
				return "fn", canary, u.Host == host(m)
			}
		}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			user, pass, _ := asked(t, tc.change).BasicAuth()
			if user != tc.user || pass != tc.pass {
				t.Errorf("sent %q, %q", user, pass)
			}
		})
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	data := noise(31, 1000)
	var to string
	other := newMirror(t, data, nil)
	m := newMirror(t, data, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/end" {
			serve(w, r, data)
			return
		}
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusFound)
	})
	o := fast(t)
	o.Candidates = func(u *url.URL) []Candidate {
		return []Candidate{{URL: strings.Replace(m.URL, "//", "//me:"+canary+"@", 1) +
			"/t/" + canary + "/a.whl?sig=" + canary}}
	}
	get := func(t *testing.T) error {
		o.Store = t.TempDir()
		r := newRig(t, o)
		_, err := r.read(t, r.want(data))
		return err
	}
	t.Run("on the same host keep the login", func(t *testing.T) {
		to = "/end"
		if err := get(t); err != nil {
			t.Fatal(err)
		}
		reqs := m.requests()
		if _, pass, _ := reqs[len(reqs)-1].BasicAuth(); pass != canary {
			t.Error("login lost")
		}
	})
	t.Run("to another host lose it", func(t *testing.T) {
		to = other.URL + "/end" // another port is another server
		if err := get(t); err != nil {
			t.Fatal(err)
		}
		reqs := other.requests()
		if len(reqs) != 1 || strings.Contains(fmt.Sprint(reqs[0].Header, reqs[0].URL), canary) ||
			reqs[0].Header.Get("Authorization") != "" {
			t.Errorf("leaked: %v", reqs)
		}
	})
	t.Run("to the cloud's metadata are refused", func(t *testing.T) {
		to = "http://169.254.169.254/latest/meta-data/"
		if err := get(t); err == nil || !strings.Contains(err.Error(), "internal address") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("to another scheme are refused", func(t *testing.T) {
		to = "file:///etc/passwd"
		if err := get(t); err == nil {
			t.Error("followed")
		}
	})
}

func TestDowngradeIsRefused(t *testing.T) {
	t.Parallel()
	data := noise(32, 1000)
	plainHTTP := newMirror(t, data, nil)
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plainHTTP.URL+"/x", http.StatusFound)
	}))
	t.Cleanup(secure.Close)
	o := fast(t)
	o.Candidates = func(*url.URL) []Candidate { return []Candidate{{Mirror: "m", URL: secure.URL + "/x"}} }
	r := newRig(t, o)
	if _, err := r.read(t, r.want(data)); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown certificate was taken: %v", err)
	}
	r.client.Transport.(lateTransport).made().TLSClientConfig = &tls.Config{
		RootCAs: secure.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs,
	}
	if _, err := r.read(t, r.want(data)); err == nil || !strings.Contains(err.Error(), "redirect from https to http") {
		t.Errorf("got %v", err)
	}
	if n := len(plainHTTP.requests()); n != 0 {
		t.Errorf("%d requests in the clear", n)
	}
}

// TestNoSecretGetsOut sends a password, tokens and a signature through every kind of failure.
func TestNoSecretGetsOut(t *testing.T) {
	t.Parallel()
	data := noise(33, 1000)
	echo := newMirror(t, nil, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(500)
		_, _ = fmt.Fprint(w, "cannot serve "+r.URL.String()+" "+r.Header.Get("Authorization"))
	})
	liar := newMirror(t, noise(34, 1000), nil)
	away := newMirror(t, nil, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "http://u:"+canary+"@127.0.0.1:1/"+"?sig="+canary)
		w.WriteHeader(302)
	})
	o := fast(t)
	o.Candidates = func(u *url.URL) []Candidate {
		var out []Candidate
		for _, base := range []string{echo.URL, liar.URL, away.URL, "http://127.0.0.1:1", "ftp://x.example",
			"http://bad host"} {
			s := strings.Replace(base, "//", "//u:"+canary+"@", 1)
			out = append(out, Candidate{URL: s + "/t/" + canary + "/a.whl?sig=" + canary},
				Candidate{Index: s + "/simple/?k=" + canary})
			out = append(out, Candidate{URL: strings.Replace(base, "//", "//"+canary+"@", 1)})
		}
		return out
	}
	r := newRig(t, o)
	d := r.want(data)
	_, err := r.read(t, d)
	if err == nil {
		t.Fatal("no error")
	}
	sinks := map[string]string{
		"error": err.Error(), "error, all of it": fmt.Sprintf("%+v", err), "warnings": r.warnings(),
		"stats": fmt.Sprintf("%+v", r.Stats()),
	}
	gw := httptest.NewServer(r.gateway())
	t.Cleanup(gw.Close)
	resp, body := through(t, gw.URL, "http://files.example.org/other.json", nil)
	sinks["gateway"] = fmt.Sprint(resp.Header, body)
	resp, body = through(t, gw.URL, "http://files.example.org/simple/x/", http.Header{"Accept": {"text/html"}})
	sinks["gateway's page"] = fmt.Sprint(resp.Header, body)
	sinks["measure"] = fmt.Sprintf("%+v", Measure(t.Context(), []Probe{
		{"a", "http://u:" + canary + "@127.0.0.1:1/?k=" + canary}, {"b", "http://u:" + canary + "@bad host/"}},
		MeasureOptions{Netrc: "-"}))
	for name, text := range sinks {
		if strings.Contains(text, canary) {
			t.Errorf("%s has a secret: %s", name, text)
		}
	}
	_ = filepath.WalkDir(o.Store, func(path string, e os.DirEntry, _ error) error {
		if b, _ := os.ReadFile(path); strings.Contains(string(b)+path, canary) {
			t.Errorf("%s has a secret", path)
		}
		return nil
	})
}

func TestParseNetrc(t *testing.T) {
	t.Parallel()
	got := parseNetrc(`
# machine commented.example login no password no
machine one.example login a password b
machine TWO.example
	password "p w\"d"   # a comment
	account x
	login	two
machine one.example login later password later
macdef init
machine macro.example login m password m

default login d password d
machine hash.example login h password #1
`)
	want := map[string]login{"one.example": {"a", "b"}, "two.example": {"two", `p w"d`}, "hash.example": {"h", "#1"}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"https://u:" + canary + "@h/p":                   "https://h/p",
		"get https://" + canary + "@h/p?x=" + canary:     "get https://h/p?…",
		"https://h/t/" + canary + "/conda-forge":         "https://h/t/…/conda-forge",
		`"https://u:` + canary + `@h": http://v:w@i`:     `"https://h": http://i`,
		"see https://h/a@b and mail x@example.org today": "see https://h/a@b and mail x@example.org today",
	}
	for in, want := range tests {
		if got := redact(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestProxyFromEnvironment(t *testing.T) {
	data := noise(35, 1000)
	proxy := newMirror(t, data, nil)
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("http_proxy", proxy.URL)
	t.Setenv("NO_PROXY", "direct.invalid")
	t.Setenv("no_proxy", "direct.invalid")
	o := fast(t)
	o.Candidates = nil
	r := newRigDirect(t, o)
	d := digest.FromBytes(data)
	r.Add(Item{Digest: d, URL: "http://mirror.invalid/a.whl"})
	r.mustRead(t, d)
	if reqs := proxy.requests(); len(reqs) != 1 || reqs[0].URL.Host != "mirror.invalid" {
		t.Errorf("the proxy saw %v", reqs)
	}
	other := digest.FromString("other")
	r.Add(Item{Digest: other, URL: "http://direct.invalid/a.whl"})
	if _, err := r.read(t, other); err == nil || len(proxy.requests()) != 1 {
		t.Errorf("NO_PROXY was not kept to: %v", err)
	}
}
