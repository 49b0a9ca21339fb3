package uv

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// handlerGateway is a Gateway that answers by a handler, as an HTTP proxy does.
type handlerGateway struct {
	handler http.Handler
	mu      sync.Mutex
	seen    []string
}

func (g *handlerGateway) ServeConn(c net.Conn) {
	conns := make(chan net.Conn, 1)
	conns <- c
	l := chanListener{conns: conns, addr: c.LocalAddr()}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		g.seen = append(g.seen, r.URL.String())
		g.mu.Unlock()
		g.handler.ServeHTTP(w, r)
	})
	_ = http.Serve(l, h) //nolint:gosec // a pipe
}

func (g *handlerGateway) asked() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Join(g.seen, " ")
}

// chanListener gives one connection.
type chanListener struct {
	conns chan net.Conn
	addr  net.Addr
}

func (l chanListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	default:
		return nil, io.EOF
	}
}
func (l chanListener) Close() error   { return nil }
func (l chanListener) Addr() net.Addr { return l.addr }

// open starts a proxy for a question.
func open(t *testing.T, g Gateway, q Question, held map[string]Held) *proxy {
	t.Helper()
	p, err := openProxy(g, q, held, &pages{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// client asks through a proxy with a login.
func client(t *testing.T, p *proxy, login *url.Userinfo) *http.Client {
	tr := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", User: login, Host: p.listener.Addr().String()})}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func get(t *testing.T, c *http.Client, u string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func echo(w http.ResponseWriter, r *http.Request) {
	for _, h := range []string{"Proxy-Authorization", "Authorization"} {
		if r.Header.Get(h) != "" {
			http.Error(w, h+" reached the gateway", http.StatusBadRequest)
			return
		}
	}
	_, _ = fmt.Fprint(w, r.URL)
}

func TestProxyAsksForItsSecret(t *testing.T) {
	g := &handlerGateway{handler: http.HandlerFunc(echo)}
	p := open(t, g, Question{}, nil)
	for _, login := range []*url.Userinfo{nil, url.UserPassword("raybuild", "x"), url.UserPassword("", p.secret),
		url.User("raybuild")} {
		if resp, body := get(t, client(t, p, login), "http://pypi.org/simple/a/"); resp.StatusCode != 407 {
			t.Errorf("%v: %s %s", login, resp.Status, body)
		}
	}
	if g.asked() != "" {
		t.Errorf("the gateway was asked for %s", g.asked())
	}
	if resp, body := get(t, client(t, p, url.UserPassword("raybuild", p.secret)), "http://pypi.org/simple/a/"); body !=
		"http://pypi.org/simple/a/" {
		t.Errorf("%s %s", resp.Status, body)
	}
}

// TestProxyAsksEachRequest: one client's secret opens no connection for what comes after it.
func TestProxyAsksEachRequest(t *testing.T) {
	g := &handlerGateway{handler: http.HandlerFunc(echo)}
	p := open(t, g, Question{}, nil)
	c, err := net.Dial("tcp", p.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	for _, env := range p.env() {
		_, at, _ := strings.Cut(env, "=")
		u, err := url.Parse(at)
		if err != nil || u.Host != c.RemoteAddr().String() {
			t.Fatalf("%v, %v", u, err)
		}
	}
	good := http.Header{}
	r := http.Request{Header: good}
	r.SetBasicAuth("raybuild", p.secret)
	_, _ = fmt.Fprintf(c, "GET http://o.example/1 HTTP/1.1\r\nHost: o.example\r\nProxy-Authorization: %s\r\n\r\n"+
		"GET http://o.example/2 HTTP/1.1\r\nHost: o.example\r\nConnection: close\r\n\r\n", good.Get("Authorization"))
	all, err := io.ReadAll(c)
	if err != nil || !strings.Contains(string(all), "200 OK") || !strings.Contains(string(all), "407 Proxy") {
		t.Errorf("%s, %v", all, err)
	}
	if g.asked() != "http://o.example/1" {
		t.Errorf("the gateway was asked for %s", g.asked())
	}
}

func TestProxyLeadsOwnProjectsToTheirIndex(t *testing.T) {
	g := &handlerGateway{handler: http.HandlerFunc(echo)}
	q := Question{Projects: map[string]string{"our-lib": "https://user:pw@own.example/root/simple"}}
	p := open(t, g, q, nil)
	c := client(t, p, url.UserPassword("raybuild", p.secret))
	if q.index() == pypiIndex {
		t.Error("uv's cache would mix the pages of two indexes")
	}
	for from, want := range map[string]string{
		q.index() + "/our-lib/":           "http://own.example/root/simple/our-lib/",
		q.index() + "/Our_Lib":            "http://own.example/root/simple/our-lib/",
		"http://pypi.org/simple/our-lib/": "http://own.example/root/simple/our-lib/",
		"http://pypi.org/simple/our.lib":  "http://own.example/root/simple/our-lib/",
		q.index() + "/other/":             "http://pypi.org/simple/other/",
		"http://files.example/x?y=%2B":    "http://files.example/x?y=%2B",
	} {
		if _, got := get(t, c, from); got != want {
			t.Errorf("%s leads to %s, want %s", from, got, want)
		}
	}
}

func TestProxyAnswersForTheLock(t *testing.T) {
	g := &handlerGateway{handler: http.HandlerFunc(echo)}
	p := open(t, g, Question{}, map[string]Held{"a-b": {Name: "a-b", Version: "1", Size: 7, SHA256: "00ff",
		URL: "https://files.pythonhosted.org/packages/a_b-1-py3-none-any.whl"}})
	c := client(t, p, url.UserPassword("raybuild", p.secret))
	resp, body := get(t, c, "http://pypi.org/simple/a-b/")
	const want = `{"files":[{"core-metadata":true,"filename":"a_b-1-py3-none-any.whl","hashes":{"sha256":"00ff"},` +
		`"size":7,"url":"http://files.pythonhosted.org/packages/a_b-1-py3-none-any.whl","yanked":false}],` +
		`"meta":{"api-version":"1.1"},"name":"a-b","versions":["1"]}`
	if body != want || resp.Header.Get("Cache-Control") != "no-store" || g.asked() != "" {
		t.Errorf("%s\n%v\n%s", body, resp.Header, g.asked())
	}
	if n, _ := p.seen(); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestProxyNotesWhatFails(t *testing.T) {
	g := &handlerGateway{handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/404":
			http.Error(w, "none", http.StatusNotFound)
		case "/502":
			http.Error(w, "the mirror is ill", http.StatusBadGateway)
		default:
			_, _ = fmt.Fprint(w, "x")
		}
	})}
	p := open(t, g, Question{}, nil)
	c := client(t, p, url.UserPassword("raybuild", p.secret))
	for path, cache := range map[string]string{"/404": "", "/502": "", "/x": forever} {
		if resp, _ := get(t, c, "http://files.pythonhosted.org"+path); resp.Header.Get("Cache-Control") != cache {
			t.Errorf("%s: %v", path, resp.Header)
		}
	}
	if n, trouble := p.seen(); n != 3 || fmt.Sprint(trouble) != "[the mirror is ill]" {
		t.Errorf("%d requests, %q", n, trouble)
	}
}
