package cluster

import (
	"context"
	"crypto/subtle"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// door lets requests through a tunnel to a dashboard: those of programs that know the cluster's token, and those of a
// browser that came by the login page. Every user of this machine reaches the port, and every page in a browser can
// send requests to it. So each request must name this machine as its host (a name of a site that was pointed here is
// refused), come from no other site's page, and show who it is.
type door struct {
	port          int
	token         string // the cluster's; empty: it has none
	secret, entry string // of the login page's address, and of the cookie that it gives
	proxy         http.Handler
}

func newDoor(port int, token string, t *tunnel) *door {
	d := &door{port: port, token: token, secret: newToken(), entry: newToken()}
	to := &url.URL{Scheme: "http", Host: t.addr}
	d.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host
			d.sign(r.Out)
		},
		Transport: &http.Transport{DisableCompression: true, IdleConnTimeout: 30 * time.Second,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return t.dial(ctx) }},
		FlushInterval: -1, // logs are streams
		ErrorLog:      quiet(),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() != nil {
				return // the browser has left
			}
			t.l.logf("dashboard: %v", err)
			http.Error(w, "raybuild: the dashboard does not answer: "+textOf(err.Error()), http.StatusBadGateway)
		}}
	return d
}

// quiet is a log for what ends because a browser leaves or the tunnel is closed.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

const loginPrefix = "/raybuild-login/"

func (d *door) loginPath() string { return loginPrefix + d.secret }

// cookieName has the port: a browser sends a cookie to all ports of a host.
func (d *door) cookieName() string { return "raybuild-" + strconv.Itoa(d.port) }

// ServeHTTP implements http.Handler.
func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	refuse := func(code int, text string) { http.Error(w, "raybuild: "+text, code) }
	if !slices.Contains(d.names(), r.Host) {
		refuse(http.StatusForbidden, fmt.Sprintf("this dashboard is at 127.0.0.1:%d; the request asks for host "+
			"%.100q, as a page that is not the dashboard's would", d.port, r.Host))
		return
	}
	if given, ok := strings.CutPrefix(r.URL.Path, loginPrefix); ok {
		given, rest, more := strings.Cut(given, "/")
		if !same(given, d.secret) {
			refuse(http.StatusForbidden, "this is not the address that `raybuild cluster dashboard` has printed")
			return
		}
		if !more {
			d.letIn(w)
			return
		}
		r.URL.Path, r.URL.RawPath = "/"+rest, "" // of a program that has taken the page's address for the dashboard's
	}
	if d.elsewhere(r) {
		refuse(http.StatusForbidden, "a page of another site has sent this request; open the address that `raybuild "+
			"cluster dashboard` has printed")
		return
	}
	if code := d.known(r); code != 0 {
		refuse(code, "the dashboard is for the user who has opened it: open the address that `raybuild cluster "+
			"dashboard` has printed, or send the cluster's token (--show-token) as Authorization: Bearer")
		return
	}
	d.proxy.ServeHTTP(w, r)
}

// names are what a browser may call this tunnel.
func (d *door) names() []string {
	port := strconv.Itoa(d.port)
	return []string{"127.0.0.1:" + port, "localhost:" + port, "[::1]:" + port}
}

// elsewhere says that a page of another site has sent a request. A browser says so; a program says nothing.
func (d *door) elsewhere(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
	default:
		return true
	}
	origin := r.Header.Get("Origin")
	host, ok := strings.CutPrefix(origin, "http://")
	return origin != "" && (!ok || !slices.Contains(d.names(), host))
}

// known checks who a request is from. It returns 0, or the code with which the request is refused: 401 for one that
// says nothing, 403 for one with a wrong word, as Ray does.
func (d *door) known(r *http.Request) int {
	given, says := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if says && (d.token != "" && same(given, d.token) || same(given, d.secret)) {
		return 0
	}
	c, err := r.Cookie(d.cookieName())
	switch {
	case err == nil && same(c.Value, d.entry):
		return 0
	case err == nil || r.Header.Get("Authorization") != "":
		return http.StatusForbidden
	}
	return http.StatusUnauthorized
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// sign puts the cluster's token in the place of what the door was shown.
func (d *door) sign(r *http.Request) {
	cookies := r.Cookies()
	r.Header.Del("Cookie")
	for _, c := range cookies {
		if c.Name != d.cookieName() {
			r.AddCookie(c)
		}
	}
	r.Header.Del("Authorization")
	if d.token != "" {
		r.Header.Set("Authorization", "Bearer "+d.token)
	}
}

// letIn gives a browser the cookie, and leads it to the dashboard. It does so by a page and not by a redirection: what
// follows a redirection counts as sent by the page that had the link.
func (d *door) letIn(w http.ResponseWriter) {
	http.SetCookie(w, &http.Cookie{Name: d.cookieName(), Value: d.entry, Path: "/", HttpOnly: true,
		SameSite: http.SameSiteStrictMode})
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'")
	fmt.Fprint(w, `<!DOCTYPE html><meta http-equiv="refresh" content="0; url=/"><a href="/">to the dashboard</a>`+"\n")
}
