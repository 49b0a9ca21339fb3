package llb_test

import (
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/cachetest"
	"github.com/raybuild/raybuild/llb"
)

// backend is a place where caches are kept.
type backend struct {
	from, to func(cache string) llb.CacheEntry
	server   *cacheServer // nil: files
	dir      string
}

// backends are all kinds that can be had: the registry is raybuild's own, S3 gofakes3, GitHub
// Actions and Azure stand-ins.
func backends(t *testing.T) map[string]backend {
	t.Helper()
	bucket, err := cachetest.S3("caches")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	reg, s3, gha := newCacheServer(t, embeddedRegistry(t)), newCacheServer(t, bucket),
		newCacheServer(t, &cachetest.Actions{})
	entry := func(kind string, attrs ...string) llb.CacheEntry {
		e := llb.CacheEntry{Type: kind, Attrs: map[string]string{"mode": "max", "ignore-error": "true"}}
		for i := 0; i < len(attrs); i += 2 {
			e.Attrs[attrs[i]] = attrs[i+1]
		}
		return e
	}
	inRegistry := func(cache string) llb.CacheEntry { return entry("registry", "ref", reg.host+"/team/ray:"+cache) }
	inS3 := func(cache string) llb.CacheEntry {
		return entry("s3", "bucket", "caches", "region", "here", "name", cache, "prefix", cache+"/", "endpoint_url",
			"http://"+s3.host,
			"access_key_id", "key", "secret_access_key", "secret", "use_path_style", "true")
	}
	inActions := func(cache string) llb.CacheEntry {
		return entry("gha", "scope", cache, "url_v2", "http://"+gha.host, "version", "2", "token",
			cachetest.Token("main", true))
	}
	azure := newCacheServer(t, &cachetest.Azure{})
	inAzure := func(cache string) llb.CacheEntry {
		return entry("azblob", "account_url", "http://"+azure.host, "account_name", "me", "secret_access_key",
			"c2VjcmV0", "name", cache, "prefix", cache)
	}
	images := newCacheServer(t, embeddedRegistry(t))
	return map[string]backend{
		"registry": {inRegistry, inRegistry, reg, ""},
		"s3":       {inS3, inS3, s3, ""},
		"gha":      {inActions, inActions, gha, ""},
		"azblob":   {inAzure, inAzure, azure, ""},
		"local": {
			func(cache string) llb.CacheEntry { return entry("local", "src", filepath.Join(dir, cache)) },
			func(cache string) llb.CacheEntry { return entry("local", "dest", filepath.Join(dir, cache)) }, nil, dir,
		},
		"inline": {
			func(cache string) llb.CacheEntry {
				return entry("registry", "ref", images.host+"/team/inline:"+cache)
			},
			func(string) llb.CacheEntry { return llb.CacheEntry{Type: "inline"} }, images, "",
		},
	}
}

// options are those of a build that brings a cache there: an inline one with the image.
func (b backend) export(name, cache string) llb.BuildOptions {
	o := llb.BuildOptions{SolveOptions: llb.SolveOptions{CacheTo: []llb.CacheEntry{b.to(cache)}}}
	if name == "inline" {
		o.Names, o.Push = []string{b.from(cache).Attrs["ref"]}, true
	}
	return o
}

// imported are the options of a build that reads a cache. An inline cache is a part of the image,
// so it is written, too.
func (b backend) imported(name, cache string) llb.BuildOptions {
	o := llb.BuildOptions{SolveOptions: llb.SolveOptions{CacheFrom: []llb.CacheEntry{b.from(cache)}}}
	switch name {
	case "inline":
		o.CacheTo = []llb.CacheEntry{b.to(cache)}
	case "registry": // to write one must not read more, either
		o.CacheTo = []llb.CacheEntry{b.to("again")}
	}
	return o
}

// corrupt makes every heavy layer have other bytes.
func (b backend) corrupt(t *testing.T) {
	t.Helper()
	if b.server != nil {
		b.server.spoil(func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(otherBytes{w}, r) })
		})
		return
	}
	files, err := filepath.Glob(filepath.Join(b.dir, "full", "blobs", "sha256", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) < heavy {
			continue
		}
		data[0] ^= 1
		if err := os.WriteFile(f, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// otherBytes changes what is written of a long body.
type otherBytes struct{ http.ResponseWriter }

// Write implements io.Writer.
func (w otherBytes) Write(p []byte) (int, error) {
	if n, err := strconv.Atoi(w.Header().Get("Content-Length")); err == nil && n >= heavy && len(p) > 0 {
		p = slices.Clone(p)
		p[0] ^= 1
	}
	return w.ResponseWriter.Write(p)
}

// With each kind of cache an empty builder runs what an edit changed and no more, downloads only
// what that needs, and makes the image that a builder without a cache makes: with a cache that has
// everything, a part, or wrong bytes.
func TestCacheBackends(t *testing.T) {
	w := newWorld(t)
	first, edited := chain{"1", "1", "1"}, chain{"1", "1", "2"}
	all := backends(t)
	a := connect(t)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		for cache, what := range map[string]chain{"full": first, "partial": {env: "1", ray: "1"}} {
			if text := failures(build(t, a, w, chainImage(w, what), all[name].export(name, cache))); text != "" {
				t.Fatalf("%s: the cache was not exported: %s", name, text)
			}
		}
	}
	cold := build(t, connect(t), w, chainImage(w, edited), llb.BuildOptions{})
	for _, name := range slices.Sorted(maps.Keys(all)) {
		b := all[name]
		t.Run(name, func(t *testing.T) {
			b.runsOnlyEdits(t, w, name, first, cold)
			empty := connect(t)
			partial := build(t, empty, w, chainImage(w, edited), b.imported(name, "partial"))
			if got := layersRan(partial); got != "data ray" {
				t.Errorf("with a cache of a part ran %q, want data and ray", got)
			}
			same(t, name, partial, cold)
			b.corrupt(t)
			empty = connect(t)
			broken := build(t, empty, w, chainImage(w, edited), b.imported(name, "full"))
			same(t, name, broken, cold)
			if !strings.Contains(layersRan(broken), "env") ||
				!strings.Contains(failures(broken), "reading from the cache") {
				t.Errorf("with a corrupt cache ran %q, and it says %q", layersRan(broken), failures(broken))
			}
		})
	}
}

// same checks that an image is the cold one: the whole of it, or where the cache is a part of the
// image, all of its layers.
func same(t *testing.T, name string, got, cold *llb.Result) {
	t.Helper()
	if name == "inline" {
		if !slices.Equal(got.Images[0].Layers, cold.Images[0].Layers) {
			t.Errorf("the layers are %+v, without a cache %+v", got.Images[0].Layers, cold.Images[0].Layers)
		}
		return
	}
	if got.Digest != cold.Digest {
		t.Errorf("the image is %s, without a cache %s", got.Digest, cold.Digest)
	}
}

// runsOnlyEdits makes edits of the image on an empty builder with a full cache: on one for each
// with a registry, else on one.
func (b backend) runsOnlyEdits(t *testing.T, w *world, name string, first chain, cold *llb.Result) {
	t.Helper()
	builder := connect(t)
	for i, e := range []struct {
		what   string
		chain  chain
		ran    string
		layers int64 // heavy ones that are needed and not there
	}{
		{"ray", chain{"1", "1", "2"}, "ray", 1},
		{"nothing", first, "", 0},
		{"data", chain{"1", "2", "1"}, "data", 0},
		{"env", chain{"2", "1", "1"}, "env ray", 0},
	} {
		if name == "registry" && i > 0 {
			builder = connect(t)
		}
		if b.server != nil {
			b.server.taken()
		}
		got := build(t, builder, w, chainImage(w, e.chain), b.imported(name, "full"))
		if text := failures(got); text != "" {
			t.Errorf("edit of %s: %s", e.what, text)
		}
		if r := layersRan(got); r != e.ran {
			t.Errorf("edit of %s: ran %q, want %q", e.what, r, e.ran)
		}
		if e.what == "ray" {
			same(t, name, got, cold)
		}
		if b.server == nil {
			continue
		}
		if n := b.server.taken(); n < e.layers*heavy || n > e.layers*heavy+heavy/2 {
			t.Errorf("edit of %s: %d bytes were read of the cache, want %d layers of %d", e.what, n, e.layers, heavy)
		}
	}
}

// layersRan are the layers whose steps ran, sorted.
func layersRan(r *llb.Result) string {
	var all []string
	for _, s := range r.Steps {
		if !s.Cached && s.Name == "install" {
			all = append(all, s.Layer)
		}
	}
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(all))), " ")
}
