package uv

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestPagesAreAskedForOnce: questions of one resolver see one state of the index, whatever it lets others keep.
func TestPagesAreAskedForOnce(t *testing.T) {
	n := 0
	g := &handlerGateway{handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n++
		switch r.URL.Path {
		case "/simple/missing/":
			http.NotFound(w, r)
		case "/simple/cut/":
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "half")
		case "/simple/large/":
			_, _ = io.WriteString(w, strings.Repeat("x", maxPage+1))
		default:
			w.Header().Set("Content-Type", "text/"+r.Header.Get("Accept"))
			_, _ = fmt.Fprintf(w, "%s %d", r.URL, n)
		}
	})}
	known := &pages{}
	ask := func(q Question, u, accept string) (string, string) {
		t.Helper()
		p, err := openProxy(g, q, nil, known)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = p.Close() }()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", accept)
		resp, err := client(t, p, url.UserPassword("raybuild", p.secret)).Do(req)
		if err != nil {
			return "", err.Error()
		}
		defer func() { _ = resp.Body.Close() }()
		body, _ := io.ReadAll(resp.Body)
		return string(body), resp.Header.Get("Content-Type")
	}
	own := Question{Projects: map[string]string{"a": "https://own.example/simple"}}
	for _, c := range []struct {
		what   string
		q      Question
		url    string
		accept string
		asked  int // after it
		want   string
	}{
		{"the first question", Question{}, "http://pypi.org/simple/a/", "html", 1, "http://pypi.org/simple/a/ 1"},
		{"the same page", Question{}, "http://pypi.org/simple/a/", "html", 1, "http://pypi.org/simple/a/ 1"},
		{"in another form", Question{}, "http://pypi.org/simple/a/", "json", 2, "http://pypi.org/simple/a/ 2"},
		{"of another index", own, "http://pypi.org/simple/a/", "html", 3, "http://own.example/simple/a/ 3"},
		{"of that index again", own, "http://pypi.org/simple/a/", "html", 3, "http://own.example/simple/a/ 3"},
		{"a file", Question{}, "http://pypi.org/packages/a.whl", "html", 4, "http://pypi.org/packages/a.whl 4"},
		{"the file again: files are uv's to keep", Question{}, "http://pypi.org/packages/a.whl", "html", 5,
			"http://pypi.org/packages/a.whl 5"},
	} {
		body, kind := ask(c.q, c.url, c.accept)
		if body != c.want || kind != "text/"+c.accept || n != c.asked {
			t.Errorf("%s: %q (%s) after %d requests, want %q after %d", c.what, body, kind, n, c.want, c.asked)
		}
	}
	for _, name := range []string{"missing", "cut", "large"} {
		before := n
		ask(Question{}, "http://pypi.org/simple/"+name+"/", "html")
		ask(Question{}, "http://pypi.org/simple/"+name+"/", "html")
		if n != before+2 {
			t.Errorf("the page %q was asked for %d times, want 2: nothing of it may be kept", name, n-before)
		}
	}
	for key, kept := range known.m {
		kept.asked = time.Now().Add(-maxPageAge)
		known.m[key] = kept
	}
	if ask(Question{}, "http://pypi.org/simple/a/", "html"); n != 12 {
		t.Errorf("%d requests, want 12: an old page is asked for again", n)
	}
}
