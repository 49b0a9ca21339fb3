package build

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/cachetest"
	"github.com/raybuild/raybuild/internal/world"
)

// mutation is a change of recipe, files and lock.
type mutation struct {
	name, tag string
	edits     [][2]string // of the recipe: old text and new
	file      string      // the own file's content
	free      string      // a package that the lock lets go of, with no word of it in the recipe
	ran       []string    // layers whose steps it runs, and no other's
}

// mutations are of every kind of layer: base, apt, conda, wheels, own files and steps, and of
// config, recipe and lock alone.
func mutations() []mutation {
	return []mutation{
		{
			name: "the base patched", tag: "base",
			edits: [][2]string{{"base: " + testEnv.Base, "base: " + testEnv.BasePatched}},
			ran:   []string{"apt", "mark", "user"},
		},
		{name: "apt's list, an own file and a label", tag: "apt",
			edits: [][2]string{{"apt: [less]", "apt: [less, ed]"}, {"team: a", "team: b"}},
			file:  "print(2)\n", ran: []string{"apt", "files", "mark"}},
		{name: "a conda package and the image's mirrors", tag: "conda",
			edits: [][2]string{{"env: {", "env: {conda: [world-links], "}, {"mirrors: {", "mirrors: {image: tuna, "}},
			ran:   []string{"env", "mark", "mirrors"}},
		{name: "ray, another wheel by the lock alone, and a step's text", tag: "wheels",
			edits: [][2]string{{"ray: {version: " + world.RayOld, "ray: {version: " + world.RayNew},
				{"echo 1", "echo 2"}},
			free: "click", ran: []string{"mark", "pip-1", "ray"}},
	}
}

// cacheFlags are, for each kind of cache, what --cache-from and --cache-to say of one. The registry
// is raybuild's own, S3 gofakes3; GitHub Actions and Azure are stand-ins.
func cacheFlags(t *testing.T) map[string][2]string {
	t.Helper()
	serve := func(h http.Handler) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.URL
	}
	bucket, err := cachetest.S3("caches")
	if err != nil {
		t.Fatal(err)
	}
	both := func(text string) [2]string { return [2]string{text, text} }
	dir := filepath.Join(t.TempDir(), "cache")
	return map[string][2]string{
		"registry": both("type=registry,ref=" + ref(t, "cache")),
		"inline":   {"type=registry,ref=" + ref(t, "inline"), "type=inline"},
		"local":    {"type=local,src=" + dir, "type=local,dest=" + dir},
		"gha":      both("type=gha,url_v2=" + serve(&cachetest.Actions{}) + ",token=" + cachetest.Token("main", true)),
		"s3": both("type=s3,bucket=caches,region=here,name=cache,endpoint_url=" +
			serve(bucket) + ",access_key_id=key,secret_access_key=secret,use_path_style=true"),
		"azblob": both("type=azblob,account_url=" + serve(&cachetest.Azure{}) +
			",account_name=me,secret_access_key=c2VjcmV0,name=cache"),
	}
}

// Each mutation makes one image, whatever was cached: on an empty builder, on one that has built
// the image before, and on empty ones with a cache of that image, of each kind. There the same
// steps run as on the builder that has it all: every one whose input changed, so that nothing stale
// comes into the image, and no other.
func TestMutationsMakeOneImageWithEachKindOfCache(t *testing.T) {
	warm := newHome(t)
	// one repository: layers are pushed once
	name := func(m mutation, state string) string { return ref(t, m.tag+"-"+state) }
	recipe := func(click string) string {
		return shortRecipe("pip: ["+click+"]", "files: [{from: app, to: /home/ray/app}]",
			`steps: [{name: mark, run: "echo 1 > /opt/mark", needs: [apt]}]`, "image: {labels: {team: a}}")
	}
	warm.write("app/main.py", "print(1)\n")
	// so that the lock holds a version that the recipe does not
	for _, click := range []string{"click==8.1.7", "click"} {
		warm.write("raybuild.yaml", recipe(click))
		warm.lock()
	}
	flags := cacheFlags(t)
	args := []string{"--graph-tag=false"}
	for _, kind := range slices.Sorted(maps.Keys(flags)) {
		args = append(args, "--cache-to", flags[kind][1])
	}
	// inline needs no work
	if first := warm.push(ref(t, "inline"), args...); !strings.Contains(first.stderr,
		"0 of 5 imports and exports failed") {
		t.Fatalf("not all caches were exported:\n%s", tail(first.stderr, 30))
	}
	for _, m := range mutations() {
		t.Run(m.name, func(t *testing.T) {
			files := warm.mutated(t, m)
			// Another name for each, and none by the graph: that the registry has the image must not spare a build.
			built := files(t, warm.dir).push(name(m, "warm"), "--graph-tag=false").meta
			if ran := built.ran(); !slices.Equal(ran, m.ran) {
				t.Errorf("steps ran in %v, want %v", ran, m.ran)
			}
			cold := files(t, newHome(t).dir).push(name(m, "cold"), "--graph-tag=false").meta
			if built.Digest != cold.Digest {
				t.Errorf("the image is %s, from an empty builder %s\n%s", built.Digest, cold.Digest,
					differing(built, cold))
			}
			for _, kind := range slices.Sorted(maps.Keys(flags)) {
				t.Run(kind, func(t *testing.T) {
					got := files(t, newHome(t).dir).push(name(m, kind), "--graph-tag=false", "--cache-from",
						flags[kind][0])
					got.sameAs(t, built, cold)
				})
			}
		})
	}
}

// sameAs compares a build on an empty builder with a cache with one where all was there, and with one without any.
func (o outcome) sameAs(t *testing.T, warm, cold metadata) {
	t.Helper()
	if o.meta.Digest != cold.Digest {
		t.Errorf("the image is %s, without a cache %s\n%s", o.meta.Digest, cold.Digest, differing(o.meta, cold))
	}
	if !strings.Contains(o.stderr, "0 of 1 imports and exports failed") {
		t.Errorf("the cache could not be read, or was not:\n%s", tail(o.stderr, 30))
	}
	if got, want := o.meta.stepsRun(), warm.stepsRun(); !slices.Equal(got, want) {
		t.Errorf("steps %q ran, where all was there %q", got, want)
	}
}

// written are steps that write small files of raybuild's own: BuildKit exports no result of an
// operation without inputs, so an empty builder writes them again. What they write is in the image,
// or in what a step sees.
var written = regexp.MustCompile(`^\S+: (make|list|activate) `)

// ofWheels are layers that raybuild makes of what the index serves: no cache holds them.
var ofWheels = regexp.MustCompile(`^(ray|pip-[0-9]+)$`)

// stepsRun are the steps that ran, as "layer: step", sorted, without those that an empty builder must run again.
func (m metadata) stepsRun() []string {
	var out []string
	for _, s := range m.Raybuild.Steps {
		if name := s.Layer + ": " + s.Name; !s.Cached && s.Layer != "smoke" && !written.MatchString(name) &&
			!ofWheels.MatchString(s.Layer) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// lock brings the lock up to the recipe.
func (h *home) lock(args ...string) {
	h.t.Helper()
	if out := h.run(append([]string{"lock"}, args...)...); out.code != 0 {
		h.t.Fatalf("raybuild lock %s: exit %d\n%s", strings.Join(args, " "), out.code, tail(out.stderr, 40))
	}
}

// mutated resolves a mutation of the home's recipe, and gives homes that have it on the builder in dir.
func (h *home) mutated(t *testing.T, m mutation) func(t *testing.T, dir string) *home {
	t.Helper()
	recipe := h.read("raybuild.yaml")
	for _, e := range m.edits {
		if !strings.Contains(recipe, e[0]) {
			t.Fatalf("the recipe has no %q:\n%s", e[0], recipe)
		}
		recipe = strings.Replace(recipe, e[0], e[1], 1)
	}
	file := m.file
	if file == "" {
		file = h.read("app/main.py")
	}
	lock := h.read("raybuild.lock")
	files := func(t *testing.T, dir string) *home {
		c := &home{t: t, dir: dir, cwd: t.TempDir()}
		c.write("raybuild.yaml", recipe)
		c.write("raybuild.lock", lock)
		c.write("app/main.py", file)
		return c
	}
	first := files(t, h.dir)
	first.lock()
	if m.free != "" {
		first.lock("--update", m.free)
	}
	lock = first.read("raybuild.lock")
	return files
}
