package cluster

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"
)

// openDoor starts a cluster of one host, and a tunnel to its dashboard.
func openDoor(t *testing.T, f *fakeFleet) Tunnel {
	t.Helper()
	spec := f.spec(t, fleetImage, 1)
	if _, err := Up(t.Context(), spec, f.options()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan Tunnel, 1), make(chan error, 1)
	go func() { done <- OpenDashboard(ctx, spec, 0, func(at Tunnel) { ready <- at }, f.options()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case at := <-ready:
		return at
	case err := <-done:
		done <- nil
		t.Fatal(err)
	}
	return Tunnel{}
}

func TestM7DashboardIsForItsUserAlone(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	at := openDoor(t, f)
	host := strings.TrimPrefix(at.URL, "http://")
	_, port, err := net.SplitHostPort(host)
	if err != nil {
		t.Fatal(err)
	}
	bearer := []string{"Authorization", "Bearer " + at.Token}
	for _, tt := range []struct {
		name, host string
		header     []string // names and values
		want       int
	}{
		{"nothing", host, nil, 401},
		{"the token", host, bearer, 200},
		{"another token", host, []string{"Authorization", "Bearer " + newToken()}, 403},
		{"localhost", "localhost:" + port, bearer, 200},
		{"IPv6's loopback", "[::1]:" + port, bearer, 200},
		{"a name that was pointed here", "evil.example:" + port, bearer, 403},
		{"a name without a port", "evil.example", bearer, 403},
		{"another port", "127.0.0.1:1", bearer, 403},
		{"a page of this tunnel", host, append(bearer, "Origin", at.URL, "Sec-Fetch-Site", "same-origin"), 200},
		{"a page of another site", host, append(bearer, "Origin", "http://evil.example"), 403},
		{"a page of this machine's other ports", host, append(bearer, "Origin", "http://127.0.0.1:1"), 403},
		{"a page of no site", host, append(bearer, "Origin", "null"), 403},
		{"a page over TLS", host, append(bearer, "Origin", "https://"+host), 403},
		{"a link on another site", host, append(bearer, "Sec-Fetch-Site", "cross-site"), 403},
		{"a page of this machine", host, append(bearer, "Sec-Fetch-Site", "same-site"), 403},
		{"another's cookie", host, []string{"Cookie", "raybuild-" + port + "=" + newToken()}, 403},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at.URL+"/api/v0/nodes", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = tt.host
		for i := 0; i+1 < len(tt.header); i += 2 {
			req.Header.Set(tt.header[i], tt.header[i+1])
		}
		code, text := answer(t, http.DefaultClient, req)
		if code != tt.want || code != 200 && !strings.HasPrefix(text, "raybuild: ") {
			t.Errorf("%s: %d, want %d: %s", tt.name, code, tt.want, text)
		}
	}
	if !strings.HasPrefix(at.Login, at.URL+"/") || strings.Contains(at.Login, at.Token) {
		t.Errorf("the login page is at %s", at.Login)
	}
	for path, want := range map[string]int{loginPrefix + newToken(): 403, loginPrefix: 403,
		strings.TrimPrefix(at.Login, at.URL) + "/api/v0/nodes": 401} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if code, _ := answer(t, http.DefaultClient, req); code != want {
			t.Errorf("%.30s: %d, want %d", path, code, want)
		}
	}
}

func answer(t *testing.T, c *http.Client, req *http.Request) (int, string) {
	t.Helper()
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// TestM7LoginLetsABrowserIn has a browser, which keeps cookies, and what a dashboard does: streams and WebSockets.
func TestM7LoginLetsABrowserIn(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	goOn := make(chan struct{})
	f.more = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := r.Cookie("theirs"); r.URL.Path != "/test/upgrade" &&
			(err != nil || c.Value != "1" || len(r.Cookies()) != 1) {
			t.Errorf("the dashboard gets the cookies %v", r.Cookies())
		}
		switch r.URL.Path {
		case "/test/stream":
			fmt.Fprintln(w, "one")
			w.(http.Flusher).Flush()
			<-goOn
			fmt.Fprintln(w, "two")
		case "/test/upgrade":
			echo(w)
		}
	})
	at := openDoor(t, f)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	base, err := url.Parse(at.URL)
	if err != nil {
		t.Fatal(err)
	}
	jar.SetCookies(base, []*http.Cookie{{Name: "theirs", Value: "1"}})
	browser := &http.Client{Jar: jar, Timeout: time.Minute}
	get := func(at string) *http.Request {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at, nil)
		if err != nil {
			t.Fatal(err)
		}
		return req
	}
	fromChat := get(at.Login)
	fromChat.Header.Set("Sec-Fetch-Site", "cross-site")
	if code, text := answer(t, browser, fromChat); code != 200 || !strings.Contains(text, "url=/") {
		t.Fatalf("the login page: %d %s", code, text)
	}
	if code, text := answer(t, browser, get(at.URL+"/api/v0/nodes")); code != 200 {
		t.Errorf("after the login: %d %s", code, text)
	}
	res, err := browser.Do(get(at.URL + "/test/stream"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewReader(res.Body)
	if line, err := lines.ReadString('\n'); line != "one\n" {
		t.Errorf("a stream begins with %q, %v", line, err)
	}
	close(goOn)
	if line, err := lines.ReadString('\n'); line != "two\n" {
		t.Errorf("a stream goes on with %q, %v", line, err)
	}
	upgrade(t, at, jar.Cookies(base))
}

// echo switches to a protocol that says what it hears.
func echo(w http.ResponseWriter) {
	c, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	line, _ := rw.ReadString('\n') // "" says it as well
	fmt.Fprint(c, line)
}

// upgrade speaks through the tunnel as a WebSocket does after its handshake.
func upgrade(t *testing.T, at Tunnel, cookies []*http.Cookie) {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(at.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var words []string
	for _, k := range cookies {
		words = append(words, k.Name+"="+k.Value)
	}
	fmt.Fprintf(c, "GET /test/upgrade HTTP/1.1\r\nHost: %s\r\nOrigin: %s\r\nCookie: %s\r\nConnection: Upgrade\r\n"+
		"Upgrade: websocket\r\n\r\n", strings.TrimPrefix(at.URL, "http://"), at.URL, strings.Join(words, "; "))
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: %+v, %v", res, err)
	}
	res.Body.Close()
	fmt.Fprintln(c, "hello")
	if line, err := r.ReadString('\n'); line != "hello\n" {
		t.Errorf("the WebSocket answers %q, %v", line, err)
	}
}
