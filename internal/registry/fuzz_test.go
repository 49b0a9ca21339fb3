package registry

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// FuzzPutManifest: whatever somebody pushes as a manifest, the registry writes below its own directory alone, gives
// back what it has taken, and still lists tags and referrers.
func FuzzPutManifest(f *testing.F) {
	d := digest.FromString("x").String()
	f.Add("1", ocispecs.MediaTypeImageManifest, []byte(`{"schemaVersion":2,"layers":[],"subject":{"digest":"`+d+
		`","size":1},"artifactType":"a/b","annotations":{"a":"b"}}`))
	f.Add(d, ocispecs.MediaTypeImageIndex, []byte(`{"manifests":[{"digest":"sha256:../../x","size":1}]}`))
	f.Add("../x", "text/html", []byte(`{"subject":{},"config":{"mediaType":"application/vnd.docker.image.rootfs.foreign.`+
		`diff.tar.gzip","digest":"`+d+`"}}`))
	f.Fuzz(func(t *testing.T, target, mediaType string, body []byte) {
		dir := t.TempDir()
		h, unlock, err := openServer(filepath.Join(dir, "registry"))
		if err != nil {
			t.Fatal(err)
		}
		defer unlock()
		ask := func(method, path string, body io.Reader) *httptest.ResponseRecorder {
			r := httptest.NewRequest(method, "http://127.0.0.1/v2/ray/", body)
			r.URL.Path = "/v2/ray/" + path
			r.Header.Set("Content-Type", mediaType)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w
		}
		put := ask(http.MethodPut, "manifests/"+target, strings.NewReader(string(body)))
		outside, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(outside) != 1 {
			t.Fatalf("files outside of the registry: %q, %v", outside, err)
		}
		if put.Code != http.StatusCreated {
			return
		}
		for _, name := range []string{target, digest.FromBytes(body).String()} {
			if got := ask(http.MethodGet, "manifests/"+name, nil); got.Code != http.StatusOK ||
				got.Body.String() != string(body) {
				t.Fatalf("%q was taken, and gives %d %q", name, got.Code, got.Body)
			}
		}
		for _, list := range []string{"tags/list", "referrers/" + d} {
			if got := ask(http.MethodGet, list, nil); got.Code != http.StatusOK {
				t.Fatalf("%s: %d %s", list, got.Code, got.Body)
			}
		}
	})
}

// FuzzAnswers: whatever a registry answers, questions end, what is read has its digest, and nothing of an answer is
// asked of a host that may not be asked.
func FuzzAnswers(f *testing.F) {
	config := `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["` +
		digest.FromString("d").String() + `"]},"history":[{"created_by":"a"},{"empty_layer":true}]}`
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},`+
		`"layers":[{"mediaType":%q,"digest":%q,"size":3}],"annotations":{"a":"b"}}`, ocispecs.MediaTypeImageManifest,
		ocispecs.MediaTypeImageConfig, digest.FromString(config), len(config), ocispecs.MediaTypeImageLayerGzip,
		digest.FromString("l"))
	index := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d,`+
		`"artifactType":"a/b","platform":{"os":"linux","architecture":"amd64"}}]}`, ocispecs.MediaTypeImageIndex,
		ocispecs.MediaTypeImageManifest, digest.FromString(manifest), len(manifest))
	f.Add("", ocispecs.MediaTypeImageManifest, []byte(manifest), []byte(index), []byte(config))
	f.Add(`Bearer realm="https://auth.example/token",service="x"`, ocispecs.MediaTypeImageIndex, []byte(index),
		[]byte(index), []byte(`{"token":"t"}`))
	f.Add("Basic", "application/vnd.docker.distribution.manifest.v1+json", []byte(`{"history":[{}]}`), []byte(`{}`),
		[]byte(`[]`))
	f.Fuzz(func(t *testing.T, login, mediaType string, manifest, list, blob []byte) {
		c := client(Options{Transport: answering(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if host := r.URL.Host; r.URL.Scheme != "https" && !Loopback((&url.URL{Host: host}).Hostname()) {
				t.Errorf("%s was asked in the clear", r.URL)
			}
			switch {
			case r.URL.Path == "/v2/" && login != "":
				w.Header().Set("WWW-Authenticate", login)
				w.WriteHeader(http.StatusUnauthorized)
			case strings.Contains(r.URL.Path, "/manifests/"):
				w.Header().Set("Content-Type", mediaType)
				_, _ = w.Write(manifest)
			case strings.Contains(r.URL.Path, "/referrers/"):
				w.Header().Set("Content-Type", ocispecs.MediaTypeImageIndex)
				_, _ = w.Write(list)
			default:
				_, _ = w.Write(blob)
			}
		}))})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		const ref = "127.0.0.1:5000/ray:1"
		if d, ok, err := c.Head(ctx, ref); err == nil && ok && d.Digest != digest.FromBytes(manifest) {
			t.Errorf("%q has digest %s", manifest, d.Digest)
		}
		pinned := "127.0.0.1:5000/ray@" + digest.FromBytes(manifest).String()
		if i, err := c.Inspect(ctx, pinned, "a/b"); err == nil {
			for _, p := range i.Platforms {
				if digest.FromBytes(p.RawManifest) != p.Digest {
					t.Errorf("the manifest %q has digest %s", p.RawManifest, p.Digest)
				}
			}
			for _, all := range i.Attached {
				for _, a := range all {
					if digest.FromBytes(a.Data) != a.Digest {
						t.Errorf("%q has digest %s", a.Data, a.Digest)
					}
				}
			}
		}
		_, _ = c.Resolve(ctx, ref, linux("amd64"))
		_, _ = c.Referrers(ctx, pinned, "a/b")
		if data, err := c.SmallBlob(ctx, ref, ocispecs.Descriptor{Digest: digest.FromString("x"), Size: 1},
			1<<20); err == nil && string(data) != "x" {
			t.Errorf("a blob that was not asked for: %q", data)
		}
		if ctx.Err() != nil {
			t.Error("the questions did not end")
		}
	})
}
