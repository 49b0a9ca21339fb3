package uv

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Gateway does the networking: an HTTP proxy for http:// URLs on a connection (fetch.Fetcher.ServeConn).
type Gateway interface{ ServeConn(c net.Conn) }

// proxy is what uv reaches of the network: an HTTP proxy on loopback, which leads to the gateway. It is there for one
// run, and asks for the run's secret, because the gateway adds the logins of this machine's owner.
type proxy struct {
	question Question
	index    *url.URL
	held     map[string]Held // whose pages the old lock answers; nil in a run that asks for all pages
	known    *pages          // that this resolver has asked for
	secret   string
	listener net.Listener
	server   *http.Server
	forward  *httputil.ReverseProxy
	pipes    *http.Transport

	mu       sync.Mutex
	requests int
	trouble  []string // answers that say that a mirror failed
}

// openProxy starts a proxy. The caller closes it.
func openProxy(g Gateway, q Question, held map[string]Held, known *pages) (*proxy, error) {
	index, err := url.Parse(q.index())
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for uv on loopback: %w", err)
	}
	p := &proxy{question: q, index: index, held: held, known: known, secret: rand.Text(), listener: listener}
	p.pipes = &http.Transport{
		Proxy:               http.ProxyURL(&url.URL{Scheme: "http", Host: "gateway"}),
		DisableCompression:  true,
		MaxIdleConnsPerHost: 64,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go g.ServeConn(theirs)
			return ours, nil
		},
	}
	quiet := log.New(io.Discard, "", 0)
	p.forward = &httputil.ReverseProxy{
		Rewrite: p.rewrite, Transport: p.pipes, ModifyResponse: p.note, ErrorLog: quiet, ErrorHandler: p.failed,
	}
	p.server = &http.Server{Handler: p, ErrorLog: quiet, ReadHeaderTimeout: time.Minute}
	go func() { _ = p.server.Serve(listener) }() // ends when the server is closed
	return p, nil
}

// Close ends the proxy and all that it asks for.
func (p *proxy) Close() error {
	err := p.server.Close()
	p.pipes.CloseIdleConnections()
	return err
}

// env is the environment that leads uv to the proxy. It holds the secret.
func (p *proxy) env() []string {
	at := "http://raybuild:" + p.secret + "@" + p.listener.Addr().String()
	return []string{"HTTP_PROXY=" + at, "HTTPS_PROXY=" + at, "ALL_PROXY=" + at,
		"http_proxy=" + at, "https_proxy=" + at, "all_proxy=" + at}
}

// ServeHTTP implements http.Handler. Each request must have the secret, on a connection that had it as well.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("raybuild:"+p.secret))
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("Proxy-Authorization")), []byte(want)) != 1 {
		w.Header().Set("Proxy-Authenticate", `Basic realm="raybuild"`)
		http.Error(w, "this proxy is for one run of uv", http.StatusProxyAuthRequired)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead || r.URL.Scheme != "http" || r.URL.Host == "" {
		http.Error(w, "this proxy only reads http:// URLs", http.StatusMethodNotAllowed)
		return
	}
	project := p.project(r.URL)
	if h, ok := p.held[project]; ok {
		servePage(w, h)
		return
	}
	key := strings.Join([]string{r.Method, r.URL.String(), p.question.Projects[project], r.Header.Get("Accept")}, " ")
	if project != "" && p.known.get(key, w) {
		return
	}
	p.mu.Lock()
	p.requests++
	p.mu.Unlock()
	if project == "" {
		p.forward.ServeHTTP(w, r)
		return
	}
	answer := &copied{ResponseWriter: w}
	p.forward.ServeHTTP(answer, r)
	if answer.whole(r) {
		p.known.put(key, page{header: w.Header().Clone(), body: answer.body.Bytes(), asked: time.Now()})
	}
}

// project is the project of a page of the index, or "".
func (p *proxy) project(u *url.URL) string {
	if u.Host != p.index.Host && u.Host != "pypi.org" {
		return ""
	}
	rest, ok := strings.CutPrefix(u.Path, "/simple/")
	if !ok {
		return ""
	}
	return normal(strings.TrimSuffix(rest, "/"))
}

// rewrite sends a request on. The page of a project with an index of its own is that index's: whatever uv asks for,
// PyPI's is never read.
func (p *proxy) rewrite(r *httputil.ProxyRequest) {
	out := r.Out
	project := p.project(out.URL)
	if root, err := url.Parse(p.question.Projects[project]); err == nil && root.Host != "" {
		out.URL = root.JoinPath(project + "/")
		out.URL.Scheme, out.URL.User = "http", nil
	} else if out.URL.Host == p.index.Host {
		out.URL.Host = "pypi.org"
	}
	out.Host = out.URL.Host
	out.Header.Del("Proxy-Authorization")
	if project != "" {
		out.Header.Set("Raybuild-Offer-Metadata", "yes") // fetch.OfferMetadata
	}
}

// forever lets uv's cache keep what never changes.
const forever = "public, max-age=365000000, immutable"

// note looks at an answer on its way to uv. PyPI never changes a file; its paths have digests in them.
func (p *proxy) note(resp *http.Response) error {
	r := resp.Request
	switch {
	case resp.StatusCode == http.StatusOK && r.URL.Host == "files.pythonhosted.org":
		resp.Header.Set("Cache-Control", forever)
	case resp.StatusCode >= 400 && resp.StatusCode != http.StatusNotFound && resp.StatusCode != http.StatusGone &&
		resp.StatusCode != http.StatusRequestedRangeNotSatisfiable:
		text, err := io.ReadAll(io.LimitReader(resp.Body, 2000))
		_ = resp.Body.Close()
		if err != nil {
			return err
		}
		p.fail(strings.TrimSpace(string(text)))
		resp.Body = io.NopCloser(strings.NewReader(string(text)))
		resp.ContentLength = int64(len(text))
		resp.Header.Set("Content-Length", fmt.Sprint(len(text)))
	}
	return nil
}

func (p *proxy) failed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() == nil && !errors.Is(err, context.Canceled) {
		p.fail(fmt.Sprintf("ask for %s: %v", r.URL.Redacted(), err))
	}
	w.WriteHeader(http.StatusBadGateway)
}

func (p *proxy) fail(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trouble = append(p.trouble, text)
}

// seen is how much was asked, and what failed.
func (p *proxy) seen() (requests int, trouble []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests, p.trouble
}
