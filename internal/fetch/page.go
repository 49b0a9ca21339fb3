package fetch

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/url"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/net/html"
)

const (
	typeJSON = "application/vnd.pypi.simple.v1+json"
	typeHTML = "application/vnd.pypi.simple.v1+html"
)

// link is a file that an index page lists.
type link struct {
	name     string        // file name
	url      *url.URL      // absolute, without fragment
	fragment string        // as it was, "sha256=…" as a rule
	digest   digest.Digest // "" when the page gives no sha256
	size     int64         // 0 when the page gives none
	meta     digest.Digest // of the file's .metadata; "" when the page gives none
	hasMeta  bool          // the page says that there is a .metadata
}

// rewrite says what a link becomes on the rewritten page; "" takes it off.
type rewrite func(link) string

// rewritePage reads a simple index page (PEP 503 HTML or PEP 691 JSON) that came from base, and returns it with the
// URLs that change gives. With offer it says that each wheel has metadata. Everything else on the page stays as it is.
func rewritePage(contentType string, body []byte, base *url.URL, offer bool, change rewrite) ([]byte, error) {
	if isJSONPage(contentType) {
		return rewriteJSON(body, base, offer, change)
	}
	return rewriteHTML(body, base, offer, change)
}

// readPage returns the links of a simple index page.
func readPage(contentType string, body []byte, base *url.URL) ([]link, error) {
	var out []link
	_, err := rewritePage(contentType, body, base, false, func(l link) string {
		out = append(out, l)
		return ""
	})
	return out, err
}

func isJSONPage(contentType string) bool {
	t, _, err := mime.ParseMediaType(contentType)
	return err == nil && (t == typeJSON || t == "application/json" || t == "application/vnd.pypi.simple.latest+json")
}

func isHTMLPage(contentType string) bool {
	t, _, err := mime.ParseMediaType(contentType)
	return err == nil && (t == typeHTML || t == "text/html" || t == "application/xhtml+xml" ||
		t == "application/vnd.pypi.simple.latest+html")
}

// rewriteHTML changes the href of each anchor and passes all other tokens on as they are.
func rewriteHTML(body []byte, base *url.URL, offer bool, change rewrite) ([]byte, error) {
	z := html.NewTokenizer(bytes.NewReader(body))
	var out bytes.Buffer
	skip := 0 // inside an anchor that was taken off
	for {
		kind := z.Next()
		if kind == html.ErrorToken {
			if err := z.Err(); !errors.Is(err, io.EOF) {
				return nil, fmt.Errorf("parse index page: %w", err)
			}
			return out.Bytes(), nil
		}
		raw := bytes.Clone(z.Raw())
		t := z.Token()
		tag := kind == html.StartTagToken || kind == html.SelfClosingTagToken
		switch {
		case tag && t.Data == "base":
			if href, ok := attr(t, "href"); ok {
				if u, err := base.Parse(strings.TrimSpace(href)); err == nil {
					base = u
				}
			}
			continue // links are absolute now
		case tag && t.Data == "a":
			skip = 0
			raw = rewriteAnchor(t, raw, base, offer, change)
			if raw == nil {
				skip = 1
				continue
			}
		case kind == html.EndTagToken && t.Data == "a" && skip > 0:
			skip = 0
			continue
		}
		if skip == 0 {
			out.Write(raw)
		}
	}
}

// rewriteAnchor returns the anchor's new text, nil when it is taken off; one without a usable link stays.
func rewriteAnchor(t html.Token, raw []byte, base *url.URL, offer bool, change rewrite) []byte {
	href, ok := attr(t, "href")
	if !ok {
		return raw
	}
	l, ok := newLink(base, href)
	if !ok {
		return raw
	}
	for _, name := range []string{"data-core-metadata", "data-dist-info-metadata"} {
		if v, ok := attr(t, name); ok && l.meta == "" {
			l.meta, l.hasMeta = fragmentDigest(v), l.hasMeta || v != "false"
		}
	}
	to := change(l)
	if to == "" {
		return nil
	}
	for i := range t.Attr {
		if t.Attr[i].Key == "href" {
			t.Attr[i].Val = to
		}
	}
	if offer && !l.hasMeta && strings.HasSuffix(l.name, ".whl") {
		t.Attr = append(t.Attr, html.Attribute{Key: "data-core-metadata", Val: "true"})
	}
	return []byte(t.String())
}

func attr(t html.Token, name string) (string, bool) {
	for _, a := range t.Attr {
		if a.Key == name {
			return a.Val, true
		}
	}
	return "", false
}

// newLink reads a page's link; ok is false for what leads to no file over HTTP.
func newLink(base *url.URL, href string) (link, bool) {
	u, err := base.Parse(strings.TrimSpace(href))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return link{}, false
	}
	l := link{fragment: u.EscapedFragment(), digest: fragmentDigest(u.Fragment), name: path.Base(u.Path)}
	c := *u
	c.Fragment, c.RawFragment = "", ""
	l.url = &c
	return l, true
}

// fragmentDigest reads "sha256=<hex>", alone or among other fields of a fragment.
func fragmentDigest(s string) digest.Digest {
	for field := range strings.SplitSeq(s, "&") {
		if hex, ok := strings.CutPrefix(field, "sha256="); ok {
			return sha256Digest(hex)
		}
	}
	return ""
}

func sha256Digest(encoded string) digest.Digest {
	if raw, err := hex.DecodeString(encoded); err != nil || len(raw) != 32 {
		return ""
	}
	return digest.NewDigestFromEncoded(digest.SHA256, strings.ToLower(encoded))
}

// htmlPage turns a rewritten JSON page into HTML, for a client that does not read JSON.
func htmlPage(body []byte) ([]byte, error) {
	var page struct {
		Name  string
		Files []struct {
			Filename, URL  string
			Hashes         map[string]string
			RequiresPython string `json:"requires-python"`
			Yanked         any
			Core           json.RawMessage `json:"core-metadata"`
			DistInfo       json.RawMessage `json:"dist-info-metadata"`
		}
	}
	if err := json.Unmarshal(body, &page); err != nil {
		return nil, fmt.Errorf("parse index page: %w", err)
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "<!DOCTYPE html>\n<html><head><meta name=\"pypi:repository-version\" content=\"1.0\">"+
		"<title>Links for %s</title></head>\n<body>\n", html.EscapeString(page.Name))
	for _, f := range page.Files {
		a := html.Token{Type: html.StartTagToken, Data: "a"}
		add := func(k, v string) { a.Attr = append(a.Attr, html.Attribute{Key: k, Val: v}) }
		if h := f.Hashes["sha256"]; h != "" {
			f.URL += "#sha256=" + h
		}
		add("href", f.URL)
		if f.RequiresPython != "" {
			add("data-requires-python", f.RequiresPython)
		}
		switch y := f.Yanked.(type) {
		case string:
			add("data-yanked", y)
		case bool:
			if y {
				add("data-yanked", "")
			}
		}
		for _, raw := range []json.RawMessage{f.Core, f.DistInfo} {
			if d := jsonHash(raw); d != "" {
				add("data-core-metadata", "sha256="+d.Encoded())
				add("data-dist-info-metadata", "sha256="+d.Encoded())
				break
			}
			if string(raw) == "true" {
				add("data-core-metadata", "true")
				add("data-dist-info-metadata", "true")
				break
			}
		}
		fmt.Fprintf(&out, "%s%s</a><br>\n", a, html.EscapeString(f.Filename))
	}
	out.WriteString("</body></html>\n")
	return out.Bytes(), nil
}
