package fetch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

func TestOpenTakesEachArtifactOnce(t *testing.T) {
	t.Parallel()
	data := noise(1, 300<<10)
	m := newMirror(t, data, nil)
	r := newRig(t, fast(t), m)
	d := r.want(data)
	for range 3 {
		r.mustRead(t, d)
	}
	if n := len(m.requests()); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
	s := r.Stats()
	if s.Bytes != int64(len(data)) || s.StoreHits != 2 || s.Mirrors["m1"].Bytes != s.Bytes {
		t.Errorf("stats %+v", s)
	}
	other := newRig(t, Options{Store: r.o.Store, Netrc: "-"})
	other.mustRead(t, d) // by digest alone, by a Fetcher that knows no URL
}

func TestOpenFailsOver(t *testing.T) {
	t.Parallel()
	data := noise(2, 1<<20)
	for _, tc := range faults(t, data) {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			m1, m2 := newMirror(t, data, tc.first), newMirror(t, data, nil)
			o := fast(t)
			o.StallTimeout = 300 * time.Millisecond
			r := newRig(t, o, m1, m2)
			r.mustRead(t, r.want(data))
			s := r.Stats()
			if s.Bytes > tc.max {
				t.Errorf("%d bytes moved, want at most %d", s.Bytes, tc.max)
			}
			if s.Mirrors["m1"].Lies != tc.lies || s.Mirrors["m2"].Lies != 0 {
				t.Errorf("lies: %+v", s.Mirrors)
			}
			if w := r.warnings(); (tc.lies > 0) != strings.Contains(w, "mirror m1 sent wrong bytes") {
				t.Errorf("warnings: %q", w)
			}
			left, err := os.ReadDir(filepath.Join(r.o.Store, "partial"))
			if err != nil || len(left) > 0 {
				t.Errorf("left in partial/: %v, %v", left, err)
			}
		})
	}
}

// A mirror that stalls again and again, each time a little further on, is left for the next one after the first stall.
func TestOpenLeavesAMirrorThatStalls(t *testing.T) {
	t.Parallel()
	data := noise(6, 64<<10)
	m1 := newMirror(t, nil, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/simple/") {
			w.Header().Set("Content-Type", "text/html")
			_, _ = fmt.Fprintf(w, `<a href="/%[1]s">%[1]s</a>`, "a-1-py3-none-any.whl")
			return
		}
		from, _ := strconv.Atoi(strings.Trim(r.Header.Get("Range"), "bytes=-"))
		status := http.StatusOK
		if from > 0 {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
			status = http.StatusPartialContent
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(data)-from))
		w.WriteHeader(status)
		_, _ = w.Write(data[from : from+(len(data)-from)/2])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	m2 := newMirror(t, data, nil)
	o := fast(t)
	o.StallTimeout = 300 * time.Millisecond
	o.Candidates = func(*url.URL) []Candidate {
		const file = "/a-1-py3-none-any.whl"
		return []Candidate{{Mirror: "m1", URL: m1.URL + file}, {Mirror: "m1", Index: m1.URL + "/simple/a/"},
			{Mirror: "m2", URL: m2.URL + file}}
	}
	r := newRig(t, o)
	r.mustRead(t, r.want(data))
	if n, s := len(m1.requests()), r.Stats(); n != 1 || s.Mirrors["m2"].Resumes != 1 {
		t.Errorf("the mirror that stalls was asked %d times, want once; %+v", n, s)
	}
}

func TestOpenResumesAtTheOnlyMirror(t *testing.T) {
	t.Parallel()
	data := noise(3, 1<<20)
	tests := []struct {
		name   string
		ranges bool
		cuts   int32 // more than four only where each try brings something new
		bytes  int64
	}{
		{"with ranges", true, 5, 1 << 20},
		{"from the start without ranges", false, 3, 3*200<<10 + 1<<20},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			var n atomic.Int32
			m := newMirror(t, data, func(w http.ResponseWriter, r *http.Request) {
				if n.Add(1) <= tc.cuts {
					cut(w, r, data, 200<<10, tc.ranges)
				}
				if !tc.ranges {
					r.Header.Del("Range")
				}
				serve(w, r, data)
			})
			r := newRig(t, fast(t), m)
			r.mustRead(t, r.want(data))
			if got := r.Stats().Bytes; got != tc.bytes {
				t.Errorf("%d bytes moved, want %d", got, tc.bytes)
			}
		})
	}
}

func TestOpenDoesNotMixALiarsBytesIn(t *testing.T) {
	t.Parallel()
	data := noise(4, 1<<20)
	bad := noise(5, 1<<20)
	liar := newMirror(t, nil, func(w http.ResponseWriter, r *http.Request) { cut(w, r, bad, 500<<10, true) })
	good := newMirror(t, data, nil)
	r := newRig(t, fast(t), liar, good)
	r.mustRead(t, r.want(data))
	if s := r.Stats(); s.Mirrors["m2"].Lies != 0 {
		t.Errorf("the good mirror is blamed: %+v", s.Mirrors)
	}
}

func TestOpenNamesAllThatItTried(t *testing.T) {
	t.Parallel()
	m1 := newMirror(t, nil, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404) })
	m2 := newMirror(t, nil, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) })
	r := newRig(t, fast(t), m1, m2)
	d := r.want([]byte("nowhere"))
	_, err := r.read(t, d)
	var nf *NotFoundError
	if !errors.As(err, &nf) {
		t.Fatalf("got %v", err)
	}
	if len(nf.Tried) != 3 || nf.Tried[0].Status != 404 || nf.Tried[1].Status != 503 {
		t.Errorf("tried %+v", nf.Tried)
	}
	for _, s := range []string{nf.Name, d.String(), "m1", m1.URL, "404 Not Found", "m2", m2.URL, "503"} {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("error %q does not say %q", err, s)
		}
	}
	if len(m1.requests()) != 1 || len(m2.requests()) != 2 {
		t.Errorf("%d and %d requests, want 1 and 2", len(m1.requests()), len(m2.requests()))
	}
	_, err = r.read(t, digest.FromString("unknown"))
	if !errors.As(err, &nf) || !strings.Contains(err.Error(), "no mirror serves it") {
		t.Errorf("unknown digest: %v", err)
	}
	if _, err := r.read(t, "sha256:../../etc/passwd"); err == nil {
		t.Error("a digest that is none was opened")
	}
}

func TestOpenHonoursRetryAfter(t *testing.T) {
	t.Parallel()
	data := noise(6, 1000)
	busy := func(seconds string, times int32) (*mirror, *[]time.Time) {
		var n atomic.Int32
		var at []time.Time
		m := newMirror(t, data, func(w http.ResponseWriter, r *http.Request) {
			at = append(at, time.Now())
			if n.Add(1) <= times {
				w.Header().Set("Retry-After", seconds)
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			serve(w, r, data)
		})
		return m, &at
	}
	t.Run("and waits at the only mirror", func(t *testing.T) {
		m, at := busy("1", 1)
		r := newRig(t, fast(t), m)
		r.mustRead(t, r.want(data))
		if len(*at) != 2 || (*at)[1].Sub((*at)[0]) < 950*time.Millisecond {
			t.Errorf("asked at %v", *at)
		}
	})
	t.Run("and takes the next mirror meanwhile", func(t *testing.T) {
		m, at := busy("30", 1)
		o := fast(t)
		o.MaxRetryAfter = time.Minute
		r := newRig(t, o, m, newMirror(t, data, nil))
		r.mustRead(t, r.want(data))
		if len(*at) != 1 {
			t.Errorf("the busy mirror was asked at %v, want once", *at)
		}
	})
	t.Run("but not for longer than the limit", func(t *testing.T) {
		m, _ := busy("3600", 100)
		r := newRig(t, fast(t), m)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // of an hour that it would wait
		defer cancel()
		_, _, err := r.Open(ctx, r.want(data))
		var nf *NotFoundError
		if !errors.As(err, &nf) || len(m.requests()) != 1 {
			t.Errorf("%v after %d requests", err, len(m.requests()))
		}
	})
}

func TestOpenOfTheSameDigestDownloadsOnce(t *testing.T) {
	t.Parallel()
	data := noise(7, 1<<20)
	go1, go2 := make(chan struct{}), make(chan struct{})
	var once sync.Once
	m := newMirror(t, data, func(w http.ResponseWriter, r *http.Request) {
		once.Do(func() { close(go1) })
		<-go2
		serve(w, r, data)
	})
	o := fast(t)
	r := newRig(t, o, m)
	d := r.want(data)
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, _, err := r.Open(ctx, d)
		first <- err
	}()
	<-go1
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			b, err := r.read(t, d)
			if err != nil || digest.FromBytes(b) != d {
				t.Errorf("read: %v", err)
			}
		})
	}
	for r.refs(d) < 11 {
		time.Sleep(time.Millisecond)
	}
	cancel() // the first caller goes; the others still get it
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled Open: %v", err)
	}
	close(go2)
	wg.Wait()
	if n := len(m.requests()); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

func (r *rig) refs(d digest.Digest) int {
	r.Fetcher.mu.Lock()
	defer r.Fetcher.mu.Unlock()
	if fl := r.flights[d]; fl != nil {
		return fl.refs
	}
	return 0
}

func TestOpenStopsAtOnceWhenCancelled(t *testing.T) {
	t.Parallel()
	data := noise(8, 1<<20)
	started, gone := make(chan struct{}), make(chan struct{})
	m := newMirror(t, data, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		_, _ = w.Write(data[:1000])
		_ = http.NewResponseController(w).Flush()
		close(started)
		<-r.Context().Done()
		close(gone)
	})
	o := fast(t)
	o.StallTimeout = time.Hour
	r := newRig(t, o, m)
	d := r.want(data)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-started; cancel() }()
	if _, _, err := r.Open(ctx, d); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	select {
	case <-gone: // the mirror saw the connection end
	case <-time.After(time.Minute):
		t.Error("the download goes on though nobody wants it")
	}
}

func TestOpenLimitsRequests(t *testing.T) {
	t.Parallel()
	const limit = 3
	var now, peak atomic.Int32
	full := make(chan struct{}) // as many requests as may be are under way
	var once sync.Once
	blobs := map[string][]byte{}
	m := newMirror(t, nil, func(w http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for p := peak.Load(); n > p && !peak.CompareAndSwap(p, n); p = peak.Load() {
		}
		if n >= limit {
			once.Do(func() { close(full) })
		}
		select {
		case <-full:
		case <-time.After(time.Minute):
		}
		serve(w, r, blobs[filepath.Base(r.URL.Path)])
	})
	o := fast(t)
	o.PerHost, o.Total = limit, limit+1
	r := newRig(t, o, m)
	var ds []digest.Digest
	for i := range 30 {
		b := noise(uint64(100+i), 2000)
		d := r.want(b)
		blobs[d.Encoded()[:8]+".whl"] = b
		ds = append(ds, d)
	}
	var wg sync.WaitGroup
	for _, d := range ds {
		wg.Go(func() {
			if _, err := r.read(t, d); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if p := peak.Load(); p != limit {
		t.Errorf("%d requests at once, want %d", p, limit)
	}
}

func TestOpenAsksADeadMirrorLast(t *testing.T) {
	t.Parallel()
	dead := newMirror(t, nil, func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })
	blobs := map[string][]byte{}
	good := newMirror(t, nil, func(w http.ResponseWriter, r *http.Request) {
		serve(w, r, blobs[filepath.Base(r.URL.Path)])
	})
	r := newRig(t, fast(t), dead, good)
	for i := range 20 {
		b := noise(uint64(200+i), 100)
		d := r.want(b)
		blobs[d.Encoded()[:8]+".whl"] = b
		r.mustRead(t, d)
	}
	if n := len(dead.requests()); n > 4 { // net/http itself repeats one on a kept connection
		t.Errorf("%d requests to a dead mirror for 20 artifacts", n)
	}
}
