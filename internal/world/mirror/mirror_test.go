package mirror_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/world/mirror"
)

var body = bytes.Repeat([]byte("0123456789"), 1000)

func newMirror(t *testing.T) (*mirror.Server, string) {
	t.Helper()
	m := mirror.New(map[string]http.Handler{"part": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "x.bin", time.Time{}, bytes.NewReader(body))
	})})
	srv := httptest.NewServer(m)
	t.Cleanup(srv.Close)
	return m, srv.URL
}

func get(ctx context.Context, url string) (status int, data []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	// On a connection that was used before, the client asks again by itself when it breaks.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err = io.ReadAll(resp.Body)
	return resp.StatusCode, data, err
}

func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		mode   string
		status int
		wants  func(data []byte, err error) bool
	}{
		"404": {"404", 404, func([]byte, error) bool { return true }},
		"429": {"429", 429, func([]byte, error) bool { return true }},
		"lying": {"lying", 200, func(d []byte, err error) bool {
			return err == nil && len(d) == len(body) &&
				!bytes.Equal(d, body)
		}},
		"truncate": {"truncate", 200, func(d []byte, err error) bool {
			return errors.Is(err, io.ErrUnexpectedEOF) &&
				len(d) == len(body)/2
		}},
		"broken": {"broken", 0, func(_ []byte, err error) bool { return err != nil }},
	} {
		t.Run(name, func(t *testing.T) {
			m, url := newMirror(t)
			if err := m.Fault(mirror.Fault{Match: "^/part/bad", Mode: c.mode, Times: 2, After: 1}); err != nil {
				t.Fatal(err)
			}
			for i := range 4 {
				status, data, err := get(t.Context(), url+"/part/bad")
				if faulty := i == 1 || i == 2; !faulty && (status != 200 || err != nil || !bytes.Equal(data, body)) {
					t.Errorf("request %d: %d, %v, %d bytes", i, status, err, len(data))
				} else if faulty && (status != c.status || !c.wants(data, err)) {
					t.Errorf("faulty request %d: %d, %v, %d bytes", i, status, err, len(data))
				}
			}
			if status, data, err := get(t.Context(), url+"/part/good"); status != 200 ||
				err != nil || !bytes.Equal(data, body) {
				t.Errorf("another path: %d, %v", status, err)
			}
		})
	}
}

func TestStallEndsWithTheClient(t *testing.T) {
	m, url := newMirror(t)
	if err := m.Fault(mirror.Fault{Mode: "stall"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, data, err := get(ctx, url+"/part/x"); !errors.Is(err, context.DeadlineExceeded) || len(data) != len(body)/2 {
		t.Errorf("%v, %d bytes", err, len(data))
	}
}

func TestSlowIsSlowAndRight(t *testing.T) {
	m, url := newMirror(t)
	if err := m.Fault(mirror.Fault{Mode: "slow", BytesPerSecond: 40000}); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	_, data, err := get(t.Context(), url+"/part/x")
	if took := time.Since(start); err != nil || !bytes.Equal(data, body) || took < 200*time.Millisecond {
		t.Errorf("%v, %d bytes in %s", err, len(data), took)
	}
}

func TestControl(t *testing.T) {
	m, url := newMirror(t)
	post := func(text string) int {
		resp, err := http.Post(url+"/_world/fault", "application/json", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	for _, bad := range []string{`{"mode": "nonsense"}`, `{"match": "(", "mode": "slow"}`, `{"mod": "slow"}`,
		`{"mode": "200"}`, ``} {
		if post(bad) != 400 {
			t.Errorf("%q was taken", bad)
		}
	}
	if post(`{"match": "x", "mode": "404"}`) != 200 || post(`{"match": "y", "mode": "503"}`) != 200 ||
		post(`{"match": "x", "mode": "off"}`) != 200 {
		t.Error("faults were not taken")
	}
	for path, want := range map[string]int{"/part/x": 200, "/part/y": 503, "/other": 404} {
		if got, _, _ := get(t.Context(), url+path); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	if err := m.Fault(mirror.Fault{Mode: "off"}); err != nil {
		t.Fatal(err)
	}
	if got, _, _ := get(t.Context(), url+"/part/y"); got != 200 {
		t.Errorf("after off: %d", got)
	}
	_, data, _ := get(t.Context(), url+"/_world/stats")
	var s mirror.Stats
	if err := json.Unmarshal(data, &s); err != nil || s.Requests != 4 || s.Classes["part"].Requests != 3 ||
		s.Classes["part"].Bytes < int64(2*len(body)) {
		t.Errorf("%v: %s", err, data)
	}
	if log := m.Log(); len(log) != 4 {
		t.Errorf("%+v", log)
	}
	m.ResetStats()
	if s := m.Stats(); s.Requests != 0 || len(m.Log()) != 0 {
		t.Errorf("after a reset: %+v", s)
	}
}

func TestProxyFetchesOnceAndServesWithoutTheMirror(t *testing.T) {
	var asked atomic.Int64
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if strings.Contains(r.URL.Path, "gone") {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
		_, _ = w.Write(body)
	}))
	srv := httptest.NewServer(mirror.New(map[string]http.Handler{"debian": &mirror.Proxy{Upstream: up.URL + "/debian",
		Cache: &mirror.Cache{Dir: t.TempDir()}, Fresh: time.Nanosecond}}))
	defer srv.Close()
	expect := func(path string, status int, requests int64) {
		t.Helper()
		before := asked.Load()
		got, data, err := get(t.Context(), srv.URL+path)
		if err != nil || got != status || status == 200 && !bytes.Equal(data, body) || asked.Load()-before != requests {
			t.Errorf("%s: %d, %v, %d requests", path, got, err, asked.Load()-before)
		}
	}
	expect("/debian/pool/a.deb", 200, 1)
	expect("/debian/pool/a.deb", 200, 0)
	expect("/debian/dists/x/InRelease", 200, 1)
	expect("/debian/dists/x/InRelease", 200, 1) // stale at once
	expect("/debian/pool/gone.deb", 404, 1)
	expect("/debian/pool/gone.deb", 404, 1)
	up.Close()
	expect("/debian/pool/a.deb", 200, 0)
	expect("/debian/dists/x/InRelease", 200, 0) // stale, and better than nothing
	expect("/debian/pool/b.deb", 502, 0)
	resp, err := http.Get(srv.URL + "/debian/pool/a.deb")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if got := resp.Header.Get("Last-Modified"); got != "Mon, 01 Jan 2024 00:00:00 GMT" {
		t.Errorf("Last-Modified %q", got)
	}
}
