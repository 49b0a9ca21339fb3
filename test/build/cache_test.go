package build

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/raybuild/raybuild/internal/world"
)

// Two builders that never met, each with another mirror, make the same bytes; so does a builder that had all steps.
func TestTwoBuildersTwoMirrorsOneDigest(t *testing.T) {
	a, b := newHome(t), newHome(t)
	first := a.push(ref(t, "a"))
	if len(first.meta.ran()) < 5 {
		t.Errorf("a cold build ran only %v", first.meta.ran())
	}
	b.write("raybuild.lock", a.read("raybuild.lock"))
	testEnv.A.ResetStats()
	second := b.push(ref(t, "b"), "--graph-tag=false", "--reuse=false", "--set", "mirrors.fetch="+testEnv.B.Fetch())
	if first.meta.Digest != second.meta.Digest {
		t.Errorf("digests differ: %s from mirror A, %s from mirror B\n%s", first.meta.Digest, second.meta.Digest,
			differing(first.meta, second.meta))
	}
	if n := testEnv.A.Stats().Requests; n != 0 {
		t.Errorf("the build from mirror B sent %d requests to mirror A", n)
	}
	cached := a.push(ref(t, "c"), "--graph-tag=false", "--reuse=false")
	if cached.meta.Digest != first.meta.Digest || len(cached.meta.ran()) != 0 {
		t.Errorf("the cached build is %s and ran %v, want %s and nothing", cached.meta.Digest, cached.meta.ran(),
			first.meta.Digest)
	}
	for _, l := range cached.meta.Raybuild.Layers {
		if l.Name != "" && l.Digest == "" {
			t.Errorf("layer %q has no digest", l.Name)
		}
	}
	// Another mirror, everything there: nothing runs, nothing is fetched.
	testEnv.A.ResetStats()
	testEnv.B.ResetStats()
	switched := a.push(ref(t, "d"), "--graph-tag=false", "--reuse=false", "--set", "mirrors.fetch="+testEnv.B.Fetch())
	if len(switched.meta.ran()) != 0 || switched.meta.Digest != first.meta.Digest ||
		switched.meta.Raybuild.BytesFetched != 0 {
		t.Errorf("switching mirrors ran %v, fetched %d bytes, made %s", switched.meta.ran(),
			switched.meta.Raybuild.BytesFetched, switched.meta.Digest)
	}
	if n := testEnv.A.Stats().Requests + testEnv.B.Stats().Requests; n != 0 {
		t.Errorf("switching mirrors sent %d requests", n)
	}
}

func differing(a, b metadata) string {
	var out []string
	for i, l := range a.Raybuild.Layers {
		if i < len(b.Raybuild.Layers) && b.Raybuild.Layers[i].Digest != l.Digest {
			out = append(out, fmt.Sprintf("layer %q: %s and %s", l.Name, l.Digest, b.Raybuild.Layers[i].Digest))
		}
	}
	return strings.Join(out, "\n")
}

// Each edit runs the steps whose inputs it changed, and pushes what they made.
func TestEditsRunOnlyWhatTheyChange(t *testing.T) {
	h := fullHome(t)
	dst := func(tag string) string { return ref(t, tag) }
	before := h.push(dst("base")).meta
	wheels := []string{"pip-1", "pip-2", "pip-3", "tensorflow", "ray"}
	tests := []struct {
		name    string
		args    []string
		ran     []string // layers whose steps may run; each must
		kept    []string // layers that must keep their digest
		maxPush int64
	}{
		{"the image's mirrors", []string{"--set", "mirrors.image=tuna"}, []string{"mirrors"},
			slices.Concat([]string{"miniconda", "env"}, wheels), 10_000},
		{"other mirrors of the image", []string{"--set", "mirrors.image=aliyun"}, []string{"mirrors"},
			slices.Concat([]string{"miniconda", "env"}, wheels), 10_000},
		{"the base patched", []string{"--set", "base=" + testEnv.BasePatched}, []string{"apt", "user"},
			slices.Concat([]string{"miniconda", "env"}, wheels), 1 << 40},
		{"apt's list", []string{"--set", "apt=[bc]"}, []string{"apt"},
			slices.Concat([]string{"miniconda", "env"}, wheels), 1 << 40},
		{"ray upgraded", []string{"--set", "ray.version=" + world.RayNew}, []string{"ray"},
			[]string{"miniconda", "env", "pip-1", "pip-2", "pip-3", "tensorflow"}, 3 << 20},
		{"a label", []string{"--label", "a=b"}, nil, slices.Concat([]string{"miniconda", "env"}, wheels), 20_000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			after := h.push(dst(strings.Map(func(r rune) rune {
				if r < 'a' || r > 'z' {
					return '-'
				}
				return r
			}, tt.name)), tt.args...).meta
			if ran := after.ran(); !slices.Equal(ran, tt.ran) {
				t.Errorf("steps ran in %v, want %v", ran, tt.ran)
			}
			for _, l := range tt.kept {
				if before.layer(l) != after.layer(l) {
					t.Errorf("layer %s changed from %s to %s", l, before.layer(l), after.layer(l))
				}
			}
			if after.Raybuild.BytesPushed > tt.maxPush {
				t.Errorf("pushed %d bytes, want at most %d", after.Raybuild.BytesPushed, tt.maxPush)
			}
		})
	}
}

// The environment made anew of the same bytes runs no wheel's step.
func TestEnvMadeAnewOfTheSameBytesRunsNoWheel(t *testing.T) {
	h := fullHome(t)
	before := h.push(ref(t, "1")).meta
	old, newer := "", ""
	for _, i := range testEnv.Installers {
		if i.Distribution == "miniconda" && i.Version != recipeInstaller(h) {
			old, newer = i.Version, i.SHA256
		}
	}
	if old == "" {
		t.Fatal("the world has no second installer")
	}
	after := h.push(ref(t, "2"), "--set", "miniconda.version="+old, "--set", "miniconda.sha256="+newer).meta
	for _, l := range []string{"env", "ray", "tensorflow", "pip-1"} {
		if before.layer(l) != after.layer(l) {
			t.Errorf("layer %s changed with the installer", l)
		}
	}
	for _, ran := range after.ran() {
		if ran != "miniconda" && ran != "env" {
			t.Errorf("the step of layer %s ran, though its environment has the same bytes", ran)
		}
	}
}

func recipeInstaller(h *home) string {
	for line := range strings.Lines(h.read("raybuild.yaml")) {
		if rest, ok := strings.CutPrefix(line, "miniconda: {version: "); ok {
			return rest[:strings.IndexByte(rest, ',')]
		}
	}
	return ""
}

// Images whose layers are packed in another way than their base's, and those with a cache in the config, are compared
// with the graph like all others.
func TestEachFormIsUpToDate(t *testing.T) {
	h := warmHome(t)
	for form, args := range map[string][]string{"zstd": {"--compression=zstd"}, "estargz": {"--compression=estargz"},
		"inline": {"--cache-to", "type=inline", "--label", "form=inline"}} {
		dst := ref(t, form)
		first := h.push(dst, args...)
		if again := h.push(dst, args...); !again.meta.Raybuild.UpToDate || again.meta.Digest != first.meta.Digest {
			t.Errorf("%s: the image is not up to date:\n%s", form, tail(again.stderr, 200))
		}
	}
}

// An unchanged recipe costs a few questions to the registry: no engine, no runc, no state.
func TestUpToDateCostsALook(t *testing.T) {
	h := fullHome(t)
	dst := ref(t, "1")
	first := h.push(dst).meta
	c := newCounter(t)
	through := strings.Replace(dst, testEnv.Registry, c.host, 1)

	empty := newHome(t)
	for _, f := range []string{"raybuild.yaml", "raybuild.lock"} {
		empty.write(f, h.read(f))
	}
	nothing := t.TempDir()
	empty.env = []string{"PATH=" + nothing}
	repeated := empty.push(through)
	if !repeated.meta.Raybuild.UpToDate || repeated.meta.Digest != first.Digest {
		t.Errorf("up_to_date is %v, digest %s, want true and %s", repeated.meta.Raybuild.UpToDate,
			repeated.meta.Digest, first.Digest)
	}
	if n := c.requests.Load(); n > 5 {
		t.Errorf("the second push took %d requests, want at most 5", n)
	}
	if _, err := os.Stat(filepath.Join(empty.dir, "engine")); err == nil {
		t.Error("an engine was made for an unchanged recipe")
	}
	// A further name is tagged by manifest, still without an engine.
	second := strings.Replace(through, ":1", ":2", 1)
	out := empty.run("--push", through, second)
	if out.code != 0 {
		t.Fatalf("tagging a further name: exit %d\n%s", out.code, out.stderr)
	}
	if d, err := pull(t, strings.Replace(dst, ":1", ":2", 1)).Digest(); err != nil || d.String() != first.Digest {
		t.Errorf("the further name is %v (%v), want %s", d, err, first.Digest)
	}
	// A tag that is something else is built, or tagged, again.
	deleteTag(t, dst)
	again := h.push(dst, "--graph-tag=false", "--reuse=false").meta
	if again.Raybuild.UpToDate || again.Digest != first.Digest {
		t.Errorf("after the tag was deleted: up_to_date %v, digest %s, want a push of %s", again.Raybuild.UpToDate,
			again.Digest, first.Digest)
	}
	other := h.push(dst, "--label", "other=1").meta
	if other.Digest == first.Digest {
		t.Fatal("a label did not change the image")
	}
	if back := h.push(dst, "--graph-tag=false", "--reuse=false").meta; back.Raybuild.UpToDate ||
		back.Digest != first.Digest {
		t.Errorf("after the tag was overwritten: up_to_date %v, digest %s, want a push of %s", back.Raybuild.UpToDate,
			back.Digest, first.Digest)
	}
	if n := h.push(dst, "--no-cache").meta; n.Raybuild.UpToDate || n.Digest != first.Digest {
		t.Errorf("--no-cache: up_to_date %v, digest %s, want a build of %s", n.Raybuild.UpToDate,
			n.Digest, first.Digest)
	} else if len(n.ran()) < 6 {
		t.Errorf("--no-cache ran only %v", n.ran())
	}
}

func deleteTag(t *testing.T, ref string) {
	t.Helper()
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Delete(parsed, remote.WithTransport(http.DefaultTransport)); err != nil {
		t.Fatalf("delete %s: %v", ref, err)
	}
}
