package fetch

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
)

const (
	pypiHost  = "pypi.org"
	pypiFiles = "files.pythonhosted.org" // where PyPI's pages link to
)

// page answers with an index page, whose links lead back through the gateway.
func (g gateway) page(w http.ResponseWriter, r *http.Request, cands []Candidate, canonical *url.URL) {
	accept := r.Header.Get("Accept")
	if accept == "" {
		accept = "text/html"
	}
	var body []byte
	var kind string
	tried := g.each(r.Context(), cands, func(ctx context.Context, c Candidate) error {
		u := candidateURL(c)
		if u == nil {
			return &failure{err: fmt.Errorf("mirror has no http or https url")}
		}
		p, err := g.f.getPage(ctx, c.Mirror, u, accept)
		if err != nil {
			return err
		}
		kind = p.contentType
		offer := r.Header.Get(OfferMetadata) != ""
		body, err = rewritePage(kind, p.body, p.base, offer, func(l link) string {
			l.url = withLogin(l.url, u)
			return g.f.learn(l, c.Mirror, p.base, u, canonical)
		})
		if err == nil && isJSONPage(kind) && !strings.Contains(accept, "json") && !strings.Contains(accept, "*/*") {
			body, err = htmlPage(body)
			kind = "text/html; charset=utf-8"
		}
		if err != nil {
			return &failure{err: err}
		}
		return nil
	})
	if tried != nil {
		g.fail(w, canonical, tried)
		return
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Header().Set("Vary", "Accept")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(body) // the client's going is its own matter
}

// learn remembers what a page says about a file, and returns the canonical http:// URL under which the gateway
// serves it; "" when the page may not lead there. asked is where the mirror was asked for the page, base where that
// ended after redirects.
func (f *Fetcher) learn(l link, mirror string, base, asked, canonical *url.URL) string {
	if !f.reach.lead(base, l.url) || strays(l.name, canonical) {
		return ""
	}
	if sameOrigin(asked, l.url) {
		f.reach.give(l.url)
		f.reach.give(metadataOf(l.url))
	}
	to := canonicalLink(l.url, asked, base, canonical)
	c := Candidate{Mirror: mirror, URL: l.url.String()}
	secure := l.url.Scheme == "https"

	f.mu.Lock()
	defer f.mu.Unlock()
	k := key(to)
	if strings.EqualFold(to.Host, pypiFiles) || secure && strings.EqualFold(to.Host, l.url.Host) {
		f.secure[strings.ToLower(to.Host)] = true
	}
	f.learned[k] = c
	f.note(k, l.digest, Item{Digest: l.digest, Size: l.size, Name: l.name, URL: to.String()})
	if l.meta != "" {
		side, at := metadataOf(to), metadataOf(l.url)
		f.learned[key(side)] = Candidate{Mirror: mirror, URL: at.String()}
		f.note(key(side), l.meta, Item{Digest: l.meta, Name: l.name + metadataSuffix, URL: side.String()})
	}
	if l.hasMeta {
		delete(f.made, k)
	} else {
		f.made[k] = true
	}
	text := to.String()
	if l.fragment != "" {
		text += "#" + l.fragment
	}
	return text
}

// note makes the artifact known that a page lists; one without a digest is passed on as it is. What Add said about
// the same digest stays. The caller holds f.mu.
func (f *Fetcher) note(k string, d digest.Digest, it Item) {
	if d == "" {
		delete(f.byURL, k)
		return
	}
	f.byURL[k] = d
	if old, ok := f.items[d]; !ok || old.URL == "" && old.Path == "" && old.Bytes == nil {
		f.items[d] = it
	}
}

// metadataOf is the URL of a wheel's metadata.
func metadataOf(wheel *url.URL) *url.URL {
	c := *wheel
	c.Path += metadataSuffix
	if c.RawPath != "" {
		c.RawPath += metadataSuffix
	}
	return &c
}

// pypiLayout matches the path of a file as PyPI has it, by its BLAKE2 digest, at the end of a URL's.
//
//nolint:gochecknoglobals // compiled once, when it is used
var pypiLayout = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`/packages/[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{60}/[^/]+$`)
})

// canonicalLink says where a link of a mirror's page leads on the origin: under PyPI's file host, under the origin
// of the page, or where it leads anyway. The mirror was asked for the page at asked, and answered from base.
func canonicalLink(to, asked, base, canonical *url.URL) *url.URL {
	c := &url.URL{Scheme: "http", Host: to.Host, Path: to.Path, RawPath: to.RawPath, RawQuery: to.RawQuery}
	if strings.EqualFold(canonical.Hostname(), pypiHost) {
		at := strings.Index(to.EscapedPath(), "/packages/")
		if m := pypiLayout().FindStringIndex(to.EscapedPath()); m != nil {
			at = m[0] // some servers have PyPI's paths below a directory that is called packages as well
		}
		c.Host, c.RawQuery = pypiFiles, ""
		if at >= 0 {
			return withPath(c, to.EscapedPath()[at:])
		}
		// An index with files elsewhere, such as devpi's: whoever has the file finds it on its
		// pages, by name and digest.
		return withPath(c, "/packages"+to.EscapedPath()[strings.LastIndex(to.EscapedPath(), "/"):])
	}
	for _, page := range []*url.URL{asked, base} {
		if !strings.EqualFold(to.Host, page.Host) {
			continue
		}
		from, into := commonRoot(page.EscapedPath(), canonical.EscapedPath())
		if rest, ok := strings.CutPrefix(to.EscapedPath(), from+"/"); ok {
			c.Host = canonical.Host
			return withPath(c, into+"/"+rest)
		}
	}
	return c
}

// commonRoot takes the elements off two paths in which their ends agree: what is left is a mirror's root and the
// origin's.
func commonRoot(a, b string) (string, string) {
	a, b = strings.TrimSuffix(a, "/"), strings.TrimSuffix(b, "/")
	for {
		i, j := strings.LastIndexByte(a, '/'), strings.LastIndexByte(b, '/')
		if i < 0 || j < 0 || a[i:] != b[j:] {
			return a, b
		}
		a, b = a[:i], b[:j]
	}
}

// withPath sets an escaped path, and keeps how it was escaped: some origins tell %2B and + apart.
func withPath(u *url.URL, escaped string) *url.URL {
	if p, err := url.PathUnescape(escaped); err == nil {
		u.Path, u.RawPath = p, escaped
	}
	return u
}
