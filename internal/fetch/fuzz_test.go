package fetch

import (
	"archive/zip"
	"bytes"
	"io"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// FuzzRewritePage: whatever a mirror sends as a page, no rewritten link leads anywhere but through the gateway.
func FuzzRewritePage(f *testing.F) {
	f.Add(true, `<!DOCTYPE html><base href="/x/"><a href="../packages/a.whl#sha256=00" data-yanked>a</a><a>b</a></a>`)
	f.Add(true,
		`<a href='http://h/%2f%zz'><A HREF=//x/y><!-- <a href="q"> --><script><a href="/z"></script><textarea><a href=/t>`)
	f.Add(false,
		`{"files":[{"url":"../a.whl","filename":"a.whl","hashes":{"sha256":"00"},"core-metadata":{"sha256":1}},{"url":1}]}`)
	f.Add(false, `{"files":{"a":1}}`)
	base, _ := url.Parse("https://m.example/simple/a/")
	f.Fuzz(func(t *testing.T, isHTML bool, body string) {
		kind := typeJSON
		if isHTML {
			kind = "text/html"
		}
		out, err := rewritePage(kind, []byte(body), base, isHTML, func(l link) string {
			if l.url.Host == "" || l.url.Fragment != "" || l.digest != "" && l.digest.Validate() != nil {
				t.Fatalf("bad link %+v", l)
			}
			return "http://gateway.example/f"
		})
		if err != nil {
			return
		}
		links, err := readPage(kind, out, base)
		if err != nil {
			t.Fatalf("the rewritten page does not parse: %v", err)
		}
		for _, l := range links {
			if l.url.String() != "http://gateway.example/f" {
				t.Fatalf("link %s was not rewritten in %q", l.url, out)
			}
		}
		if !isHTML {
			page, err := htmlPage(out)
			if err != nil {
				return // keys of other types than the standard's
			}
			if _, err := html.Parse(strings.NewReader(string(page))); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzParseNetrc(f *testing.F) {
	f.Add("machine a login b password c\ndefault login x password y\nmacdef m\nx\n\nmachine d password \"e\\\"\"")
	f.Fuzz(func(t *testing.T, text string) {
		for host := range parseNetrc(text) {
			if host == "" || host != strings.ToLower(host) {
				t.Fatalf("host %q", host)
			}
		}
	})
}

func FuzzContentRange(f *testing.F) {
	f.Add("bytes 0-4/5")
	f.Add("bytes 5-9/*")
	f.Fuzz(func(t *testing.T, s string) {
		if start, all, ok := contentRange(s); ok && (start < 0 || all != 0 && all <= start) {
			t.Fatalf("%q: %d of %d", s, start, all)
		}
	})
}

func FuzzRedact(f *testing.F) {
	f.Add("https://", "u:p", "h/p?q")
	f.Fuzz(func(t *testing.T, before, secret, after string) {
		if secret == "" || strings.ContainsAny(secret, "/ \t\n\r\f\v\"'?#@") {
			return
		}
		s := "c4n4ry" + secret
		if got := redact(before + " https://" + s + "@h.example/" + after); strings.Contains(got, "c4n4ry") &&
			!strings.Contains(before+after, "c4n4ry") {
			t.Fatalf("%q has the secret", got)
		}
	})
}

// FuzzWheelMetadata: the metadata of a wheel is that which archive/zip reads, is not large, and reading it ends.
func FuzzWheelMetadata(f *testing.F) {
	wheel := func(names ...string) []byte {
		var out bytes.Buffer
		z := zip.NewWriter(&out)
		for _, n := range names {
			w, err := z.Create(n)
			if err == nil {
				_, err = io.WriteString(w, "Metadata-Version: 2.1\nName: a\nVersion: 1\n")
			}
			if err != nil {
				f.Fatal(err)
			}
		}
		if err := z.Close(); err != nil {
			f.Fatal(err)
		}
		return out.Bytes()
	}
	f.Add(wheel("a/__init__.py", "a-1.dist-info/METADATA"))
	f.Add(wheel("a-1.dist-info/METADATA", "b-1.dist-info/METADATA", "../x/a.dist-info/METADATA"))
	f.Fuzz(func(t *testing.T, data []byte) {
		text, err := wheelMetadata(bytes.NewReader(data), int64(len(data)))
		if err == nil && len(text) > maxMetadata {
			t.Fatalf("%d bytes of metadata", len(text))
		}
	})
}
