package llb_test

import (
	"strings"
	"testing"

	"github.com/raybuild/raybuild/llb"
)

// A cache that nobody serves fails to be read and to be written; the build does not.
func TestCacheThatIsNotThereCostsNoBuild(t *testing.T) {
	w := newWorld(t)
	nowhere := func() []llb.CacheEntry {
		return []llb.CacheEntry{{Type: "registry",
			Attrs: map[string]string{"ref": "127.0.0.1:1/team/ray:cache", "mode": "max", "ignore-error": "true"}}}
	}
	res := build(t, connect(t), w, rayImage(t, w, w.base, "2.52.0"),
		llb.BuildOptions{SolveOptions: llb.SolveOptions{CacheFrom: nowhere(), CacheTo: nowhere()}})
	failed := ""
	for _, c := range res.Caches {
		if c.Error != "" {
			failed += c.Name + ": " + c.Error + "\n"
		}
	}
	if res.Digest == "" || !strings.Contains(failed, "importing cache") ||
		!strings.Contains(failed, "exporting cache") {
		t.Errorf("made %q; of the caches is told %+v, want a failed import and a failed export", res.Digest, res.Caches)
	}
}
