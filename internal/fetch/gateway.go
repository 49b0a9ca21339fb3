package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"
)

// gateway is a forward proxy for canonical http:// URLs. It answers GET and HEAD with an absolute URI from
// the candidates of this URL. Clients reach nothing that has no candidate and that no index page linked.
//
// Index pages (PEP 503/691) come from the first candidate that has them. Their links lead back through the
// gateway. Files whose digest is known, from a page or from Add, go through the store. Everything else
// passes unchanged, from the first candidate that has it.
func (f *Fetcher) gateway() http.Handler { return gateway{f} }

// ServeConn serves the gateway on one connection until it is closed.
func (f *Fetcher) ServeConn(c net.Conn) {
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		// net/http ends its background reads by deadlines; a pipe in between has them.
		c = withDeadlines(c)
	}
	ln := newOneConn(c)
	srv := &http.Server{Handler: f.gateway(), MaxHeaderBytes: 64 << 10, ErrorLog: log.New(warnings{f}, "", 0)}
	_ = srv.Serve(ln) // ends with io.EOF when the connection is closed
	_ = c.Close()
}

type gateway struct{ f *Fetcher }

func (g gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodConnect:
		refuse(w, http.StatusMethodNotAllowed, "raybuild's gateway makes no tunnels: ask it for http:// URLs; "+
			"it speaks https to the mirrors itself, checks digests and adds credentials")
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed, "raybuild's gateway only reads: GET and HEAD")
		return
	case !r.URL.IsAbs() || r.URL.Host == "":
		refuse(w, http.StatusBadRequest, "raybuild's gateway is an HTTP proxy: the request needs an absolute URI")
		return
	case r.URL.Scheme != "http":
		refuse(w, http.StatusBadRequest, "raybuild's gateway takes http:// URLs only")
		return
	}
	u := *r.URL
	u.User = nil
	cands, canonical, err := g.f.candidates(u.String())
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	it, known := g.f.known(canonical)
	switch {
	case !known && !g.f.mayAsk(canonical):
		text := fmt.Sprintf("%s is below no source of the recipe, and no page of one links it", redactURL(canonical))
		g.f.o.Warn("refused to ask for it: " + text)
		refuse(w, http.StatusForbidden, text+": a channel, index or repository is asked only if the recipe names it")
		return
	case known && g.f.wantsPart(r, it):
		g.pass(w, r, cands, canonical)
	case known:
		g.artifact(w, r, it)
	case len(cands) == 0:
		refuse(w, http.StatusForbidden, fmt.Sprintf("no mirror serves %s: add one for it to mirrors.fetch",
			redactURL(canonical)))
	case g.wantsPage(r, canonical):
		g.page(w, r, cands, canonical)
	case isWheelMetadata(canonical):
		g.metadata(w, r, cands, canonical)
	default:
		g.pass(w, r, cands, canonical)
	}
}

// known returns the artifact that is at a URL, as far as a page or Add has said.
func (f *Fetcher) known(u *url.URL) (Item, bool) {
	f.mu.Lock()
	d, ok := f.byURL[key(u)]
	f.mu.Unlock()
	if !ok {
		return Item{}, false
	}
	it, err := f.item(d)
	return it, err == nil
}

// mayAsk tells whether a client may ask for a URL of which nothing is known by digest: it is a source's, or an index
// page has linked it or the wheel whose metadata it is.
func (f *Fetcher) mayAsk(u *url.URL) bool {
	if f.reach.isSource(u) {
		return true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, linked := f.learned[key(u)]; linked || !isWheelMetadata(u) {
		return linked
	}
	_, linked := f.learned[key(wheelOf(u))]
	_, known := f.byURL[key(wheelOf(u))]
	return linked || known
}

// wantsPage tells whether a request is for an index page: pip says so in its Accept header (21 and older by text/html
// alone), and so does uv; apt-get and conda never do.
func (g gateway) wantsPage(r *http.Request, u *url.URL) bool {
	a := r.Header.Get("Accept")
	return (strings.Contains(a, "application/vnd.pypi.simple") || strings.HasPrefix(a, "text/html")) &&
		!isArchive(u.Path)
}

// isArchive tells by its name whether a file is a package.
func isArchive(name string) bool {
	name = path.Base(name)
	for _, ext := range []string{".whl", ".tar.gz", ".zip", ".tar.bz2", ".conda", ".deb", ".sh"} {
		if strings.HasSuffix(name, ext) {
			return true
		}
	}
	return false
}

func refuse(w http.ResponseWriter, code int, text string) {
	http.Error(w, text, code)
}

// fail answers that no candidate helped. A candidate that knows that the file does not exist outranks others that do
// not answer; what all of them say is said to the client, who may know what it means.
func (g gateway) fail(w http.ResponseWriter, u *url.URL, tried []Attempt) {
	code := tried[0].Status
	for _, a := range tried {
		if a.Status == http.StatusNotFound || a.Status == http.StatusGone || errors.Is(a.Err, errNotListed) {
			code = http.StatusNotFound
			break
		}
		if a.Status != code || code >= 500 || code == 0 {
			code = http.StatusBadGateway
		}
	}
	text := fmt.Sprintf("no mirror has %s: %s", redactURL(u), list(tried))
	if code != http.StatusNotFound {
		g.f.o.Warn(text)
		g.f.trouble.note(&unansweredError{URL: redactURL(u), Tried: tried})
	}
	refuse(w, code, text)
}

// each asks the candidates until one call of try succeeds; it returns the failures when none does. Once a candidate
// has said that the file does not exist, those whose host did not answer lately are not waited for.
func (g gateway) each(ctx context.Context, cands []Candidate,
	try func(ctx context.Context, c Candidate) error) []Attempt {
	var tried []Attempt
	missing := false
	left := g.f.hosts.byHealth(cands)
	for round := range maxTries {
		var again []Candidate
		for _, c := range left {
			u := candidateURL(c)
			if missing && u != nil && g.f.hosts.get(u).resting() {
				continue
			}
			if round > 0 && sleep(ctx, g.pause(u)) != nil {
				return tried
			}
			err := try(ctx, c)
			if err == nil {
				return nil
			}
			at := c.URL
			if at == "" {
				at = c.Index
			}
			tried = append(tried, Attempt{Mirror: c.Mirror, URL: redactString(at), Status: status(err),
				Err: redacted{err}})
			if ctx.Err() != nil {
				return tried
			}
			missing = missing || status(err) == http.StatusNotFound || status(err) == http.StatusGone
			if passing(err) {
				again = append(again, c)
			}
		}
		if left = again; missing {
			break
		}
	}
	return tried
}

// pause is the wait before a second try: what the server asked for, within limits.
func (g gateway) pause(u *url.URL) time.Duration {
	wait := g.f.o.Backoff
	if u != nil {
		wait = max(wait, g.f.hosts.get(u).pause())
	}
	return min(wait, g.f.o.MaxRetryAfter)
}

// oneConn is a listener that has one connection to give.
type oneConn struct {
	conn   net.Conn
	given  sync.Once
	closed chan struct{}
	once   sync.Once
}

func newOneConn(c net.Conn) *oneConn { return &oneConn{conn: c, closed: make(chan struct{})} }

// Accept returns the connection, and io.EOF when that is closed.
func (l *oneConn) Accept() (net.Conn, error) {
	var c net.Conn
	l.given.Do(func() { c = &noticed{Conn: l.conn, closed: func() { l.once.Do(func() { close(l.closed) }) }} })
	if c != nil {
		return c, nil
	}
	<-l.closed
	return nil, io.EOF
}

// Close does nothing: the connection closes itself.
func (l *oneConn) Close() error { return nil }

// Addr is the connection's own.
func (l *oneConn) Addr() net.Addr { return l.conn.LocalAddr() }

// noticed is a connection whose closing is noticed.
type noticed struct {
	net.Conn
	closed func()
}

// Close closes the connection and says so.
func (c *noticed) Close() error {
	err := c.Conn.Close()
	c.closed()
	return err
}

// warnings is where the HTTP server writes what went wrong in itself.
type warnings struct{ f *Fetcher }

func (w warnings) Write(p []byte) (int, error) {
	w.f.o.Warn(redact(strings.TrimSpace(string(p))))
	return len(p), nil
}

// withDeadlines joins a connection with a pipe, whose ends know deadlines.
func withDeadlines(c net.Conn) net.Conn {
	near, far := net.Pipe()
	move := func(dst, src net.Conn) {
		_, _ = io.Copy(dst, src) // an end of either side ends both
		_ = dst.Close()
		_ = src.Close()
	}
	go move(far, c)
	go move(c, far)
	return near
}
