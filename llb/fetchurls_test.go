package llb_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	digest "github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/llb"
)

func TestTheBuilderCanFetchByItself(t *testing.T) {
	w, b := newWorld(t), connect(t)
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		// the builder checks what it got
		_, _ = rw.Write(w.blobs[digest.NewDigestFromEncoded(digest.SHA256, r.URL.Path[1:])])
	}))
	t.Cleanup(srv.Close)
	img := rayImage(t, w, w.base, "2.52.0")
	urls := map[digest.Digest]string{}
	for d := range w.blobs {
		urls[d] = srv.URL + "/" + d.Encoded()
	}
	far := build(t, b, w, img, llb.BuildOptions{SolveOptions: llb.SolveOptions{FetchURLs: urls}})
	near := build(t, b, w, img, llb.BuildOptions{})
	if far.Digest != near.Digest || len(ran(far)) != len(far.Steps) || len(ran(near)) != 0 {
		t.Errorf("fetched by the builder: %s, ran %v; then by the session: %s, ran %v", far.Digest, ran(far),
			near.Digest, ran(near))
	}
	for d := range w.blobs {
		if w.opened(d) != 0 {
			t.Errorf("%s was asked of the session", d)
		}
	}
	_, err := b.Build(t.Context(), []llb.Image{img}, llb.Session{},
		llb.BuildOptions{
			SolveOptions: llb.SolveOptions{FetchURLs: map[digest.Digest]string{digest.FromString("x"): "ftp://x"}},
		})
	if err == nil || !strings.Contains(err.Error(), "no http or https URL") {
		t.Errorf("error %v", err)
	}
}
