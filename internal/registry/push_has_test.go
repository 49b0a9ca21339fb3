package registry

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
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

// A push does not ask for what was there a moment ago, asks again where that is long ago, and sends what was not there.
func TestPushAsksForWhatWasNotSeen(t *testing.T) {
	host, asked := start(t, nil)
	b := layered(t, 3000, 5000, 7000)
	layers := b.largest(3)
	c := client(Options{})
	if _, err := c.PushBlobs(t.Context(), layers[:2], b.source, quick(host+"/ray:1")); err != nil {
		t.Fatal(err)
	}
	c.known.fresh = time.Hour
	c.Expect(t.Context(), host+"/ray:1", layers)
	for _, step := range []struct {
		name      string
		fresh     time.Duration
		questions int // for blobs
		sent      int64
	}{
		{"a moment ago", time.Hour, 2, layers[2].Size}, // the third layer and the config
		{"long ago", 0, 4, 0},
	} {
		c.known.fresh = step.fresh
		asked.reset()
		done, err := c.Push(t.Context(), b.root, b.source, quick(host+"/ray:1"))
		if err != nil {
			t.Fatal(err)
		}
		if n := asked.count("GET /v2/ray/blobs/sha256:"); n != step.questions || done.Bytes != step.sent {
			t.Errorf("seen %s: %d questions for blobs and %d bytes sent, want %d and %d: %v", step.name, n, done.Bytes,
				step.questions, step.sent, asked.list)
		}
		for _, l := range layers[:2] {
			if !done.Reused[l.Digest] {
				t.Errorf("seen %s: layer %s was there, and is not counted as reused", step.name, l.Digest)
			}
		}
	}
	arrived(t, host+"/ray:1", b)
}

// A registry that loses a blob between the question and the push gets it again, or where nobody has
// it the push says so.
func TestPushSendsWhatIsLostSinceItWasSeen(t *testing.T) {
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
			c.known.fresh = time.Hour
			if _, err := c.PushBlobs(t.Context(), layers, b.source, quick(host+"/ray:1")); err != nil {
				t.Fatal(err)
			}
			c.Expect(t.Context(), host+"/ray:1", layers)
			lost.Store(true)
			if nobody {
				delete(b.blobs, layers[0].Digest)
			}
			done, err := c.Push(t.Context(), b.root, b.source, quick(host+"/ray:1"))
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

// Questions that are not answered hold nothing up for long, and one that is refused takes no other's answer away.
func TestExpectWaitsForNoAnswer(t *testing.T) {
	b := layered(t, 3000, 5000, 7000)
	layers := b.largest(3)
	is := func(l ocispecs.Descriptor) faultyregistry.Kind {
		return func(r *http.Request) bool {
			return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/blobs/"+l.Digest.String())
		}
	}
	host, asked := start(t, func(next http.Handler) http.Handler {
		return faultyregistry.Silent(t.Context(),
			is(layers[0]))(faultyregistry.Refusing(is(layers[1]), http.StatusForbidden)(next))
	})
	c := client(Options{Timeout: time.Minute})
	if _, err := c.PushBlobs(t.Context(), layers[2:], b.source, quick(host+"/ray:1")); err != nil {
		t.Fatal(err)
	}
	c.known.fresh = 4 * time.Second
	began := time.Now()
	c.Expect(t.Context(), host+"/ray:1", layers)
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("a question that is never answered held it up for %v, want half of the 4 seconds that answers last",
			took)
	}
	c.known.fresh = time.Hour
	asked.reset()
	if _, err := c.PushBlobs(t.Context(), layers[2:], b.source, quick(host+"/ray:1")); err != nil {
		t.Fatal(err)
	}
	if n := asked.count("GET /v2/ray/blobs/"); n != 0 {
		t.Errorf("the layer that was there is asked for again, for another one's question was refused: %v", asked.list)
	}
}
