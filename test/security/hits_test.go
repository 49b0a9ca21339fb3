package security

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild"
	"github.com/raybuild/raybuild/internal/fakebuilder"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// forgeries change an image that raybuild pushed, and leave the annotation that names its graph. Each stores
// the forged image under refs, which are of one repository.
func forgeries() map[string]func(v *victim, i *image, refs ...string) {
	changed := func(change func(v *victim, i *image, ref string)) func(*victim, *image, ...string) {
		return func(v *victim, i *image, refs ...string) {
			change(v, i, refs[0])
			v.put(i, refs...)
		}
	}
	annotation := func(k string) func(*victim, *image, ...string) {
		return changed(func(_ *victim, i *image, _ string) {
			i.manifest.Annotations[k] = digest.FromString("forged").String()
		})
	}
	return map[string]func(v *victim, i *image, refs ...string){
		"the graph's annotation on another image": func(v *victim, i *image, refs ...string) {
			v.put(v.random(map[string]string{"dev.raybuild.graph": i.manifest.Annotations["dev.raybuild.graph"]},
				refs[0]), refs...)
		},
		"all annotations on another image": func(v *victim, i *image, refs ...string) {
			v.put(v.random(i.manifest.Annotations, refs[0]), refs...)
		},
		"another entrypoint": changed(func(_ *victim, i *image, _ string) {
			i.config.Config.Entrypoint = []string{"/bin/sh", "-c", "evil"}
		}),
		"another user": changed(func(_ *victim, i *image, _ string) { i.config.Config.User = "0" }),
		"another variable": changed(func(_ *victim, i *image, _ string) {
			i.config.Config.Env = append(i.config.Config.Env, "LD_PRELOAD=/evil.so")
		}),
		"another label": changed(func(_ *victim, i *image, _ string) {
			i.config.Config.Labels["dev.raybuild.ray"] = "2.0.0"
		}),
		"another base": changed(func(v *victim, i *image, ref string) {
			i.manifest.Layers[0], i.config.RootFS.DiffIDs[0] = v.evil(ref)
		}),
		"a layer on top": changed(func(v *victim, i *image, ref string) {
			d, id := v.evil(ref)
			i.manifest.Layers = append(i.manifest.Layers, d)
			i.config.RootFS.DiffIDs = append(i.config.RootFS.DiffIDs, id)
		}),
		"a layer less": changed(func(_ *victim, i *image, _ string) {
			n := len(i.manifest.Layers) - 1
			i.manifest.Layers, i.config.RootFS.DiffIDs = i.manifest.Layers[:n], i.config.RootFS.DiffIDs[:n]
		}),
		"the base's layer higher up": changed(func(_ *victim, i *image, _ string) {
			l, d := i.manifest.Layers, i.config.RootFS.DiffIDs
			l[0], l[1], d[0], d[1] = l[1], l[0], d[1], d[0]
		}),
		"the record's annotation": annotation("dev.raybuild.inputs"),
		"the lock's annotation":   annotation("dev.raybuild.lock"),
		"the recipe's annotation": annotation("dev.raybuild.recipe"),
		"a second platform": func(v *victim, i *image, refs ...string) {
			repo := refs[0][:strings.LastIndex(refs[0], ":")]
			other := v.random(nil, refs[0])
			index := ocispecs.Index{Versioned: specs.Versioned{SchemaVersion: 2},
				MediaType: ocispecs.MediaTypeImageIndex, Annotations: i.manifest.Annotations}
			for n, m := range []stored{v.put(i, repo+":part-1"), v.put(other, repo+":part-2")} {
				arch := []string{"amd64", "arm64"}[n]
				index.Manifests = append(index.Manifests, ocispecs.Descriptor{MediaType: m.mediaType,
					Digest: digest.FromBytes(m.data), Size: int64(len(m.data)),
					Platform: &ocispecs.Platform{OS: "linux", Architecture: arch}})
			}
			data, err := json.MarshalIndent(index, "", "  ")
			if err != nil {
				v.t.Fatal(err)
			}
			v.tag(stored{data, index.MediaType}, refs...)
		},
		"a key of the manifest twice": func(v *victim, i *image, refs ...string) {
			m := v.put(i, refs...)
			other := v.random(nil, refs[0])
			v.put(other, refs...)
			config, err := json.Marshal(other.manifest.Config)
			if err != nil {
				v.t.Fatal(err)
			}
			m.data = []byte(strings.Replace(string(m.data), `"config":`, `"config": `+string(config)+`, "config":`, 1))
			v.tag(m, refs...)
		},
	}
}

// random stores the layers of an image that nobody knows, and returns the image.
func (v *victim) random(annotations map[string]string, ref string) *image {
	v.t.Helper()
	img, err := random.Image(1000, 2)
	if err != nil {
		v.t.Fatal(err)
	}
	out := &image{config: ocispecs.Image{Platform: ocispecs.Platform{OS: "linux", Architecture: "amd64"}}}
	out.manifest = ocispecs.Manifest{Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispecs.MediaTypeImageManifest, Annotations: annotations}
	config, err := img.RawConfigFile()
	if err != nil {
		v.t.Fatal(err)
	}
	d, id := v.evil(ref)
	out.manifest.Layers, out.config.RootFS = []ocispecs.Descriptor{d}, ocispecs.RootFS{Type: "layers",
		DiffIDs: []digest.Digest{id}}
	out.config.Author = digest.FromBytes(config).String()
	return out
}

// An image that only says that it is this graph is not up to date, not retagged and not copied.
func TestH4AnnotationDecidesNothing(t *testing.T) {
	t.Parallel()
	for what, forge := range forgeries() {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			v := newVictim(t)
			honest, _ := v.build(raybuild.BuildOptions{})
			forged := func() *image { return v.read(v.Ref("ray@" + honest.Digest)) }
			for where, refs := range map[string][]string{
				"the name itself":      {v.Ref("ray:1"), v.graphTag("ray", forged()), v.Ref("ray:graph-last")},
				"the graph's tag":      {v.graphTag("ray", forged()), v.Ref("ray:graph-last")},
				"a cache's repository": {v.graphTag("cache", forged())},
				"another name":         {v.Ref("ray:2"), v.graphTag("ray", forged())},
			} {
				repo := strings.TrimPrefix(refs[0], v.Host+"/")
				v.copyBlobs(v.Ref("ray@"+honest.Digest), v.Host+"/"+repo)
				forge(v, forged(), refs...)
				o := raybuild.BuildOptions{Names: []string{refs[0]}}
				switch where {
				case "the graph's tag":
					o.Names = []string{v.Ref("ray:new")}
				case "a cache's repository":
					o.Names = []string{v.Ref("prod:1")}
					o.CacheFrom = cache(v.Ref("cache:main"))
				}
				res, _ := v.build(o)
				if res.UpToDate || res.Found != nil || res.Digest != honest.Digest {
					t.Errorf("%s: up to date %v, found %+v, digest %s, want a new %s", where, res.UpToDate, res.Found,
						res.Digest, honest.Digest)
				}
				if got := v.DigestOf(o.Names[0]); got != honest.Digest {
					t.Errorf("%s: %s is %s, want %s", where, o.Names[0], got, honest.Digest)
				}
			}
		})
	}
}

// cache is a build cache in a registry.
func cache(ref string) []llb.CacheEntry {
	return []llb.CacheEntry{{Type: "registry", Attrs: map[string]string{"ref": ref}}}
}

// What the forgeries begin with, and change nothing of, is the image: so each is refused for what it changes.
func TestH4UnchangedImageIsTaken(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	honest, _ := v.build(raybuild.BuildOptions{})
	i := v.read(v.Ref("ray@" + honest.Digest))
	v.put(i, v.Ref("ray:1"), v.graphTag("ray", i))
	if res, ran := v.build(raybuild.BuildOptions{}); !res.UpToDate || len(ran) > 0 || res.Digest != honest.Digest {
		t.Errorf("it ran %q: %+v", ran, res)
	}
	v.copyBlobs(v.Ref("ray@"+honest.Digest), v.Ref("cache:copy"))
	v.put(i, v.graphTag("cache", i))
	res, ran := v.build(raybuild.BuildOptions{Names: []string{v.Ref("prod:1")},
		CacheFrom: cache(v.Ref("cache:main"))})
	if res.Found == nil || res.Found.How != "copied" || len(ran) > 0 || res.Digest != honest.Digest {
		t.Errorf("it ran %q: %+v, %+v", ran, res, res.Found)
	}
}

// An edit that changes no layer changes the recipe that travels with the image, and so the manifest. That is put
// together without a builder.
func TestH4OtherWordsArePutTogetherAgain(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	first, _ := v.build(raybuild.BuildOptions{})
	v.Edit("raybuild.yaml", "image: {", "smoke: false\nimage: {")
	res, ran := v.build(raybuild.BuildOptions{})
	if res.UpToDate || res.Digest == first.Digest || len(ran) > 0 || res.Engine != "" || res.BytesPushed > 0 {
		t.Errorf("the build ran %q: %+v", ran, res)
	}
	if !v.told("its manifest names another lock, record or recipe") {
		t.Errorf("nobody was told why: %v", v.events)
	}
}

// Builders that write other images find theirs again, too.
func TestH4OtherBuildersImagesAreTaken(t *testing.T) {
	t.Parallel()
	for what, o := range map[string]fakebuilder.Options{"cannot merge": {Linear: true},
		"pushes itself": {NoContent: true}} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			v := newVictim(t)
			v.Builder = fakebuilder.Start(t, o)
			first, _ := v.build(raybuild.BuildOptions{})
			res, ran := v.build(raybuild.BuildOptions{})
			if !res.UpToDate || len(ran) > 0 || res.Digest != first.Digest {
				t.Errorf("it ran %q: %+v", ran, res)
			}
		})
	}
}

// The lock says which layers the base has. So the base's registry need not answer, and another base is still seen.
func TestH4BaseIsComparedWithTheLock(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	base := httptest.NewServer(httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: v.Host}))
	host := strings.TrimPrefix(base.URL, "http://")
	for _, file := range []string{"raybuild.yaml", "raybuild.lock"} {
		v.Edit(file, v.Host+"/base", host+"/base")
	}
	layer := v.read(v.Ref("base:12")).manifest.Layers[0].Digest.String() // it is not packed
	v.Edit("raybuild.lock", "      layers: 1\n", "      layers: 1\n      layer_digests:\n        - "+layer+
		"\n      diff_ids:\n        - "+layer+"\n")
	honest, _ := v.build(raybuild.BuildOptions{})
	base.CloseClientConnections()
	base.Close()
	if res, ran := v.build(raybuild.BuildOptions{}); !res.UpToDate || len(ran) > 0 || res.Digest != honest.Digest {
		t.Errorf("it ran %q: %+v, %v", ran, res, v.events)
	}
	v.Edit("raybuild.yaml", "team: a", "team: b")
	res, ran := v.build(raybuild.BuildOptions{Names: []string{v.Ref("ray:2")}})
	if res.LayersFrom == "" || len(ran) > 0 {
		t.Errorf("it ran %q: %+v, %v", ran, res, v.events)
	}
	v.Edit("raybuild.yaml", "team: b", "team: a")
	i := v.read(v.Ref("ray@" + honest.Digest))
	i.manifest.Layers[0], i.config.RootFS.DiffIDs[0] = v.evil(v.Ref("ray:1"))
	v.put(i, v.Ref("ray:1"), v.graphTag("ray", i))
	p, err := raybuild.Open(t.Context(), v.options())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	plan, err := p.Plan(t.Context(), raybuild.CompareOptions{Image: v.Ref("ray:1")})
	if err != nil {
		t.Fatal(err)
	}
	if plan.UpToDate || !v.told("its lowest layers are not those of") {
		t.Errorf("the plan says up to date: %v, %v", plan.UpToDate, v.events)
	}
}

// copyBlobs copies an image's blobs into another repository.
func (v *victim) copyBlobs(from, to string) {
	v.t.Helper()
	repo := to[:strings.LastIndex(to, ":")]
	if err := v.client.Tag(v.t.Context(), from, repo+":copy"); err != nil {
		v.t.Fatal(err)
	}
}

// An image whose manifest does not name its documents is what earlier versions of raybuild pushed. If it is this
// graph's image, it is put together again without a builder, and raybuild says why.
func TestH4EarlierImageIsPutTogetherAgain(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	honest, _ := v.build(raybuild.BuildOptions{})
	v.earlier(honest)
	res, ran := v.build(raybuild.BuildOptions{})
	// Nobody knows whether that image has passed its test, so the test runs.
	ran = slices.DeleteFunc(ran, func(title string) bool { return llb.LayerOf(title) == layers.SmokeLayer })
	if res.UpToDate || res.Digest != honest.Digest || len(ran) > 0 || res.LayersFrom == "" {
		t.Errorf("the build ran %q, took layers from %q and made %s, want %s put together", ran, res.LayersFrom,
			res.Digest, honest.Digest)
	}
	if !v.told("its manifest does not name its lock, record and recipe") {
		t.Errorf("nobody was told why: %v", v.events)
	}
	v.earlier(honest)
	v.Edit("raybuild.yaml", "echo hello", "echo bye")
	if res, _ := v.build(raybuild.BuildOptions{}); res.LayersFrom != "" {
		t.Errorf("layers were taken from %s, whose record nobody knows", res.LayersFrom)
	}
	if !v.told("is not used, nor is any layer of it") {
		t.Errorf("nobody was told why: %v", v.events)
	}
}

// earlier makes ray:1 the image that an earlier raybuild would have pushed, with its documents.
func (v *victim) earlier(honest *raybuild.Result) {
	v.t.Helper()
	from := v.Ref("ray@" + honest.Digest)
	i := v.read(from)
	for _, k := range []string{"lock", "inputs", "recipe"} {
		delete(i.manifest.Annotations, "dev.raybuild."+k)
	}
	v.put(i, v.Ref("ray:1"), v.Ref("ray:graph-last"), v.graphTag("ray", i))
	for _, kind := range []string{lockType, inputsType, recipeType} {
		v.attach(v.pinned(v.Ref("ray:1")), kind, v.attached(from, kind))
	}
}

// To look whether an image is up to date, and to compare it, takes few requests and little time.
func TestH4LookIsCheap(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	var requests atomic.Int64
	to := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: v.Host})
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		to.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	host := strings.TrimPrefix(proxy.URL, "http://")
	v.Edit("raybuild.yaml", v.Host, host)
	v.Edit("raybuild.lock", v.Host, host)
	o := raybuild.BuildOptions{Names: []string{host + "/ray:1"}}
	first, _ := v.build(o)
	for range 3 {
		requests.Store(0)
		start := time.Now()
		again, _ := v.build(o)
		took := time.Since(start)
		if !again.UpToDate || again.Digest != first.Digest {
			t.Fatalf("the image is not up to date: %+v", again)
		}
		if n := requests.Load(); n > 5 {
			t.Errorf("the look took %d requests, want at most 5", n)
		}
		t.Logf("%d requests, %s", requests.Load(), took)
		if took < 150*time.Millisecond {
			return
		}
	}
	t.Error("the look took 150 ms or more, three times")
}
