package faultyregistry

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Read tells whether r reads a blob.
func Read(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && strings.Contains(r.URL.Path, "/blobs/sha256:")
}

// ReadManifest tells whether r reads a manifest.
func ReadManifest(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && strings.Contains(r.URL.Path, "/manifests/")
}

// Write tells whether r may change something.
func Write(r *http.Request) bool { return r.Method != http.MethodGet && r.Method != http.MethodHead }

// Any is every request.
func Any(*http.Request) bool { return true }

// Saying answers all requests of a kind with a text.
func Saying(kind Kind, text string) Middleware {
	return handle(func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if !kind(r) {
			return false
		}
		_, _ = io.WriteString(w, text) // the client sees what it did not get
		return true
	})
}

// Refusing answers all requests of a kind with a status.
func Refusing(kind Kind, status int) Middleware { return Failing(kind, 1<<60, status) }

// Silent never answers requests of a kind.
func Silent(ctx context.Context, kind Kind) Middleware { return Stalling(ctx, kind, 1<<60, time.Hour) }

// Long puts a fault before reads of blobs that are at least so long; who asks by HEAD for them learns the truth.
func Long(size int, fault Middleware) Middleware {
	return func(next http.Handler) http.Handler {
		spoiled := fault(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && Read(r) {
				asked := discard{http.Header{}}
				head := r.Clone(r.Context())
				head.Method = http.MethodHead
				next.ServeHTTP(asked, head)
				if n, err := strconv.Atoi(asked.header.Get("Content-Length")); err == nil && n >= size {
					spoiled.ServeHTTP(w, r)
					return
				}
			}
			next.ServeHTTP(w, r)
		})
	}
}

// Slow sends so many bytes of each answer a second.
func Slow(rate int) Middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(slowWriter{w, r.Context().Done(), rate}, r)
		})
	}
}

// slowWriter sends so many bytes a second, until the request ends.
type slowWriter struct {
	http.ResponseWriter
	done <-chan struct{}
	rate int
}

// Write implements io.Writer.
func (w slowWriter) Write(p []byte) (n int, err error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for n < len(p) {
		k, err := w.ResponseWriter.Write(p[n:min(len(p), n+w.rate/10)])
		if n += k; err != nil {
			return n, err
		}
		if err := http.NewResponseController(w.ResponseWriter).Flush(); err != nil {
			return n, err
		}
		select {
		case <-tick.C:
		case <-w.done:
			return n, context.Canceled
		}
	}
	return n, nil
}
