// Package faultyregistry stands before a registry and spoils what it answers and what it is sent, for tests and for the
// comparison of what pushes through that (bench/faults).
package faultyregistry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Middleware answers some requests in a registry's place.
type Middleware = func(next http.Handler) http.Handler

// Kind tells whether a request is of a kind.
type Kind = func(r *http.Request) bool

// Kinds are the requests of a push that change something.
func Kinds() map[string]Kind {
	return map[string]Kind{
		"POST":                Post,
		"PATCH":               Body,
		"PUT of a blob":       Commit,
		"PUT of the manifest": Manifest,
	}
}

// Post tells whether r begins the upload of a blob.
func Post(r *http.Request) bool { return r.Method == http.MethodPost }

// Body tells whether r brings bytes of a blob: most clients do it by PATCH, containerd's by the PUT
// that commits the upload.
func Body(r *http.Request) bool {
	return r.Method == http.MethodPatch || Commit(r) && r.ContentLength != 0
}

// Commit tells whether r names the digest of an upload.
func Commit(r *http.Request) bool {
	return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blobs/")
}

// Manifest tells whether r stores a manifest.
func Manifest(r *http.Request) bool {
	return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/")
}

// handle answers some requests, and tells whether it did.
func handle(answer func(w http.ResponseWriter, r *http.Request, next http.Handler) bool) Middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !answer(w, r, next) {
				next.ServeHTTP(w, r)
			}
		})
	}
}

// cut ends a connection without a word.
func cut(w http.ResponseWriter) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = conn.Close() // that it breaks is what is wanted
	}
}

// Failing answers the first n requests of a kind with a status.
func Failing(kind Kind, n int64, status int) Middleware {
	left := &atomic.Int64{}
	left.Store(n)
	return handle(func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if !kind(r) || left.Add(-1) < 0 {
			return false
		}
		w.WriteHeader(status)
		return true
	})
}

// Breaking resets the connection of the first blob that is longer than at, when so many bytes of it
// have come. The registry keeps those that came by PATCH.
func Breaking(at int64) Middleware {
	broken := &atomic.Bool{}
	return handle(func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if !Body(r) || broken.Load() {
			return false
		}
		begun, err := io.ReadAll(io.LimitReader(r.Body, at+1))
		if err != nil {
			return false
		}
		if int64(len(begun)) <= at || !broken.CompareAndSwap(false, true) {
			r.Body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(bytes.NewReader(begun), r.Body), r.Body}
			return false
		}
		if r.Method == http.MethodPatch {
			kept := r.Clone(r.Context())
			kept.Body, kept.ContentLength = io.NopCloser(bytes.NewReader(begun[:at])), at
			next.ServeHTTP(discard{http.Header{}}, kept)
		}
		cut(w)
		return true
	})
}

// discard is an answer that nobody gets.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

// Stalling holds the first n requests of a kind until the client gives up, until ctx ends, or until
// held has passed; only then they are answered.
func Stalling(ctx context.Context, kind Kind, n int64, held time.Duration) Middleware {
	left := &atomic.Int64{}
	left.Store(n)
	return handle(func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if !kind(r) || left.Add(-1) < 0 {
			return false
		}
		select {
		case <-r.Context().Done():
			return true
		case <-ctx.Done():
			return true
		case <-time.After(held):
			return false
		}
	})
}

// Limit answers the first request of a kind with 429 and counts those that come before the time that it asks for.
type Limit struct {
	Kind  Kind
	After time.Duration // in whole seconds
	Early atomic.Int64  // requests of the kind that came too soon

	at atomic.Int64 // when it was said, in Unix nanoseconds
}

// Middleware is the limit before a registry.
func (l *Limit) Middleware() Middleware {
	return handle(func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if !l.Kind(r) {
			return false
		}
		if l.at.CompareAndSwap(0, time.Now().UnixNano()) {
			w.Header().Set("Retry-After", strconv.Itoa(int(l.After.Seconds())))
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		}
		if time.Since(time.Unix(0, l.at.Load())) < l.After-50*time.Millisecond {
			l.Early.Add(1)
		}
		return false
	})
}

// Expiring hands out tokens and answers requests that bring none, or one that has ended, with 401.
// expires tells whether a request ends the tokens that were given out.
func Expiring(expires func(r *http.Request) bool) Middleware {
	ended := &atomic.Int64{} // how often they have
	return handle(func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if r.URL.Path == "/token" {
			_, _ = fmt.Fprintf(w, `{"token": "token-%d"}`, ended.Load()) // the client sees what it did not get
			return true
		}
		if expires(r) {
			ended.Add(1)
		}
		brought := r.Header.Get("Authorization")
		if brought == fmt.Sprintf("Bearer token-%d", ended.Load()) {
			return false
		}
		challenge := fmt.Sprintf(`Bearer realm="http://%s/token",service="test"`, r.Host)
		if brought != "" {
			challenge += `,error="invalid_token"` // RFC 6750, 3.1; BuildKit fetches a new one for that alone
		}
		w.Header().Set("WWW-Authenticate", challenge)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
}

// Lying says of every blob that it is there to who asks by HEAD.
func Lying() Middleware {
	return handle(func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if r.Method != http.MethodHead || !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		w.WriteHeader(http.StatusOK)
		return true
	})
}

// Cutting ends the connection of requests of a kind for as long as on says.
func Cutting(kind Kind, on func() bool) Middleware {
	return handle(func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if !kind(r) || !on() {
			return false
		}
		cut(w)
		return true
	})
}

// Meter counts the bytes of blobs that a registry is sent, whatever becomes of them.
type Meter struct{ blobs atomic.Int64 }

// Blobs are the bytes that came since the last reset.
func (m *Meter) Blobs() int64 { return m.blobs.Load() }

// Reset begins anew.
func (m *Meter) Reset() { m.blobs.Store(0) }

// Middleware is the meter. It has to stand before all faults.
func (m *Meter) Middleware() Middleware {
	return handle(func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if Body(r) {
			r.Body = counted{r.Body, &m.blobs}
		}
		return false
	})
}

type counted struct {
	io.ReadCloser
	n *atomic.Int64
}

// Read implements io.Reader.
func (c counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}
