package llb_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/llb"
)

// A cache in a directory is there whatever else is exported with it, and one that is not there is told.
func TestCachesInDirectories(t *testing.T) {
	w, s := newWorld(t), newCacheServer(t, embeddedRegistry(t))
	dir := filepath.Join(t.TempDir(), "cache")
	img := chainImage(w, chain{"1", "1", "1"})
	from := []llb.CacheEntry{{Type: "local", Attrs: map[string]string{"src": dir}}}
	to := append([]llb.CacheEntry{{Type: "local",
		Attrs: map[string]string{"dest": dir, "mode": "max", "image-manifest": "false"}}}, registryCache(s)...)
	first := build(t, connect(t), w, img, llb.BuildOptions{SolveOptions: llb.SolveOptions{CacheFrom: from,
		CacheTo: to}})
	if text := failures(first); !strings.Contains(text, "importing cache from "+dir) {
		t.Errorf("that the directory has no cache is told as %q", text)
	}
	if w := first.Caches[0]; !w.Absent {
		t.Errorf("a cache that nobody has written yet is told as %+v", w)
	}
	second := build(t, connect(t), w, img, llb.BuildOptions{SolveOptions: llb.SolveOptions{CacheFrom: from}})
	if text := failures(second); text != "" || layersRan(second) != "" || second.Digest != first.Digest {
		t.Errorf("with the cache ran %q and made %s, want nothing and %s; failed: %q", layersRan(second), second.Digest,
			first.Digest, text)
	}
}
