package registry

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/faultyregistry"
)

// R4: a registry that asks to be left alone is asked nothing for so long.
func TestPushHonoursRetryAfter(t *testing.T) {
	t.Parallel()
	limit := &faultyregistry.Limit{Kind: faultyregistry.Body, After: time.Second}
	host, _ := start(t, limit.Middleware())
	b := layered(t, 3000)
	o := quick(host + "/ray:1")
	o.Stall = time.Minute // an answer that comes late on a busy machine must be heard
	if _, err := client(Options{}).Push(t.Context(), b.root, b.source, o); err != nil {
		t.Fatal(err)
	}
	arrived(t, host+"/ray:1", b)
	// The config's upload may have been under way.
	if n := limit.Early.Load(); n > 1 {
		t.Errorf("%d uploads began within the second that the registry asked for", n)
	}
}

// R5: credentials that run out in the middle are renewed, and what has arrived of a layer from 1
// MiB on is not sent again.
func TestPushRenewsItsToken(t *testing.T) {
	t.Parallel()
	b := layered(t, 2<<20) // its digest is named in a request of its own
	meter, expired := &faultyregistry.Meter{}, &atomic.Bool{}
	expiring := faultyregistry.Expiring(func(r *http.Request) bool {
		return faultyregistry.Commit(r) && meter.Blobs() >= b.bytes && expired.CompareAndSwap(false, true)
	})
	host, _ := start(t, func(next http.Handler) http.Handler { return meter.Middleware()(expiring(next)) })
	done, err := client(Options{}).Push(t.Context(), b.root, b.source, quick(host+"/ray:1"))
	if err != nil {
		t.Fatal(err)
	}
	if !expired.Load() || done.Bytes != b.bytes {
		t.Errorf("%d bytes were sent for a layer of %d; the token ran out: %v", done.Bytes, b.bytes, expired.Load())
	}
}

// R6: what will be refused the next time too is not tried again, and the error says what to do.
func TestPushThatIsRefused(t *testing.T) {
	t.Parallel()
	for status, says := range map[int]string{
		http.StatusForbidden:             "docker login",
		http.StatusRequestEntityTooLarge: "limits the size",
		http.StatusInsufficientStorage:   "no room left",
	} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			host, asked := start(t, faultyregistry.Failing(faultyregistry.Body, 1<<60, status))
			b := layered(t, 3000)
			_, err := client(Options{}).Push(t.Context(), b.root, b.source, quick(host+"/ray:1"))
			if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), host) {
				t.Errorf("error %v names neither %s nor %q", err, host, says)
			}
			if n := asked.count("PUT /v2/ray/blobs"); n > 2 {
				t.Errorf("it was tried %d times for a layer and a config", n)
			}
			absent(t, host+"/ray:1")
		})
	}
}

// R7: a push that ended before the manifest sends nothing but it the next time.
func TestPushAfterOneThatEndedBeforeTheManifest(t *testing.T) {
	t.Parallel()
	host, asked := start(t, faultyregistry.Failing(faultyregistry.Manifest, 1, http.StatusInternalServerError))
	b := layered(t, 3000, 5000)
	o := quick(host + "/ray:1")
	o.Retry = -1
	if _, err := client(Options{}).Push(t.Context(), b.root, b.source, o); err == nil {
		t.Fatal("the first push did not fail")
	}
	absent(t, host+"/ray:1")
	asked.reset()
	done, err := client(Options{}).Push(t.Context(), b.root, b.source, o)
	if err != nil || done.Bytes != 0 || asked.count("POST") != 0 {
		t.Errorf("the second push sent %d bytes in %d uploads, error %v", done.Bytes, asked.count("POST"), err)
	}
	arrived(t, host+"/ray:1", b)
}

// R8: a blob that the registry only says it has is sent before the tag is given.
func TestPushToARegistryThatLies(t *testing.T) {
	t.Parallel()
	host, _ := start(t, faultyregistry.Lying())
	b := layered(t, 3000, 5000)
	done, err := client(Options{}).Push(t.Context(), b.root, b.source, quick(host+"/ray:1"))
	if err != nil || done.Bytes != b.bytes {
		t.Errorf("%d of %d bytes were sent, error %v", done.Bytes, b.bytes, err)
	}
	arrived(t, host+"/ray:1", b)
}

// R9, R10: what is to be pushed and has other bytes, or fewer, than its digest says never gets a tag.
func TestPushOfABadSource(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func([]byte) []byte
		says  string
	}{
		"other bytes": {func(p []byte) []byte { q := append([]byte{}, p...); q[len(q)/2] ^= 1; return q },
			"do not have their digest"},
		"fewer bytes": {func(p []byte) []byte { return p[:len(p)/2] }, "read what is to be pushed"},
	} {
		t.Run(name, func(t *testing.T) {
			host, _ := start(t, nil)
			b := layered(t, 300_000)
			for d, data := range b.blobs {
				if int64(len(data)) == b.bytes {
					b.blobs[d] = c.spoil(data)
				}
			}
			o := quick(host + "/ray:1")
			o.Retry = time.Hour // that it is of no use is found out before
			if _, err := client(Options{}).Push(t.Context(), b.root, b.source, o); err == nil ||
				!strings.Contains(err.Error(), c.says) {
				t.Errorf("the push ended with %v, want it to say %q", err, c.says)
			}
			absent(t, host+"/ray:1")
		})
	}
	host, _ := start(t, nil)
	b := layered(t, 3000)
	b.blobs[b.root.Digest] = append([]byte(" "), b.blobs[b.root.Digest]...)
	if _, err := client(Options{}).Push(t.Context(), b.root, b.source, quick(host+"/ray:1")); err == nil {
		t.Errorf("a manifest was pushed that is %s, not %s", digest.FromBytes(b.blobs[b.root.Digest]), b.root.Digest)
	}
	absent(t, host+"/ray:1")
}
