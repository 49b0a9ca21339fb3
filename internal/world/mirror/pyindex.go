package mirror

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"path"
	"strings"
	"time"
)

const (
	// indexJSON and indexHTML are the two forms of a project's page: PEP 691 and PEP 503.
	indexJSON = "application/vnd.pypi.simple.v1+json"
	indexHTML = "application/vnd.pypi.simple.v1+html, text/html;q=0.9"
	// pypiFiles is where PyPI's pages say that its files are.
	pypiFiles = "https://files.pythonhosted.org/packages/"
)

// PyIndex serves a Python index (PEP 503, 658 and 691) at /simple/ and its files at /packages/, out
// of a cache that it fills from a real one. Pages go through as they came, but for the places of
// PyPI's files.
type PyIndex struct {
	// Upstream is the real index, without a slash at its end: https://pypi.org/simple.
	Upstream string
	// Cache has pages and files.
	Cache *Cache
	// Fresh is how long a page is served from the cache. Default: 1 hour.
	Fresh time.Duration
}

// ServeHTTP serves pages and files.
func (p *PyIndex) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !reads(w, r) {
		return
	}
	name := path.Clean("/" + r.URL.Path)
	if file, ok := strings.CutPrefix(name, "/packages/"); ok {
		p.Cache.answer(w, r, p.files()+file, 0)
		return
	}
	project, ok := strings.CutPrefix(name, "/simple/")
	if !ok || project == "" || strings.Contains(project, "/") {
		http.NotFound(w, r)
		return
	}
	page, kind, err := p.Page(r.Context(), project, strings.Contains(r.Header.Get("Accept"), indexJSON))
	if err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Vary", "Accept")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(page))
}

// Page is a project's page, in JSON where that is wanted and upstream has it, with its Content-Type.
func (p *PyIndex) Page(ctx context.Context, project string, json bool) (page []byte, kind string, err error) {
	accept := indexHTML
	if json {
		accept = indexJSON + ", " + indexHTML
	}
	fresh := p.Fresh
	if fresh == 0 {
		fresh = time.Hour
	}
	f, err := p.Cache.Open(ctx, p.Upstream+"/"+project+"/", accept, fresh)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = f.Close() }()
	if page, err = io.ReadAll(f); err != nil {
		return nil, "", err
	}
	return bytes.ReplaceAll(page, []byte(pypiFiles), []byte("../../packages/")), f.Type, nil
}

// files is where upstream's files are: PyPI's have a host of their own, those of its mirrors lie beside their pages.
func (p *PyIndex) files() string {
	if p.Upstream == "https://pypi.org/simple" {
		return pypiFiles
	}
	return strings.TrimSuffix(p.Upstream, "/simple") + "/packages/"
}
