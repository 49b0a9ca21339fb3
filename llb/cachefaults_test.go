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
	want := build(t, without, w, chainImage(w, chain{"1", "1", "2"}), llb.BuildOptions{})
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
			got := buildInTime(t, b, w, chainImage(w, chain{"1", "1", "2"}),
				llb.SolveOptions{CacheFrom: registryCache(s), CacheBudget: budget})
			t.Logf("%d bytes read: %s", s.taken(), failures(got))
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

// buildInTime builds with faulty caches. It fails if a cache holds up the build; that a budget ended it is said in
// [failures].
func buildInTime(t *testing.T, b *llb.Builder, w *world, image llb.Image, o llb.SolveOptions) (res *llb.Result) {
	t.Helper()
	err := ended(t, func() (err error) {
		res, err = b.Build(t.Context(), []llb.Image{image}, llb.Session{Artifacts: w},
			llb.BuildOptions{SolveOptions: o})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

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
			got := buildInTime(t, b, w, chainImage(w, chain{"1", "1", "1"}),
				llb.SolveOptions{CacheTo: registryCache(s), CacheBudget: budget})
			t.Log(failures(got))
			if got.Digest != want.Digest || !strings.Contains(failures(got), "exporting cache") ||
				len(got.Caches) != 1 {
				t.Errorf("made %s, want %s; of caches is told %+v, want one failed export", got.Digest,
					want.Digest, got.Caches)
			}
			if slow := name == "silence"; slow != strings.Contains(failures(got), "too slow") {
				t.Errorf("of a cache with the fault %s is said %q", name, failures(got))
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
