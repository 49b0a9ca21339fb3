package mirror

import (
	"errors"
	"net/http"
	"path"
	"strings"
	"time"
)

// Proxy serves an apt archive out of a cache on disk that it fills from the archive's real mirror.
type Proxy struct {
	// Upstream is the real mirror's root.
	Upstream string
	// Cache has the files.
	Cache *Cache
	// Fresh is how long an index without a digest in its name (InRelease, …) is served from the
	// cache; older ones are asked for again, and served all the same where the mirror doesn't answer.
	// Default: 1 hour.
	Fresh time.Duration
}

// ServeHTTP serves files below the archive's root.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !reads(w, r) {
		return
	}
	name := path.Clean("/" + r.URL.Path)
	if strings.HasSuffix(r.URL.Path, "/") {
		http.NotFound(w, r)
		return
	}
	fresh := p.Fresh
	if fresh == 0 {
		fresh = time.Hour
	}
	if strings.HasPrefix(name, "/pool/") || strings.Contains(name, "/by-hash/") {
		fresh = 0
	}
	p.Cache.answer(w, r, p.Upstream+name, fresh)
}

// reads refuses what is no question.
func reads(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
	return false
}

// answer answers a request with the file that upstream has at url.
func (c *Cache) answer(w http.ResponseWriter, r *http.Request, url string, fresh time.Duration) {
	f, err := c.Open(r.Context(), url, "", fresh)
	if err != nil {
		refuse(w, err)
		return
	}
	defer func() { _ = f.Close() }()
	w.Header().Set("Content-Type", "application/octet-stream")
	f.serve(w, r)
}

func refuse(w http.ResponseWriter, err error) {
	if status, ok := errors.AsType[StatusError](err); ok {
		http.Error(w, err.Error(), int(status))
		return
	}
	http.Error(w, err.Error(), http.StatusBadGateway)
}
