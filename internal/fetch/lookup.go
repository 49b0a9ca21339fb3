package fetch

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"sync"
)

// maxPage limits an index page, in bytes; the largest on pypi.org have some ten megabytes.
const maxPage = 128 << 20

// pages remembers the index pages that look-ups have read, by mirror and page.
type pages struct {
	mu sync.Mutex
	m  map[[2]string]*listing
}

// listing is the links of one page by file name; the lock keeps two look-ups from reading the same page.
type listing struct {
	mu   sync.Mutex
	read bool
	file map[string]link
}

func (p *pages) get(mirror, page string) *listing {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.m == nil {
		p.m = map[[2]string]*listing{}
	}
	k := [2]string{mirror, page}
	if p.m[k] == nil {
		p.m[k] = &listing{}
	}
	return p.m[k]
}

// locate returns the URL of a candidate, which it looks up on the candidate's index page if need be.
func (f *Fetcher) locate(ctx context.Context, c Candidate, it Item, canonical *url.URL) (*url.URL, error) {
	u := candidateURL(c)
	if u == nil {
		return nil, &failure{err: fmt.Errorf("mirror has no http or https url")}
	}
	if c.URL != "" {
		return u, nil
	}
	l := f.pages.get(c.Mirror, c.Index)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.read {
		files, err := f.listPage(ctx, c.Mirror, u)
		if err != nil {
			return nil, fmt.Errorf("read index page: %w", err)
		}
		l.file, l.read = files, true
	}
	name := it.Name
	if canonical != nil {
		name = path.Base(canonical.Path)
	}
	found, ok := l.file[name]
	if !ok {
		return nil, &failure{err: errNotListed}
	}
	if found.digest != "" && it.Digest != "" && found.digest != it.Digest {
		return nil, &failure{err: fmt.Errorf("%w: its index page lists %s", errWrong, found.digest)}
	}
	return found.url, nil
}

func (f *Fetcher) listPage(ctx context.Context, mirror string, u *url.URL) (map[string]link, error) {
	p, err := f.getPage(ctx, mirror, u, typeJSON+", "+typeHTML+";q=0.2, text/html;q=0.1")
	if err != nil {
		return nil, err
	}
	links, err := readPage(p.contentType, p.body, p.base)
	if err != nil {
		return nil, &failure{err: err}
	}
	files := map[string]link{}
	for _, l := range links {
		if !f.reach.lead(p.base, l.url) {
			continue
		}
		if sameOrigin(u, l.url) {
			f.reach.give(l.url)
			f.reach.give(metadataOf(l.url))
		}
		l.url = withLogin(l.url, u)
		files[l.name] = l
	}
	return files, nil
}

// withLogin gives a link the userinfo of the page that had it, where it leads to the same server.
func withLogin(to, page *url.URL) *url.URL {
	if page.User == nil || to.User != nil || !sameOrigin(page, to) {
		return to
	}
	c := *to
	c.User = page.User
	return &c
}

// fetched is an index page as a mirror sent it.
type fetched struct {
	contentType string
	body        []byte
	base        *url.URL // where it was in the end; without userinfo
}

// getPage reads an index page whole.
func (f *Fetcher) getPage(ctx context.Context, mirror string, u *url.URL, accept string) (*fetched, error) {
	h := http.Header{"Accept": {accept}, "Accept-Encoding": {"gzip"}}
	resp, err := f.do(ctx, request{method: http.MethodGet, mirror: mirror, url: u, header: h})
	if err != nil {
		return nil, err
	}
	defer shut(resp.Body)
	p := &fetched{contentType: resp.Header.Get("Content-Type"), base: resp.Request.URL}
	if !isJSONPage(p.contentType) && !isHTMLPage(p.contentType) {
		return nil, &failure{err: fmt.Errorf("answered with %q, which is no index page", p.contentType)}
	}
	raw, err := readAll(resp.Body)
	if err != nil {
		return nil, err
	}
	switch enc := resp.Header.Get("Content-Encoding"); enc {
	case "", "identity":
		p.body = raw
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(bytes.NewReader(raw))
		if err == nil {
			p.body, err = readAll(z)
		}
		if err != nil {
			return nil, &failure{err: fmt.Errorf("decompress index page: %w", err), passing: true}
		}
	default:
		return nil, &failure{err: fmt.Errorf("content encoding %q was not asked for", enc)}
	}
	return p, nil
}

func readAll(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxPage+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxPage {
		return nil, &failure{err: fmt.Errorf("index page is larger than %d bytes", maxPage)}
	}
	return b, nil
}
