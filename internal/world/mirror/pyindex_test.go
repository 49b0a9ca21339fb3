package mirror_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/world/mirror"
)

// index is a Python index whose one file comes in two halves, the second when it is told to.
type index struct {
	asked atomic.Int64
	half  chan struct{}
}

func (i *index) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.asked.Add(1)
	switch r.URL.Path {
	case "/simple/ray/":
		if strings.Contains(r.Header.Get("Accept"), "json") {
			w.Header().Set("Content-Type", "application/vnd.pypi.simple.v1+json")
			_, _ = io.WriteString(w, `{"files": [{"url": "https://files.pythonhosted.org/packages/ab/ray.whl"}]}`)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, `<a href="../../packages/ab/ray.whl#sha256=0">ray.whl</a>`)
	case "/packages/ab/ray.whl":
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = w.Write(body[:len(body)/2])
		w.(http.Flusher).Flush()
		<-i.half
		_, _ = w.Write(body[len(body)/2:])
	default:
		http.NotFound(w, r)
	}
}

func newIndex(t *testing.T) (*index, *httptest.Server, string) {
	t.Helper()
	i := &index{half: make(chan struct{})}
	up := httptest.NewServer(i)
	t.Cleanup(up.Close)
	srv := httptest.NewServer(mirror.New(map[string]http.Handler{
		"real": &mirror.PyIndex{Upstream: up.URL + "/simple", Cache: &mirror.Cache{Dir: t.TempDir()}, Fresh: time.Hour},
	}))
	t.Cleanup(srv.Close)
	return i, up, srv.URL
}

func TestIndexServesPagesInTheFormThatIsAskedForAndAsksOnce(t *testing.T) {
	i, up, url := newIndex(t)
	page := func(accept string) (kind, text string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/real/simple/ray/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", accept)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		data, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v", resp.Status, err)
		}
		return resp.Header.Get("Content-Type"), string(data)
	}
	for range 2 {
		if kind, text := page("application/vnd.pypi.simple.v1+json"); !strings.Contains(kind, "json") ||
			!strings.Contains(text, `"../../packages/ab/ray.whl"`) {
			t.Errorf("as JSON: %s %s", kind, text)
		}
		if kind, text := page("text/html"); kind != "text/html" ||
			!strings.Contains(text, `"../../packages/ab/ray.whl#sha256=0"`) {
			t.Errorf("as HTML: %s %s", kind, text)
		}
	}
	if n := i.asked.Load(); n != 2 {
		t.Errorf("the real index was asked %d times, want once for each form", n)
	}
	up.Close()
	page("text/html")
	for path, want := range map[string]int{"/real/simple/other/": 502, "/real/simple/": 404, "/real/other": 404} {
		if got, _, err := get(t.Context(), url+path); got != want || err != nil {
			t.Errorf("%s: %d, %v, want %d", path, got, err, want)
		}
	}
}

func TestIndexServesAFileWhileItIsFetched(t *testing.T) {
	i, _, url := newIndex(t)
	resp, err := http.Get(url + "/real/packages/ab/ray.whl")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	first := make([]byte, len(body)/2)
	if _, err := io.ReadFull(resp.Body, first); err != nil || resp.ContentLength != int64(len(body)) {
		t.Fatalf("the first half, while the rest is being fetched: %v, length %d", err, resp.ContentLength)
	}
	// Two more come while it is under way: one for all, one for a range.
	var others sync.WaitGroup
	for _, want := range []struct{ rng, text string }{{"", string(body)}, {"bytes=9990-", string(body[9990:])}} {
		others.Go(func() {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/real/packages/ab/ray.whl", nil)
			if err != nil {
				t.Error(err)
				return
			}
			if want.rng != "" {
				req.Header.Set("Range", want.rng)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = resp.Body.Close() }()
			if data, err := io.ReadAll(resp.Body); err != nil || string(data) != want.text {
				t.Errorf("range %q: %v, %d bytes, want %d", want.rng, err, len(data), len(want.text))
			}
		})
	}
	close(i.half)
	rest, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Equal(append(first, rest...), body) {
		t.Errorf("the whole: %v, %d bytes", err, len(first)+len(rest))
	}
	others.Wait()
	if n := i.asked.Load(); n != 1 {
		t.Errorf("the real index was asked %d times for one file", n)
	}
}
