package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	digest "github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/engine"
	"github.com/raybuild/raybuild/internal/faultyregistry"
	"github.com/raybuild/raybuild/llb"
)

const built = "built"

// cacheBudget is raybuild's --cache-budget here; its default is 5 minutes.
const cacheBudget = 10 * time.Second

// cacheRow is a fault of a registry that a cache is in.
type cacheRow struct {
	id, fault string
	export    bool // the cache is written, and not read
	spoil     func(ctx context.Context, large int) faultyregistry.Middleware
}

// cacheRows are C1 to C4 of the fault matrix, as far as a registry makes them. What a forged record
// of steps does is a test of llb.
func cacheRows() []cacheRow {
	always := func(m faultyregistry.Middleware) func(context.Context, int) faultyregistry.Middleware {
		return func(context.Context, int) faultyregistry.Middleware { return m }
	}
	long := func(m faultyregistry.Middleware) func(context.Context, int) faultyregistry.Middleware {
		return func(_ context.Context, large int) faultyregistry.Middleware { return faultyregistry.Long(large, m) }
	}
	silent := func(kind faultyregistry.Kind) func(context.Context, int) faultyregistry.Middleware {
		return func(ctx context.Context, _ int) faultyregistry.Middleware { return faultyregistry.Silent(ctx, kind) }
	}
	isIndex := func(r *http.Request) bool { return faultyregistry.ReadManifest(r) && r.Method == http.MethodGet }
	return []cacheRow{
		{"C1", "the index is no JSON", false, always(faultyregistry.Saying(isIndex, "{"))},
		{"C1", "500 to the index", false, always(faultyregistry.Refusing(faultyregistry.ReadManifest,
			http.StatusInternalServerError))},
		{"C1", "all blobs are lost", false, always(faultyregistry.Refusing(faultyregistry.Read, http.StatusNotFound))},
		{"C1", "a layer is said to be there and is lost", false,
			long(faultyregistry.Refusing(faultyregistry.Any, http.StatusNotFound))},
		{"C2", "a layer has other bytes", false,
			long(faultyregistry.Saying(faultyregistry.Any, strings.Repeat("poison", 1<<20)))},
		{"C3", "403 to each write of the cache", true,
			always(faultyregistry.Refusing(faultyregistry.Write, http.StatusForbidden))},
		{"C3", "writes of the cache are never answered", true, silent(faultyregistry.Write)},
		{"C4", "nothing is ever answered", false, silent(faultyregistry.Any)},
		{"C4", "1 Mbit/s", false, always(faultyregistry.Slow(125_000))},
	}
}

// cacheBuild is a build that imports or exports a cache in a registry; to is what the edit changes.
// It gives the image's digest.
type cacheBuild func(ctx context.Context, e engine.Options, ref, to string, export bool) (digest.Digest, error)

// measureCache has the cache of one build in a registry, and then an empty engine make an edit with
// a fault before that cache.
func (b *bench) measureCache(ctx context.Context, dir string, c cacheRow, build cacheBuild) (res result, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return result{}, err
	}
	s, err := newSite(ctx, filepath.Join(dir, "registry"), b.image, row{spoil: func(s *site) faultyregistry.Middleware {
		return c.spoil(s.ctx, int(b.image.large.Size)/2)
	}})
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	at := func(name string) engine.Options {
		return engine.Options{Home: filepath.Join(dir, name), Exe: b.raybuild, Notes: io.Discard}
	}
	first, cold, empty := at("first"), at("cold"), at("empty")
	engines := []engine.Options{first, cold, empty}
	// an engine may wait for an answer until the registry ends
	defer func() { err = errors.Join(err, s.close(), stop(ctx, engines)) }()
	for _, e := range engines {
		if _, err := engine.Ensure(ctx, e); err != nil {
			return result{}, err
		}
	}
	const cache = "/faults/cache:1"
	if !c.export {
		if _, err := build(ctx, first, s.behind+cache, "a", true); err != nil {
			return result{}, fmt.Errorf("fill the cache: %w", err)
		}
	}
	want, err := build(ctx, cold, "", "b", false)
	if err != nil {
		return result{}, fmt.Errorf("build without a cache: %w", err)
	}
	start := time.Now()
	var got digest.Digest
	failure := limited(ctx, b.limit, func(ctx context.Context) (err error) {
		got, err = build(ctx, empty, s.host+cache, "b", c.export)
		return err
	})
	res = result{Outcome: built, Seconds: time.Since(start).Seconds(), Whole: failure == nil && got == want}
	if failure != nil {
		res.Outcome, res.Error = failed, firstLine(failure)
		if errors.Is(failure, context.DeadlineExceeded) {
			res.Outcome = hung
		}
	} else if !res.Whole {
		res.Error = fmt.Sprintf("the image is %s, without the cache %s", got, want)
	}
	res.Right = res.Whole && res.Seconds < 2*cacheBudget.Seconds()
	return res, ctx.Err()
}

// stop ends engines.
func stop(ctx context.Context, all []engine.Options) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	var errs []error
	for _, e := range all {
		errs = append(errs, engine.Stop(ctx, e))
	}
	return errors.Join(errs...)
}

// measureCaches runs the rows of caches, one after the other: each has three engines.
func (b *bench) measureCaches(ctx context.Context, all []cacheRow, done func(*line)) ([]*line, error) {
	var lines []*line
	for i, c := range all {
		l := &line{Row: c.id, Fault: c.fault, Wanted: built, Results: map[string]result{}}
		for name, build := range map[string]cacheBuild{"raybuild": b.buildByLLB, "buildctl": b.buildByFile} {
			res, err := b.measureCache(ctx, filepath.Join(b.dir, fmt.Sprintf("c%d%c", i, name[0])), c, build)
			if err != nil {
				return nil, fmt.Errorf("%s, %s, %s: %w", c.id, c.fault, name, err)
			}
			l.Results[name] = res
		}
		lines = append(lines, l)
		done(l)
	}
	return lines, nil
}

// cacheFile is the Dockerfile of the builds with caches: the second copy is the edit, and needs the first.
const cacheFile = "FROM scratch AS heavy\nCOPY large /large\nFROM scratch\nARG TO\nCOPY --from=heavy /large /large\n" +
	"COPY --from=heavy /large /$TO\n"

// buildByFile builds by buildctl, with the exporter's option that lets a build go on without it.
func (b *bench) buildByFile(ctx context.Context, e engine.Options, ref, to string, export bool) (digest.Digest, error) {
	meta := filepath.Join(e.Home, "meta.json")
	more := []string{"--opt", "filename=Dockerfile.cache", "--opt", "build-arg:TO=" + to, "--metadata-file", meta,
		"--output", "type=image,name=faults.example/image,oci-mediatypes=true,rewrite-timestamp=true"}
	switch {
	case export:
		more = append(more, "--export-cache",
			"type=registry,mode=max,image-manifest=true,oci-mediatypes=true,ignore-error=true,ref="+ref)
	case ref != "":
		more = append(more, "--import-cache", "type=registry,ref="+ref)
	}
	if err := b.run(ctx, e, b.context, more...); err != nil {
		return "", err
	}
	var m struct {
		Digest digest.Digest `json:"containerimage.digest"`
	}
	data, err := os.ReadFile(meta)
	if err != nil {
		return "", err
	}
	return m.Digest, json.Unmarshal(data, &m)
}

// largeFile is the source of the one artifact.
type largeFile struct{ data []byte }

// Open implements llb.Artifacts.
func (f largeFile) Open(context.Context, digest.Digest) (io.ReadCloser, int64, error) {
	return io.NopCloser(bytes.NewReader(f.data)), int64(len(f.data)), nil
}

// buildByLLB builds as raybuild's command does, by the package llb, the same files in the same layers.
func (b *bench) buildByLLB(ctx context.Context, e engine.Options, ref, to string,
	export bool) (d digest.Digest, err error) {
	data, err := os.ReadFile(filepath.Join(b.context, "large"))
	if err != nil {
		return "", err
	}
	addr, err := engine.Ensure(ctx, e)
	if err != nil {
		return "", err
	}
	builder, err := llb.Connect(ctx, addr)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, builder.Close()) }()
	platform, err := llb.ParsePlatform("linux/amd64")
	if err != nil {
		return "", err
	}
	artifact := llb.Artifact(llb.Blob{Digest: digest.FromBytes(data), Name: "large"})
	heavy := llb.Scratch().Copy("[heavy] copy", artifact, "/large", "/large")
	edit := llb.Scratch().Copy("[edit] copy", heavy, "/large", "/"+to)
	o := llb.BuildOptions{Names: []string{"faults.example/image:1"}}
	o.CacheBudget = cacheBudget
	entry := []llb.CacheEntry{{Type: "registry", Attrs: map[string]string{"ref": ref}}}
	switch {
	case export:
		entry[0].Attrs = map[string]string{"ref": ref, "mode": "max", "image-manifest": "true",
			"oci-mediatypes": "true", "ignore-error": "true"}
		o.CacheTo = entry
	case ref != "":
		o.CacheFrom = entry
	}
	res, err := builder.Build(ctx, []llb.Image{{Platform: platform,
		Layers: []llb.Layer{{Name: "heavy", Stage: heavy}, {Name: "edit", Stage: edit}}}},
		llb.Session{Artifacts: largeFile{data}}, o)
	if err != nil {
		return "", err
	}
	return res.Digest, nil
}
