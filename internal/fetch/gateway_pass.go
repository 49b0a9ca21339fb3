package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
)

// passesOn tells which headers of a request, and of its answer, are passed on. Hop-by-hop headers, cookies and
// credentials are not among them.
func passesOn(key string) bool {
	switch key {
	case "Accept", "Accept-Encoding", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range",
		"If-Unmodified-Since", "Pragma", "Range", "User-Agent",
		"Accept-Ranges", "Content-Encoding", "Content-Length", "Content-Range", "Content-Type", "Date", "Etag",
		"Expires", "Last-Modified", "Vary",
		"Cache-Control":
		return true
	}
	return false
}

// passOn copies what is passed on of one header to another.
func passOn(to, from http.Header) {
	for k, v := range from {
		if passesOn(k) {
			to[k] = v
		}
	}
}

// passage is a file on its way through the gateway, not known by digest.
type passage struct {
	g     gateway
	r     *http.Request
	cands []Candidate
	url   *url.URL
}

// pass answers with what the first candidate has that has it, byte for byte.
func (g gateway) pass(w http.ResponseWriter, r *http.Request, cands []Candidate, canonical *url.URL) {
	p := passage{g: g, r: r, cands: cands, url: canonical}
	header := http.Header{}
	passOn(header, r.Header)
	if header.Get("Accept-Encoding") == "" {
		header.Set("Accept-Encoding", "identity")
	}
	var resp *http.Response
	var from Candidate
	tried := g.each(r.Context(), cands, func(ctx context.Context, c Candidate) (err error) {
		from = c
		resp, err = p.ask(ctx, c, header) //nolint:bodyclose // closed below, when one came
		return err
	})
	if tried != nil {
		g.fail(w, canonical, tried)
		return
	}
	defer func() { shut(resp.Body) }()
	passOn(w.Header(), resp.Header)
	w.WriteHeader(resp.StatusCode)
	if r.Method == http.MethodHead || resp.StatusCode == http.StatusNotModified {
		return
	}
	if err := p.copy(r.Context(), w, resp, from); err != nil {
		if r.Context().Err() == nil {
			g.f.o.Warn(fmt.Sprintf("%s broke off at mirror %s: %v", redactURL(canonical), from.Mirror, redacted{err}))
		}
		abort()
	}
}

// ask sends the request to one candidate. The answer counts when its first byte is there: a server that sends a
// header and nothing else is passed over.
func (p passage) ask(ctx context.Context, c Candidate, header http.Header) (*http.Response, error) {
	u, err := p.g.f.locate(ctx, c, Item{}, p.url)
	if err != nil {
		return nil, err
	}
	resp, err := p.g.f.do(ctx, request{method: p.r.Method, mirror: c.Mirror, url: u, header: header})
	if err != nil {
		return nil, err
	}
	if p.r.Method == http.MethodHead || resp.ContentLength == 0 || resp.StatusCode == http.StatusNotModified {
		return resp, nil
	}
	first := make([]byte, 1)
	n, err := io.ReadFull(resp.Body, first)
	if err != nil && !errors.Is(err, io.EOF) {
		shut(resp.Body)
		return nil, err
	}
	resp.Body = &pushedBack{first: first[:n], ReadCloser: resp.Body}
	return resp, nil
}

// pushedBack is a body whose first byte was read already.
type pushedBack struct {
	first []byte
	io.ReadCloser
}

func (b *pushedBack) Read(p []byte) (int, error) {
	if len(b.first) > 0 {
		n := copy(p, b.first)
		b.first = b.first[n:]
		return n, nil
	}
	return b.ReadCloser.Read(p)
}

// copy hands a body on. When it breaks off it goes on where it was, at the same mirror or another, but only with
// the very same file: there is no digest here to tell a mix of two versions.
func (p passage) copy(ctx context.Context, w io.Writer, resp *http.Response, from Candidate) error {
	keep := p.capture(resp)
	defer keep.drop()
	out := &counted{w: io.MultiWriter(keep, w)}
	_, err := io.Copy(out, resp.Body)
	again := append([]Candidate{from}, p.cands...)
	for i := 0; err != nil && out.err == nil && i < len(again); i++ {
		if ctx.Err() != nil {
			return err
		}
		if i > 0 && again[i] == from {
			continue
		}
		rest, rerr := p.resume(ctx, again[i], resp, out.n, i == 0)
		if rerr != nil {
			continue
		}
		_, err = io.Copy(out, rest)
		shut(rest)
	}
	return err
}

// resume asks a candidate for the rest of a file of which n bytes were handed on; same says that it is the one that
// sent them.
func (p passage) resume(ctx context.Context, c Candidate, resp *http.Response, n int64,
	same bool) (io.ReadCloser, error) {
	if resp.StatusCode != http.StatusOK || resp.ContentLength < 0 || resp.Header.Get("Content-Encoding") != "" {
		return nil, errRestart
	}
	validator := resp.Header.Get("Last-Modified") // mirrors keep it, as rsync does
	if e := resp.Header.Get("ETag"); e != "" && !strings.HasPrefix(e, "W/") && same {
		validator = e
	}
	if validator == "" {
		return nil, errRestart
	}
	u, err := p.g.f.locate(ctx, c, Item{}, p.url)
	if err != nil {
		return nil, err
	}
	h := http.Header{"Range": {fmt.Sprintf("bytes=%d-", n)}, "If-Range": {validator}, "Accept-Encoding": {"identity"}}
	more, err := p.g.f.do(ctx, request{method: http.MethodGet, mirror: c.Mirror, url: u, header: h})
	if err != nil {
		return nil, err
	}
	start, all, ok := contentRange(more.Header.Get("Content-Range"))
	if more.StatusCode != http.StatusPartialContent || !ok || start != n || all != resp.ContentLength {
		shut(more.Body)
		return nil, errRestart
	}
	return more.Body, nil
}

// counted counts what a writer took and keeps its error apart from those of the reader.
type counted struct {
	w   io.Writer
	n   int64
	err error
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	if err != nil {
		c.err = err
	}
	return n, err
}

// captured is a package that passes through and is kept, under the digest that it turns out to have.
type captured struct {
	f    *Fetcher
	file *file // nil: nothing is kept
	size int64
	url  *url.URL
}

// capture begins to keep a whole package; anything else is not kept.
func (p passage) capture(resp *http.Response) *captured {
	c := &captured{f: p.g.f, url: p.url, size: resp.ContentLength}
	whole := resp.StatusCode == http.StatusOK && resp.ContentLength > 0 && resp.Header.Get("Content-Encoding") == ""
	if whole && isArchive(p.url.Path) && c.f.store.room(resp.ContentLength) == nil {
		if t, err := c.f.store.temp(); err == nil {
			c.file = t
		}
	}
	return c
}

// Write never fails: what cannot be kept is handed on all the same. A whole package is kept before the client has its
// end, so that the client's next request finds it.
func (c *captured) Write(p []byte) (int, error) {
	if c.file == nil {
		return len(p), nil
	}
	if _, err := c.file.Write(p); err != nil {
		c.drop()
	} else if c.file.n == c.size {
		c.commit()
	}
	return len(p), nil
}

func (c *captured) drop() {
	if c.file != nil {
		c.file.discard()
		c.file = nil
	}
}

func (c *captured) commit() {
	t := c.file
	c.file = nil
	d := t.digest()
	if err := c.f.store.keep(t, d); err != nil {
		t.discard()
		return
	}
	c.f.Add(Item{Digest: d, Size: t.n, Name: path.Base(c.url.Path), URL: c.url.String()})
}
