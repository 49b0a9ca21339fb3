package llb_test

import (
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/raybuild/raybuild/llb"
)

func isManifest(r *http.Request) bool { return strings.Contains(r.URL.Path, "/manifests/") }

// reads tells whether r reads a blob, and what of it.
func reads(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && strings.Contains(r.URL.Path, "/blobs/sha256:")
}

// say answers with a body that is another than was asked for.
func say(w http.ResponseWriter, body string) bool {
	_, _ = io.WriteString(w, body)
	return true
}

// registryCache is the cache of a repository, with what raybuild sets where it exports.
func registryCache(s *cacheServer) []llb.CacheEntry {
	return []llb.CacheEntry{{Type: "registry", Attrs: map[string]string{
		"ref": s.host + "/team/ray:cache", "mode": "max", "ignore-error": "true", "image-manifest": "true", "oci-mediatypes": "true",
	}}}
}

// failures are the texts of imports and exports that did not work.
func failures(res *llb.Result) string {
	text := ""
	for _, c := range res.Caches {
		if c.Error != "" {
			text += c.Name + ": " + c.Error + "\n"
		}
	}
	return text
}

// C1, C2 and C4 of the fault matrix: whatever is wrong with a cache, an empty builder makes the image that it would have made
// without, and says what was wrong.
func TestFaultyCacheCostsAWarning(t *testing.T) {
	w, s := newWorld(t), newCacheServer(t, embeddedRegistry(t))
	cold := build(t, connect(t), w, chainImage(w, chain{"1", "1", "1"}), llb.BuildOptions{SolveOptions: llb.SolveOptions{CacheTo: registryCache(s)}})
	if text := failures(cold); text != "" || len(cold.Caches) != 1 {
		t.Fatalf("the cache was not exported: %s%+v", text, cold.Caches)
	}
	// The edit needs the layer env, which the cache has.
	without := connect(t)
	start := time.Now()
	want := build(t, without, w, chainImage(w, chain{"1", "1", "2"}), llb.BuildOptions{})
	undisturbed := time.Since(start)
	tests := []struct {
		name  string
		fault fault
		says  string
	}{
		{"the index is no JSON", func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			return isManifest(r) && r.Method == http.MethodGet && say(w, "{")
		}, "importing cache"},
		{"the index is an error", func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			if isManifest(r) {
				http.Error(w, "no", http.StatusInternalServerError)
			}
			return isManifest(r)
		}, "500"},
		{"blobs are lost", func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			if reads(r) {
				http.NotFound(w, r)
			}
			return reads(r)
		}, "not found"},
		{"layers are said to be there and are lost", func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
			return onlyHeavy(r, next, func() { http.NotFound(w, r) })
		}, "from the cache"},
		{"layers have other bytes", func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
			return onlyHeavy(r, next, func() { say(w, noise("poison", heavy)) })
		}, "from the cache"},
		{"the registry says nothing", func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			<-r.Context().Done()
			return true
		}, "too slow"},
		{"1 Mbit/s", func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
			next.ServeHTTP(slowWriter{w, r.Context().Done(), 125_000}, r)
			return true
		}, "too slow"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := connect(t)
			s.spoil(tt.fault)
			start := time.Now()
			got := build(t, b, w, chainImage(w, chain{"1", "1", "2"}), llb.BuildOptions{SolveOptions: llb.SolveOptions{CacheFrom: registryCache(s), CacheBudget: budget}})
			took := time.Since(start)
			t.Logf("%.1f s, without a cache %.1f s, %d bytes read: %s", took.Seconds(), undisturbed.Seconds(), s.taken(), failures(got))
			if most := undisturbed + budget + 10*time.Second; took > most { // a busy machine is no slow cache
				t.Errorf("it took %v, which is more than a budget of %v above %v", took, budget, undisturbed)
			}
			if got.Digest != want.Digest {
				t.Errorf("with a cache of which %s the image is %s, without one %s", tt.name, got.Digest, want.Digest)
			}
			if slices.ContainsFunc(got.Caches, func(c llb.CacheWork) bool { return c.Absent }) {
				t.Errorf("a cache that is there is told as absent: %+v", got.Caches)
			}
			if !strings.Contains(failures(got), tt.says) {
				t.Errorf("what is wrong with the cache is told as %q, want %q", failures(got), tt.says)
			}
		})
	}
}

// A cache that nobody has written yet is told as that.
func TestAbsentCache(t *testing.T) {
	w, s := newWorld(t), newCacheServer(t, embeddedRegistry(t))
	got := build(t, connect(t), w, chainImage(w, chain{"1", "1", "1"}), llb.BuildOptions{SolveOptions: llb.SolveOptions{CacheFrom: registryCache(s)}})
	if len(got.Caches) != 1 || !got.Caches[0].Absent || got.Caches[0].Error == "" {
		t.Errorf("a tag that is not there is told as %+v", got.Caches)
	}
}

const budget = 2 * time.Second

// onlyHeavy answers for reads of heavy blobs.
func onlyHeavy(r *http.Request, next http.Handler, answer func()) bool {
	if r.Method != http.MethodGet || !reads(r) {
		return false
	}
	size := &sizeOnly{header: http.Header{}}
	head := r.Clone(r.Context())
	head.Method = http.MethodHead
	next.ServeHTTP(size, head)
	if n, err := strconv.Atoi(size.header.Get("Content-Length")); err != nil || n < heavy {
		return false
	}
	answer()
	return true
}

// sizeOnly takes an answer's header.
type sizeOnly struct{ header http.Header }

func (s *sizeOnly) Header() http.Header         { return s.header }
func (s *sizeOnly) Write(p []byte) (int, error) { return len(p), nil }
func (s *sizeOnly) WriteHeader(int)             {}

// C3: a cache that cannot be written, or not in time, costs a warning.
func TestCacheThatTakesNothingCostsAWarning(t *testing.T) {
	w, s := newWorld(t), newCacheServer(t, embeddedRegistry(t))
	b := connect(t)
	want := build(t, b, w, chainImage(w, chain{"1", "1", "1"}), llb.BuildOptions{})
	writes := func(r *http.Request) bool { return r.Method != http.MethodGet && r.Method != http.MethodHead }
	for name, f := range map[string]fault{
		"403": func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			if writes(r) {
				http.Error(w, "quota", http.StatusForbidden)
			}
			return writes(r)
		},
		"silence": func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			if writes(r) {
				<-r.Context().Done()
			}
			return writes(r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s.spoil(f)
			start := time.Now()
			got := build(t, b, w, chainImage(w, chain{"1", "1", "1"}), llb.BuildOptions{SolveOptions: llb.SolveOptions{CacheTo: registryCache(s), CacheBudget: budget}})
			took := time.Since(start)
			t.Logf("%.1f s: %s", took.Seconds(), failures(got))
			if got.Digest != want.Digest || !strings.Contains(failures(got), "exporting cache") || len(got.Caches) != 1 {
				t.Errorf("made %s, want %s; of caches is told %+v, want one failed export", got.Digest, want.Digest, got.Caches)
			}
			if slow := name == "silence"; slow != strings.Contains(failures(got), "too slow") {
				t.Errorf("of a cache with the fault %s is said %q", name, failures(got))
			}
			if took > budget+10*time.Second {
				t.Errorf("the export took %v of a budget of %v", took, budget)
			}
		})
	}
	// Who wants it otherwise is told.
	to := registryCache(s)
	to[0].Attrs["ignore-error"] = "false"
	if _, err := b.Build(t.Context(), []llb.Image{chainImage(w, chain{"1", "1", "1"})}, llb.Session{Artifacts: w}, llb.BuildOptions{SolveOptions: llb.SolveOptions{CacheTo: to, CacheBudget: budget}}); err == nil {
		t.Error("with ignore-error=false a failed export is no error")
	}
}
