package uv

import (
	"bytes"
	"maps"
	"net/http"
	"sync"
	"time"
)

// Limits of what a resolver keeps of an index, in bytes and time. PyPI lets everybody keep its pages for as long.
const (
	maxPages   = 64 << 20
	maxPage    = 8 << 20
	maxPageAge = 10 * time.Minute
)

// pages are what an index has said. A resolver asks for each page once: so its questions are answered from one state of
// the index, and those after the first do not wait for it. Not every index lets uv's own cache keep them.
type pages struct {
	mu   sync.Mutex
	m    map[string]page
	size int
}

type page struct {
	header http.Header
	body   []byte
	asked  time.Time
}

// get answers a request with a page that is kept, if there is one.
func (p *pages) get(key string, w http.ResponseWriter) bool {
	p.mu.Lock()
	kept, ok := p.m[key]
	p.mu.Unlock()
	ok = ok && time.Since(kept.asked) < maxPageAge
	if ok {
		maps.Copy(w.Header(), kept.header)
		_, _ = w.Write(kept.body) // nobody waits for an answer any more if it fails
	}
	return ok
}

func (p *pages) put(key string, kept page) {
	p.mu.Lock()
	defer p.mu.Unlock()
	size := p.size + len(kept.body) - len(p.m[key].body)
	if size > maxPages {
		return
	}
	if p.m == nil {
		p.m = map[string]page{}
	}
	p.m[key], p.size = kept, size
}

// copied is an answer on its way to uv, and what is kept of it.
type copied struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
	large  bool
}

// WriteHeader implements http.ResponseWriter.
func (c *copied) WriteHeader(status int) {
	c.status = status
	c.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (c *copied) Write(p []byte) (int, error) {
	if c.large = c.large || c.body.Len()+len(p) > maxPage; !c.large {
		c.body.Write(p)
	}
	return c.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (c *copied) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// whole tells whether the answer is a page that arrived to its end.
func (c *copied) whole(r *http.Request) bool {
	return c.status == http.StatusOK && !c.large && r.Method == http.MethodGet && r.Header.Get("Range") == ""
}
