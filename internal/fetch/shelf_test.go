package fetch

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// books is a shelf in memory, by the digests that it says it has.
type books map[digest.Digest][]byte

func (books) String() string             { return `bundle "b"` }
func (b books) Has(d digest.Digest) bool { return b[d] != nil }
func (b books) Open(_ context.Context, d digest.Digest) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(b[d])), nil
}

func TestShelfComesBeforeMirrors(t *testing.T) {
	t.Parallel()
	on, off := noise(61, 300<<10), noise(62, 1000)
	m := newMirror(t, nil, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, digest.FromBytes(off).Encoded()[:8]) {
			serve(w, r, off)
			return
		}
		t.Errorf("a mirror was asked for %s, which is on the shelf", r.URL)
		w.WriteHeader(http.StatusTeapot)
	})
	o := fast(t)
	o.Shelf = books{digest.FromBytes(on): on}
	r := newRig(t, o, m)
	r.mustRead(t, r.want(on))
	r.mustRead(t, r.want(off))
	if s := r.Stats(); s.Bytes != int64(len(off)) {
		t.Errorf("%d bytes were fetched, want the %d that the shelf lacks", s.Bytes, len(off))
	}
}

func TestShelfThatLiesIsAnError(t *testing.T) {
	t.Parallel()
	data := noise(63, 1000)
	m := newMirror(t, data, nil)
	o := fast(t)
	o.Shelf = books{digest.FromBytes(data): noise(64, 1000)}
	r := newRig(t, o, m)
	d := r.want(data)
	_, err := r.read(t, d)
	if err == nil || !strings.Contains(err.Error(), `bundle "b"`) || !strings.Contains(err.Error(), d.String()) ||
		!strings.Contains(err.Error(), ".whl") {
		t.Errorf("the error is %v, want one that names the bundle, the file and its digest", err)
	}
	if n := len(m.requests()); n > 0 || r.store.has(d) {
		t.Errorf("%d requests were sent; the store has the artifact: %v", n, r.store.has(d))
	}
}

func TestShelfThatLacksIsInTheError(t *testing.T) {
	t.Parallel()
	m := newMirror(t, nil, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	o := fast(t)
	o.Shelf = books{}
	r := newRig(t, o, m)
	_, err := r.read(t, r.want(noise(65, 10)))
	if err == nil || !strings.Contains(err.Error(), `bundle "b" does not have it`) ||
		!strings.Contains(err.Error(), "raybuild bundle") {
		t.Errorf("the error is %v, want one that says what the bundle lacks and how to mend it", err)
	}
}
