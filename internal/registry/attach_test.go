package registry

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/faultyregistry"
)

// unsaid takes a header out of a registry's answers.
type unsaid struct {
	http.ResponseWriter
	header string
}

func (u unsaid) WriteHeader(status int) {
	u.Header().Del(u.header)
	u.ResponseWriter.WriteHeader(status)
}

// A registry that lists referrers and only does not say so needs no fallback tag, so it does not
// matter why that cannot be read.
func TestAttachWhereTheFallbackTagIsRefused(t *testing.T) {
	t.Parallel()
	fallback := func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/manifests/sha256-") }
	for what, fault := range map[string]faultyregistry.Middleware{
		"with 403":   faultyregistry.Refusing(fallback, http.StatusForbidden),
		"by silence": faultyregistry.Silent(t.Context(), fallback),
	} {
		t.Run(what, func(t *testing.T) {
			host, asked := start(t, func(next http.Handler) http.Handler {
				next = fault(next)
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					next.ServeHTTP(unsaid{w, "Oci-Subject"}, r)
				})
			})
			push(t, host+"/ray:1", image(t, amd64(), nil))
			if _, err := client(Options{}).Attach(t.Context(), host+"/ray:1", documents()...); err != nil {
				t.Errorf("what is not needed cannot be read, and the documents are not attached: %v", err)
			}
			if n := asked.count("PUT /v2/ray/manifests/sha256-"); n != 0 {
				t.Errorf("a fallback tag was written %d times where the registry lists referrers", n)
			}
			for _, d := range documents() {
				if got, err := client(Options{}).Attached(t.Context(), host+"/ray:1", d.ArtifactType); err != nil ||
					len(got) != 1 {
					t.Errorf("attached as %s: %+v, error %v", d.ArtifactType, got, err)
				}
			}
		})
	}
	t.Run("where it is needed", func(t *testing.T) {
		noAPI := faultyregistry.Refusing(func(r *http.Request) bool {
			return strings.Contains(r.URL.Path, "/referrers/")
		}, http.StatusNotFound)
		refused := faultyregistry.Refusing(fallback, http.StatusForbidden)
		host, _ := start(t, func(next http.Handler) http.Handler {
			next = noAPI(refused(next))
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				next.ServeHTTP(unsaid{w, "Oci-Subject"}, r)
			})
		})
		push(t, host+"/ray:1", image(t, amd64(), nil))
		if _, err := client(Options{}).Attach(t.Context(), host+"/ray:1", documents()...); err == nil ||
			!strings.Contains(err.Error(), "403") {
			t.Errorf("error %v does not say that the fallback tag cannot be read", err)
		}
	})
}

// A registry that asks to be left alone between an image and what is attached to it is left alone, and then gets it.
func TestAttachWaitsAsTheRegistryAsks(t *testing.T) {
	t.Parallel()
	limit := &faultyregistry.Limit{After: time.Second, Kind: func(r *http.Request) bool {
		return faultyregistry.Manifest(r) && strings.Contains(r.URL.Path, "/manifests/sha256:")
	}}
	host, asked := start(t, limit.Middleware())
	push(t, host+"/ray:1", image(t, amd64(), nil))
	if _, err := client(Options{Timeout: 4 * time.Second}).Attach(t.Context(), host+"/ray:1",
		documents()[0]); err != nil {
		t.Errorf("a second was to be waited for, and the document is not attached: %v", err)
	}
	if n := asked.count("PUT /v2/ray/manifests/sha256:"); n != 2 || limit.Early.Load() != 0 {
		t.Errorf("the referrer was sent %d times, %d of them too early, want twice", n, limit.Early.Load())
	}
}

// Documents are sent, and looked for in no other repository.
func TestDocumentsAreNotMounted(t *testing.T) {
	t.Parallel()
	var (
		mu    sync.Mutex
		tried []string
	)
	host, _ := start(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if d := r.URL.Query().Get("mount"); d != "" {
				mu.Lock()
				tried = append(tried, d)
				mu.Unlock()
			}
			next.ServeHTTP(w, r)
		})
	})
	b := layered(t, 3000)
	if _, err := client(Options{}).Push(t.Context(), b.root, b.source, quick(host+"/team/ray:1")); err != nil {
		t.Fatal(err)
	}
	o := quick(host + "/release/ray:1")
	o.From, o.Documents = []string{host + "/team/ray:1"}, documents()
	if _, err := client(Options{}).Push(t.Context(), b.root, b.source, o); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(tried) != 2 {
		t.Errorf("%d mounts were tried, want those of a layer and a config: %v", len(tried), tried)
	}
	for _, d := range tried {
		if b.blobs[digest.Digest(d)] == nil {
			t.Errorf("a mount of %s was tried, which is none of the image's blobs", d)
		}
	}
}

// What is tried again says so, for it may take a minute.
func TestAttachTellsWhatHoldsItUp(t *testing.T) {
	t.Parallel()
	attaching := &atomic.Bool{}
	manifest := func(r *http.Request) bool { return attaching.Load() && faultyregistry.Manifest(r) }
	host, _ := start(t, faultyregistry.Failing(manifest, 2, http.StatusServiceUnavailable))
	push(t, host+"/ray:1", image(t, amd64(), nil))
	attaching.Store(true)
	var (
		mu   sync.Mutex
		said []string
	)
	c := client(Options{Log: func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		said = append(said, fmt.Sprintf(format, args...))
	}})
	if _, err := c.Attach(t.Context(), host+"/ray:1", documents()[0]); err != nil {
		t.Fatal(err)
	}
	for _, line := range said {
		if !strings.Contains(line, host) || !strings.Contains(line, "503") ||
			!strings.Contains(line, "trying again in") {
			t.Errorf("it says %q, want the registry, its answer and what comes next", line)
		}
	}
	if len(said) != 2 {
		t.Errorf("two answers held it up, and it says %d lines: %q", len(said), said)
	}
}
