package fetch

import (
	"net/http"
	"strconv"
	"testing"
	"time"
)

// fault is what the first of two mirrors does wrong.
type fault struct {
	name  string
	first http.HandlerFunc
	max   int64 // bytes from both mirrors
	lies  int
}

func faults(t *testing.T, data []byte) []fault {
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(code) }
	}
	block := make(chan struct{})
	t.Cleanup(func() { close(block) })
	stall := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(data)))
			_, _ = w.Write(data[:n])
			_ = http.NewResponseController(w).Flush()
			select {
			case <-block:
			case <-r.Context().Done():
			}
		}
	}
	drip := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		for i := range data {
			if _, err := w.Write(data[i : i+1]); err != nil || r.Context().Err() != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			time.Sleep(5 * time.Millisecond)
		}
	}
	wrong := append([]byte(nil), data...)
	wrong[len(wrong)-1] ^= 1
	return []fault{
		{"at 404", status(404), 1 << 20, 0},
		{"at 403", status(403), 1 << 20, 0},
		{"at 500", status(500), 1 << 20, 0},
		{"at a cut, going on where it was", func(w http.ResponseWriter, r *http.Request) {
			cut(w, r, data, 600<<10, true)
		}, 1 << 20, 0},
		{"at a stall, going on where it was", stall(600 << 10), 1 << 20, 0},
		{"at a stall before the first byte", stall(0), 1 << 20, 0},
		{"at a trickle", drip, 1<<20 + 64<<10, 0},
		{"at wrong bytes", func(w http.ResponseWriter, r *http.Request) { serve(w, r, wrong) }, 2 << 20, 1},
		{"at a wrong size", func(w http.ResponseWriter, r *http.Request) { serve(w, r, data[:5000]) }, 1<<20 + 5000, 1},
		{"at more bytes than the artifact has", func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			_, _ = w.Write(data)
			_, _ = w.Write(data)
		}, 3 << 20, 1},
		{"at an encoding that was not asked for", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(data)
		}, 1<<20 + 64<<10, 0},
		{"at an endless redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/again", http.StatusFound)
		}, 1 << 20, 0},
	}
}
