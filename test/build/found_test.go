package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// nobody is a builder that is not there: a build that finds nothing fails at once.
const nobody = "unix:///nowhere/buildkitd.sock"

// uncachedHome is a new home with the short recipe and its lock, in CI.
func uncachedHome(t *testing.T) *home {
	t.Helper()
	h := coldHome(t)
	h.env = []string{"CI=true", "BUILDKIT_HOST=" + nobody, "GITHUB_STEP_SUMMARY=" + filepath.Join(h.cwd, "summary.md")}
	return h
}

// foundOnly fails the test where an engine was made, or something else than the shared image was found.
func (h *home) foundOnly(out outcome, how string) {
	h.t.Helper()
	m := out.meta.Raybuild
	if m.Found.How != how || m.UpToDate || out.meta.Digest != warm.digest {
		h.t.Errorf("found %+v, up_to_date %v, digest %s, want %s of %s", m.Found, m.UpToDate, out.meta.Digest,
			how, warm.digest)
	}
	if m.BytesPushed != 0 || len(m.Layers) == 0 || len(m.Steps) != 0 {
		h.t.Errorf("%d bytes were pushed of %d layers, %d steps taken, want nothing sent or run", m.BytesPushed,
			len(m.Layers), len(m.Steps))
	}
	for _, l := range m.Layers {
		if !l.Reused {
			h.t.Errorf("layer %q is not said to be reused", l.Name)
		}
	}
	if !strings.Contains(out.stderr, how) || !strings.Contains(h.read("summary.md"), how) {
		h.t.Errorf("neither terminal nor job summary may leave out %q:\n%s\n%s", how, out.stderr, h.read("summary.md"))
	}
	if _, err := os.Stat(filepath.Join(h.dir, "engine")); err == nil {
		h.t.Error("an engine was made for an image that is there")
	}
}

// A graph that the repository has under another tag is tagged, and one that another repository has
// is mounted. No engine starts.
func TestGraphIsFoundUnderAnotherTag(t *testing.T) {
	h := uncachedHome(t)
	c := newCounter(t)
	main := c.host + "/warm:main"
	h.foundOnly(h.push(main), "retagged")
	if n := c.requests.Load(); n > 12 {
		t.Errorf("retagging took %d requests, want at most 12: two tags asked for, the manifest put, and what is read "+
			"meanwhile of an image to take layers from, its bill of materials too", n)
	}
	if d, err := pull(t, main).Digest(); err != nil || d.String() != warm.digest {
		t.Errorf("the new tag is %v (%v), want %s", d, err, warm.digest)
	}

	other := c.host + "/release/ray:1"
	c.requests.Store(0)
	out := h.push(other, "--cache-from", c.host+"/warm:cache-main")
	h.foundOnly(out, "copied")
	blobs := len(out.meta.Raybuild.Layers) + 1
	if n, most := int(c.requests.Load()), 2*blobs+60; n > most {
		t.Errorf("copying took %d requests for %d blobs, want at most %d: a question and a mount for each, and what "+
			"travels with an image", n, blobs, most)
	}
	if d, err := pull(t, other).Digest(); err != nil || d.String() != warm.digest {
		t.Errorf("the copy is %v (%v), want %s", d, err, warm.digest)
	}
	if lock := h.run("inspect", "--lock", other); lock.stdout != warm.lock {
		t.Errorf("the copy carries another lock than its source: exit %d, %d bytes, want %d", lock.code,
			len(lock.stdout), len(warm.lock))
	}
	// The copy can be found, too.
	h.foundOnly(h.push(c.host+"/release/ray:2"), "retagged")
	c.requests.Store(0)
	h.refused(1, []string{nobody}, "--push", "--graph-tag=false", "--reuse=false", c.host+"/release/ray:3")

	// A tag of the graph's name that is something else is not believed.
	found, err := remote.List(repositoryOf(t, other))
	if err != nil {
		t.Fatal(err)
	}
	for _, tag := range found {
		if strings.HasPrefix(tag, "graph-") {
			overwrite(t, c.host+"/release/ray:"+tag)
		}
	}
	h.refused(1, []string{nobody}, "--push", "--reuse=false", c.host+"/release/ray:4")
}

func repositoryOf(t *testing.T, ref string) name.Repository {
	t.Helper()
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Context()
}

// overwrite makes a tag another image.
func overwrite(t *testing.T, ref string) {
	t.Helper()
	img, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(parsed, img); err != nil {
		t.Fatal(err)
	}
}
