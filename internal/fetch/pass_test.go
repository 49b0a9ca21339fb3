package fetch

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// passed is what the first of two mirrors does; the second has big.
type passed struct {
	name   string
	first  http.HandlerFunc
	header http.Header // of the request
	status int
	body   string // "…": cut off
}

func passes(big []byte, serveBig http.HandlerFunc) []passed {
	stamp := bigStamp
	zipped := []byte("\x1f\x8b not really gzip: nobody may look into it")
	return []passed{
		{"encodings as they are", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(zipped)
		}, http.Header{"Accept-Encoding": {"gzip, zstd"}}, 200, string(zipped)},
		{"conditional requests", serveBig, http.Header{"If-Modified-Since": {stamp.Format(http.TimeFormat)}}, 304, ""},
		{"ranges", serveBig, http.Header{"Range": {"bytes=0-9"}}, 206, string(big[:10])},
		{"an empty file", func(w http.ResponseWriter, r *http.Request) {}, nil, 200, ""},
		{"the next mirror's at 404", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404) }, nil,
			200, string(big)},
		{"the next mirror's at 500", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) }, nil,
			200, string(big)},
		{"the next mirror's at a lost connection", func(w http.ResponseWriter, r *http.Request) {
			panic(http.ErrAbortHandler)
		}, nil, 200, string(big)},
		{"the next mirror's when nothing follows the header", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, nil, 200, string(big)},
		{"the rest of the same file from the next mirror", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Last-Modified", stamp.Format(http.TimeFormat))
			cut(w, r, big, 300<<10, false)
		}, nil, 200, string(big)},
		{"nothing of another version of the file", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Last-Modified", stamp.Add(time.Hour).Format(http.TimeFormat))
			cut(w, r, big, 300<<10, false)
		}, nil, 200, "…"},
		{"nothing else when the version is not known", func(w http.ResponseWriter, r *http.Request) {
			cut(w, r, big, 300<<10, false)
		}, nil, 200, "…"},
	}
}

var bigStamp = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestGatewayPassesOn(t *testing.T) {
	t.Parallel()
	big := noise(45, 1<<20)
	serveBig := func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", bigStamp, bytes.NewReader(big))
	}
	for _, tc := range passes(big, serveBig) {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			o := fast(t)
			o.StallTimeout = 300 * time.Millisecond
			r := newRig(t, o, newMirror(t, nil, tc.first), newMirror(t, nil, serveBig))
			resp, body := through(t, gatewayOf(t, r), "http://o.example/dists/x/Packages.xz", tc.header)
			if resp.StatusCode != tc.status {
				t.Fatalf("%s, want %d: %.200s", resp.Status, tc.status, body)
			}
			if tc.body == "…" {
				if !strings.Contains(body, io.ErrUnexpectedEOF.Error()) || r.warnings() == "" {
					t.Errorf("a cut file looks whole: %d bytes, warnings %q", len(body), r.warnings())
				}
				return
			}
			if body != tc.body {
				t.Errorf("got %d bytes, want %d", len(body), len(tc.body))
			}
		})
	}
}

func TestGatewayAnswersWhenNobodyHasIt(t *testing.T) {
	t.Parallel()
	code := func(c int) *mirror {
		return newMirror(t, nil, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(c) })
	}
	tests := []struct {
		name        string
		first, then int
		want        int
	}{
		{"nobody has it", 404, 410, 404},
		{"one knows that it is not there", 404, 500, 404},
		{"nobody answers", 500, 503, 502},
		{"nobody allows it", 403, 403, 403}, // S3 says so of files that are not there
		{"one does not allow it", 403, 500, 502},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, fast(t), code(tc.first), code(tc.then))
			resp, body := through(t, gatewayOf(t, r), "http://o.example/terms.json", nil)
			if resp.StatusCode != tc.want || !strings.Contains(body, "m1") ||
				!strings.Contains(body, strconv.Itoa(tc.first)) {
				t.Errorf("%s: %s", resp.Status, body)
			}
		})
	}
}

func TestGatewayKeepsPackagesThatPassThrough(t *testing.T) {
	t.Parallel()
	data := noise(46, 70<<10)
	m := newMirror(t, data, nil)
	r := newRig(t, fast(t), m)
	gw := gatewayOf(t, r)
	for range 2 {
		if _, b := through(t, gw, "http://o.example/p/hello-1.0.conda", nil); b != string(data) {
			t.Error("another file")
		}
	}
	r.mustRead(t, digest.FromBytes(data))
	if n := len(m.requests()); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}
