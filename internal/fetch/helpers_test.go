package fetch

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/testneeds"
)

// TestMain runs the test binary as a second process where a test asks for that.
func TestMain(m *testing.M) {
	if os.Getenv("FETCH_CHILD_URL") != "" {
		os.Exit(child())
	}
	os.Exit(m.Run())
}

// child fetches one artifact and prints its digest as it read it.
func child() int {
	f, err := New(Options{Store: os.Getenv("FETCH_CHILD_STORE"), Netrc: "-"})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	d := digest.Digest(os.Getenv("FETCH_CHILD_DIGEST"))
	f.Add(Item{Digest: d, URL: os.Getenv("FETCH_CHILD_URL")})
	r, _, err := f.Open(context.Background(), d)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer shut(r)
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(digest.NewDigest(digest.SHA256, h))
	return 0
}

// skip skips a test that this machine cannot run, and says why.
func skip(t *testing.T, format string, args ...any) {
	t.Helper()
	testneeds.Skip(t, fmt.Sprintf(format, args...))
}

// noise is n bytes that do not compress, the same for the same seed.
func noise(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// mirror is a real HTTP server that counts, and has faults.
type mirror struct {
	*httptest.Server
	mu   sync.Mutex
	reqs []*http.Request
}

// newMirror serves by h; nil serves data by the rules of HTTP, ranges included.
func newMirror(t *testing.T, data []byte, h http.HandlerFunc) *mirror {
	t.Helper()
	m := &mirror{}
	if h == nil {
		h = func(w http.ResponseWriter, r *http.Request) { serve(w, r, data) }
	}
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		m.reqs = append(m.reqs, r.Clone(context.WithoutCancel(r.Context())))
		m.mu.Unlock()
		h(w, r)
	}))
	t.Cleanup(func() {
		m.CloseClientConnections()
		m.Close()
	})
	return m
}

func serve(w http.ResponseWriter, r *http.Request, data []byte) {
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(data)))
}

func (m *mirror) requests() []*http.Request {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]*http.Request(nil), m.reqs...)
}

// cut sends the header of the whole and n bytes of what was asked for, and closes the connection.
func cut(w http.ResponseWriter, r *http.Request, data []byte, n int, ranges bool) {
	start := 0
	if v, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok && ranges {
		start, _ = strconv.Atoi(strings.TrimSuffix(v, "-"))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, len(data)-1, len(data)))
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(data)-start))
	if start > 0 {
		w.WriteHeader(http.StatusPartialContent)
	}
	_, _ = w.Write(data[start:min(start+n, len(data))])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// rig is a Fetcher with mirrors that are asked in their order for the path of any canonical URL.
type rig struct {
	*Fetcher
	o     Options
	mu    sync.Mutex
	warns []string
}

func (r *rig) warnings() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.warns, "\n")
}

// fast is Options with short pauses. A test of a mirror that stalls sets a short StallTimeout.
func fast(t *testing.T) Options {
	return Options{
		Store: t.TempDir(), Netrc: "-", Backoff: time.Millisecond, MaxRetryAfter: 5 * time.Second,
		DialTimeout: 10 * time.Second, HeaderTimeout: 10 * time.Second, StallTimeout: 10 * time.Second,
	}
}

func newRig(t *testing.T, o Options, mirrors ...*mirror) *rig {
	t.Helper()
	r := &rig{}
	if o.Candidates == nil {
		o.Candidates = func(u *url.URL) []Candidate {
			var out []Candidate
			for i, m := range mirrors {
				out = append(out, Candidate{Mirror: fmt.Sprintf("m%d", i+1), URL: m.URL + u.EscapedPath()})
			}
			return out
		}
	}
	o.Warn = func(s string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.warns = append(r.warns, s)
	}
	f, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	r.Fetcher, r.o = f, o
	return r
}

// want adds data as an artifact at a canonical URL.
func (r *rig) want(data []byte) digest.Digest {
	d := digest.FromBytes(data)
	r.Add(Item{Digest: d, Size: int64(len(data)),
		URL: "https://files.example.org/packages/a/" + d.Encoded()[:8] + ".whl"})
	return d
}

// read opens an artifact and reads it whole.
func (r *rig) read(t *testing.T, d digest.Digest) ([]byte, error) {
	t.Helper()
	rc, size, err := r.Open(t.Context(), d)
	if err != nil {
		return nil, err
	}
	defer shut(rc)
	b, err := io.ReadAll(rc)
	if err == nil && int64(len(b)) != size {
		t.Errorf("Open said %d bytes, %d came", size, len(b))
	}
	return b, err
}

// mustRead fails unless an artifact comes and has its digest.
func (r *rig) mustRead(t *testing.T, d digest.Digest) {
	t.Helper()
	b, err := r.read(t, d)
	if err != nil {
		t.Fatal(err)
	}
	if got := digest.FromBytes(b); got != d {
		t.Fatalf("got %s, want %s", got, d)
	}
}

// newRigDirect is a rig whose canonical URLs are asked themselves.
func newRigDirect(t *testing.T, o Options) *rig {
	t.Helper()
	f, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return &rig{Fetcher: f, o: o}
}

// through asks a proxy for a URL.
func through(t *testing.T, proxy, target string, h http.Header) (*http.Response, string) {
	t.Helper()
	p, err := url.Parse(proxy)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{
		Transport:     &http.Transport{Proxy: http.ProxyURL(p), DisableCompression: true, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	if h != nil {
		req.Header = h
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer shut(resp.Body)
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return resp, string(b) + "\x00" + err.Error()
	}
	return resp, string(b)
}
