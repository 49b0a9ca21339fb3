package llb_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/faultyregistry"
	"github.com/raybuild/raybuild/llb"
)

// registryCache is the cache of a repository, with what raybuild sets where it exports.
func registryCache(s *cacheServer) []llb.CacheEntry {
	return []llb.CacheEntry{{Type: "registry", Attrs: map[string]string{
		"ref": s.host + "/team/ray:cache", "mode": "max", "ignore-error": "true", "image-manifest": "true",
		"oci-mediatypes": "true",
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

// C1, C2 and C4 of the fault matrix: whatever is wrong with a cache, an empty builder makes the
// image that it would have made without, and says what was wrong.
func TestFaultyCacheCostsAWarning(t *testing.T) {
	w, s := newWorld(t), newCacheServer(t, embeddedRegistry(t))
	cold := build(t, connect(t), w, chainImage(w, chain{"1", "1", "1"}),
		llb.BuildOptions{SolveOptions: llb.SolveOptions{CacheTo: registryCache(s)}})
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
		fault faultyregistry.Middleware
		says  string
	}{
		{"the index is no JSON", faultyregistry.Saying(func(r *http.Request) bool {
			return faultyregistry.ReadManifest(r) && r.Method == http.MethodGet
		}, "{"), "importing cache"},
		{"the index is an error", faultyregistry.Refusing(faultyregistry.ReadManifest, http.StatusInternalServerError),
			"500"},
		{"blobs are lost", faultyregistry.Refusing(faultyregistry.Read, http.StatusNotFound), "not found"},
		{"layers are said to be there and are lost",
			faultyregistry.Long(heavy, faultyregistry.Refusing(faultyregistry.Any, http.StatusNotFound)),
			"from the cache"},
		{"layers have other bytes", faultyregistry.Long(heavy,
			faultyregistry.Saying(faultyregistry.Any, noise("poison", heavy))), "from the cache"},
		{"the registry says nothing", faultyregistry.Silent(t.Context(), faultyregistry.Any), "too slow"},
		{"1 Mbit/s", faultyregistry.Slow(125_000), "too slow"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := connect(t)
			s.spoil(tt.fault)
			start := time.Now()
			got := build(t, b, w, chainImage(w, chain{"1", "1", "2"}),
				llb.BuildOptions{SolveOptions: llb.SolveOptions{CacheFrom: registryCache(s), CacheBudget: budget}})
			took := time.Since(start)
			t.Logf("%.1f s, without a cache %.1f s, %d bytes read: %s", took.Seconds(), undisturbed.Seconds(),
				s.taken(), failures(got))
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
	got := build(t, connect(t), w, chainImage(w, chain{"1", "1", "1"}),
		llb.BuildOptions{SolveOptions: llb.SolveOptions{CacheFrom: registryCache(s)}})
	if len(got.Caches) != 1 || !got.Caches[0].Absent || got.Caches[0].Error == "" {
		t.Errorf("a tag that is not there is told as %+v", got.Caches)
	}
}

const budget = 2 * time.Second

// C3: a cache that cannot be written, or not in time, costs a warning.
func TestCacheThatTakesNothingCostsAWarning(t *testing.T) {
	w, s := newWorld(t), newCacheServer(t, embeddedRegistry(t))
	b := connect(t)
	want := build(t, b, w, chainImage(w, chain{"1", "1", "1"}), llb.BuildOptions{})
	for name, f := range map[string]faultyregistry.Middleware{
		"403":     faultyregistry.Refusing(faultyregistry.Write, http.StatusForbidden),
		"silence": faultyregistry.Silent(t.Context(), faultyregistry.Write),
	} {
		t.Run(name, func(t *testing.T) {
			s.spoil(f)
			start := time.Now()
			got := build(t, b, w, chainImage(w, chain{"1", "1", "1"}),
				llb.BuildOptions{SolveOptions: llb.SolveOptions{CacheTo: registryCache(s), CacheBudget: budget}})
			took := time.Since(start)
			t.Logf("%.1f s: %s", took.Seconds(), failures(got))
			if got.Digest != want.Digest || !strings.Contains(failures(got), "exporting cache") ||
				len(got.Caches) != 1 {
				t.Errorf("made %s, want %s; of caches is told %+v, want one failed export", got.Digest,
					want.Digest, got.Caches)
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
	if _, err := b.Build(t.Context(), []llb.Image{chainImage(w, chain{"1", "1", "1"})}, llb.Session{Artifacts: w},
		llb.BuildOptions{SolveOptions: llb.SolveOptions{CacheTo: to, CacheBudget: budget}}); err == nil {
		t.Error("with ignore-error=false a failed export is no error")
	}
}
