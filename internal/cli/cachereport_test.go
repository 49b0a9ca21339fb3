package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/llb"
)

// A cache that a bare --cache looks for and that nobody has written yet is no failure; one that the
// user named is, as is each other thing that goes wrong.
func TestCachesAreReported(t *testing.T) {
	t.Parallel()
	const beside = "registry.example/team/ray:cache-fix"
	absent := func(ref string) llb.CacheWork {
		return llb.CacheWork{Name: "importing cache manifest from " + ref, Error: ref + ": not found", Absent: true}
	}
	for name, c := range map[string]struct {
		work   []llb.CacheWork
		says   string
		failed string
	}{
		"the branch's first build": {[]llb.CacheWork{absent(beside)},
			"note: --cache found no cache yet: " + beside, "0 of 1"},
		"a name that was given": {[]llb.CacheWork{absent("other.example/ray:cache")},
			"warning: importing cache manifest from other.example/ray:cache", "1 of 1"},
		"a registry that refuses": {[]llb.CacheWork{{Name: "importing cache manifest from " + beside, Error: "403"},
			{Name: "exporting cache to registry", Error: "403"}},
			"warning: exporting cache to registry: 403", "2 of 2"},
	} {
		t.Run(name, func(t *testing.T) {
			var said bytes.Buffer
			a := &app{stderr: &said, dir: t.TempDir()}
			o := &buildOptions{cache: true, names: []string{"registry.example/team/ray:2.52"}, compression: "gzip"}
			o.progress = "quiet"
			a.getenv = func(k string) string { return map[string]string{"GITHUB_REF_NAME": "fix"}[k] }
			if err := o.check(a); err != nil {
				t.Fatal(err)
			}
			a.tellCaches(&o.parsed, c.work, o.parsed.cacheMetadata(c.work))
			if !strings.Contains(said.String(), c.says) ||
				!strings.Contains(said.String(), c.failed+" imports and exports failed") {
				t.Errorf("said is\n%swant %q and %q", said.String(), c.says, c.failed)
			}
			if strings.Contains(said.String(), "warning") != strings.HasPrefix(c.says, "warning") {
				t.Errorf("a warning is said where none should be, or none where one should:\n%s", said.String())
			}
		})
	}
}
