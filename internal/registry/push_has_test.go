package registry

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/internal/faultyregistry"
)

// largest are the n largest blobs, which are layers.
func (b *bulk) largest(n int) []ocispecs.Descriptor {
	var all []ocispecs.Descriptor
	for _, d := range slices.Sorted(maps.Keys(b.blobs)) {
		all = append(all, ocispecs.Descriptor{Digest: d, Size: int64(len(b.blobs[d]))})
	}
	slices.SortStableFunc(all, func(x, y ocispecs.Descriptor) int { return int(y.Size - x.Size) })
	return all[:n]
}

// A push does not ask for blobs that the caller knows to be there, and sends those that are not.
func TestPushAsksForBlobsThatAreNotKnown(t *testing.T) {
	t.Parallel()
	host, asked := start(t, nil)
	b := layered(t, 3000, 5000, 7000)
	layers := b.largest(3)
	c := client(Options{})
	if _, err := c.PushBlobs(t.Context(), layers[:2], b.source, quick(host+"/ray:1")); err != nil {
		t.Fatal(err)
	}
	present := c.Present(t.Context(), host+"/ray:1", layers)
	if !present.Has(layers[0].Digest) || !present.Has(layers[1].Digest) || present.Has(layers[2].Digest) {
		t.Fatalf("present are %v, want the two layers that were pushed", present.blobs)
	}
	other := c.Present(t.Context(), host+"/other:1", layers)
	for _, step := range []struct {
		name      string
		present   Presence
		questions int // for blobs
		sent      int64
	}{
		{"with what is present", present, 2, layers[2].Size}, // the third layer and the config
		{"with what is present in another repository", other, 4, 0},
		{"with nothing", Presence{}, 4, 0},
	} {
		asked.reset()
		o := quick(host + "/ray:1")
		o.Present = step.present
		done, err := c.Push(t.Context(), b.root, b.source, o)
		if err != nil {
			t.Fatal(err)
		}
		if n := asked.count("GET /v2/ray/blobs/sha256:"); n != step.questions || done.Bytes != step.sent {
			t.Errorf("%s: %d questions for blobs and %d bytes sent, want %d and %d: %v", step.name, n, done.Bytes,
				step.questions, step.sent, asked.list)
		}
		for _, l := range layers[:2] {
			if !done.Reused[l.Digest] {
				t.Errorf("%s: layer %s was there, and is not counted as reused", step.name, l.Digest)
			}
		}
	}
	arrived(t, host+"/ray:1", b)
}

// A registry that loses a blob between Present and the push gets it again. If nobody has the blob, the
// push says so.
func TestPushSendsWhatIsLostSincePresent(t *testing.T) {
	t.Parallel()
	for what, nobody := range map[string]bool{"and the source has it": false, "and nobody has it": true} {
		t.Run(what, func(t *testing.T) {
			b := layered(t, 3000, 5000)
			layers := b.largest(2)
			var lost atomic.Bool
			gone := func(r *http.Request) bool {
				return lost.Load() && r.Method == http.MethodGet &&
					strings.HasSuffix(r.URL.Path, "/blobs/"+layers[0].Digest.String())
			}
			host, asked := start(t, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method == http.MethodPut && strings.Contains(r.URL.Query().Get("digest"),
						layers[0].Digest.Encoded()) {
						lost.Store(false)
					}
					switch {
					case gone(r):
						http.NotFound(w, r)
					case lost.Load() && faultyregistry.Manifest(r):
						w.WriteHeader(http.StatusBadRequest)
						_, _ = w.Write([]byte(`{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]}`))
					default:
						next.ServeHTTP(w, r)
					}
				})
			})
			c := client(Options{})
			if _, err := c.PushBlobs(t.Context(), layers, b.source, quick(host+"/ray:1")); err != nil {
				t.Fatal(err)
			}
			o := quick(host + "/ray:1")
			o.Present = c.Present(t.Context(), host+"/ray:1", layers)
			lost.Store(true)
			if nobody {
				delete(b.blobs, layers[0].Digest)
			}
			done, err := c.Push(t.Context(), b.root, b.source, o)
			if nobody {
				if !Missing(err) {
					t.Errorf("a layer is nowhere, and the push ends with: %v", err)
				}
				absent(t, host+"/ray:1")
				return
			}
			if err != nil || done.Bytes != layers[0].Size || done.Reused[layers[0].Digest] {
				t.Fatalf("%d bytes were sent, want the lost layer's %d (error %v): %v", done.Bytes, layers[0].Size,
					err, asked.list)
			}
			arrived(t, host+"/ray:1", b)
		})
	}
}

// A question without an answer holds Present up until its context ends, and spoils no other answer. The
// question that is refused is no answer either.
func TestPresentWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	b := layered(t, 3000, 5000, 7000)
	layers := b.largest(3)
	is := func(l ocispecs.Descriptor) faultyregistry.Kind {
		return func(r *http.Request) bool {
			return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/blobs/"+l.Digest.String())
		}
	}
	handler, unlock, err := openServer(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	synctest.Test(t, func(t *testing.T) { // so that nothing but the silence takes time
		asked := answering(faultyregistry.Silent(t.Context(), is(layers[0]))(
			faultyregistry.Refusing(is(layers[1]), http.StatusForbidden)(handler)))
		c := client(Options{Timeout: time.Minute, Transport: asked})
		if _, err := c.PushBlobs(t.Context(), layers[2:], b.source, quick("localhost/ray:1")); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		began := time.Now()
		present := c.Present(ctx, "localhost/ray:1", layers)
		if took := time.Since(began); took != 4*time.Second {
			t.Errorf("a question that is never answered held it up for %v, want the 4 seconds of its context", took)
		}
		if present.Has(layers[0].Digest) || present.Has(layers[1].Digest) || !present.Has(layers[2].Digest) {
			t.Errorf("present are %v, want the layer that was pushed", present.blobs)
		}
	})
}
