package fetch

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// artifact answers with a file whose digest is known, by way of the store.
func (g gateway) artifact(w http.ResponseWriter, r *http.Request, it Item) {
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("ETag", `"`+it.Digest.String()+`"`)
	h.Set("Accept-Ranges", "bytes")
	if it.Bytes != nil || it.Path != "" {
		g.local(w, r, it)
		return
	}
	if !g.f.has(it.Digest) {
		switch {
		case r.Method == http.MethodHead && it.Size > 0:
			h.Set("Content-Length", strconv.FormatInt(it.Size, 10))
			return
		case r.Method == http.MethodGet && r.Header.Get("Range") == "" && g.along(w, r, it):
			return
		}
	}
	file, _, err := g.f.open(r.Context(), it)
	if err != nil {
		g.failed(w, err)
		return
	}
	defer shut(file)
	http.ServeContent(w, r, "", time.Time{}, file)
}

// along hands a file out while it is being downloaded, or a client would give up on a large one before its first
// byte. It returns false when there is nothing to read along and nothing was answered.
func (g gateway) along(w http.ResponseWriter, r *http.Request, it Item) bool {
	body, size, err := g.f.follow(r.Context(), it)
	if err != nil {
		g.failed(w, err)
		return true
	}
	if body == nil {
		return false
	}
	defer shut(body)
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	if _, err := io.Copy(w, body); err != nil {
		abort()
	}
	return true
}

// local answers with an artifact that is in memory or in a local file; what is not right does not get out whole.
func (g gateway) local(w http.ResponseWriter, r *http.Request, it Item) {
	body, size, err := g.f.Open(r.Context(), it.Digest)
	if err != nil {
		g.failed(w, err)
		return
	}
	defer shut(body)
	w.Header().Del("Accept-Ranges")
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	if r.Method == http.MethodHead {
		return
	}
	if _, err := io.Copy(w, body); err != nil {
		g.f.o.Warn(err.Error())
		abort()
	}
}

// abort closes the client's connection in the middle: it must not take what it has for the whole.
func abort() {
	panic(http.ErrAbortHandler) //nolint:forbidigo // the way that net/http has for it
}

func (g gateway) failed(w http.ResponseWriter, err error) {
	h := w.Header()
	h.Del("Accept-Ranges")
	h.Del("ETag")
	code := http.StatusBadGateway
	if n, ok := errors.AsType[*NotFoundError](err); ok && n.gone() {
		code = http.StatusNotFound
	} else {
		g.f.trouble.note(err)
	}
	if _, ok := errors.AsType[*diskFullError](err); ok {
		code = http.StatusInsufficientStorage
	}
	g.f.o.Warn(err.Error())
	refuse(w, code, fmt.Sprintf("raybuild's gateway: %v", err))
}

// wantsPart tells whether a request is for a small part of a large artifact that is not there yet: such a part passes
// unchecked, because its client (pip and uv, for a wheel's metadata) wants to save itself the whole.
func (f *Fetcher) wantsPart(r *http.Request, it Item) bool {
	span, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes=")
	first, last, ok2 := strings.Cut(span, "-")
	if !ok || !ok2 || it.Size <= smallWheel || it.Bytes != nil || it.Path != "" || f.has(it.Digest) {
		return false
	}
	n, err := strconv.ParseInt(last, 10, 64)
	if err == nil && first != "" {
		var from int64
		from, err = strconv.ParseInt(first, 10, 64)
		n -= from
	}
	return err == nil && n >= 0 && n < it.Size/4
}
