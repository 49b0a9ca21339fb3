package raybuild

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/raybuild/raybuild/internal/bundle"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/show"
	"github.com/raybuild/raybuild/internal/sources"
	"github.com/raybuild/raybuild/internal/uv"
	"github.com/raybuild/raybuild/layers"
)

// BundleOptions say what a bundle holds, and where it is written.
type BundleOptions struct {
	// Dir is the directory of the bundle. It is made, or it holds a bundle, which is then completed. Required.
	Dir string
	// Frozen is an error if the lock does not fit the recipe, instead of resolving what changed.
	Frozen bool
	// NoImage leaves the finished image out of the bundle of [BundleImage]. It can be made again from the rest.
	NoImage bool
}

// BundleResult says what a bundle holds.
type BundleResult struct {
	Dir       string        `json:"dir"`       // as the options name it
	Digest    digest.Digest `json:"digest"`    // of the bundle's index: the same content has the same
	Artifacts int           `json:"artifacts"` // files by digest: packages, installer, uv
	Images    []string      `json:"images"`    // references of base images and finished images, sorted
	Bytes     int64         `json:"bytes"`     // of all blobs
	New       int64         `json:"new_bytes"` // of blobs that were not in the directory before
	// paths of local files that the recipe names and the bundle does not have, relative to the recipe
	Needs []string `json:"needs"`
}

// Bundle writes all that the project's image is made of into a directory: artifacts, base images, uv, recipe and lock.
// If the lock does not fit the recipe, Bundle first resolves what changed, as a build does. A directory that an
// interrupted call left is completed.
func (p *Project) Bundle(ctx context.Context, b BundleOptions) (_ *BundleResult, err error) {
	defer public(ctx, &err)
	if err := p.ensureLock(ctx, b.Frozen, nil); err != nil {
		return nil, err
	}
	graph, err := p.graph(ctx, &BuildOptions{})
	if err != nil {
		return nil, err
	}
	record, err := graph.RecipeRecord()
	if err != nil {
		return nil, err
	}
	source, err := layers.ParseRecipeRecord(record)
	if err != nil {
		return nil, err
	}
	return p.bundle(ctx, b, source.Recipe)
}

// BundleImage does the same for an image that raybuild pushed, from the recipe and the lock that it carries. The bundle
// also has the image itself, with all that is attached to it. From the recipe that o names, BundleImage uses only
// mirrors.fetch and trust.
func BundleImage(ctx context.Context, image string, o Options, b BundleOptions) (_ *BundleResult, err error) {
	defer public(ctx, &err)
	if _, err := registry.Host(image); err != nil {
		return nil, &OptionError{Err: err}
	}
	p, source, err := openImage(ctx, o, image, true, "raybuild bundle does")
	if err != nil {
		return nil, err
	}
	defer p.Close()
	if err := p.mustTrust(ctx); err != nil {
		return nil, err
	}
	if !b.NoImage {
		p.bundled = image
	}
	return p.bundle(ctx, b, source.Recipe)
}

// bundling is a bundle that is being written.
type bundling struct {
	p       *Project
	w       *bundle.Writer
	total   int64 // bytes that are known to be written
	mu      sync.Mutex
	written int64
	told    int64 // tenths that were told
	content bundle.Content
}

// bundle writes the bundle of recipe and lock, and of the image p.bundled.
func (p *Project) bundle(ctx context.Context, o BundleOptions, recipe []byte) (*BundleResult, error) {
	if o.Dir == "" {
		return nil, optionErrorf("Dir", "is missing: name the directory that the bundle is written to")
	}
	out, err := p.reach(ctx)
	if err != nil {
		return nil, err
	}
	w, err := bundle.Create(p.env.path(o.Dir))
	if err != nil {
		return nil, err
	}
	artifacts, tools := p.bundledArtifacts(), p.bundledTools()
	out.Know(slices.Concat(artifacts, tools), nil)
	b := &bundling{p: p, w: w}
	images, err := b.findImages(ctx)
	if err != nil {
		return nil, err
	}
	if err := b.room(slices.Concat(artifacts, tools), images); err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := json.Indent(&text, recipe, "", "  "); err != nil {
		return nil, fmt.Errorf("write recipe of bundle: %w", err)
	}
	b.content.Recipe, b.content.Lock, b.content.Needs = append(text.Bytes(), '\n'), p.data, p.recipe.Local()
	for _, tool := range tools {
		if err := b.put(ctx, tool); err != nil && ctx.Err() == nil {
			p.env.warn("the bundle gets no %s, and without it no Python package can be added there: %v",
				tool.Filename(), err)
		}
	}
	if err := b.fill(ctx, artifacts, images); err != nil {
		return nil, sources.Explain(err)
	}
	d, done, err := w.Finish(ctx, b.content)
	if err != nil {
		return nil, err
	}
	result := &BundleResult{Dir: o.Dir, Digest: d, Artifacts: len(b.content.Artifacts), Bytes: done.Bytes,
		New: done.New, Images: []string{}, Needs: append([]string{}, b.content.Needs...)}
	for _, i := range b.content.Images {
		result.Images = append(result.Images, i.Ref)
	}
	slices.Sort(result.Images)
	result.Images = slices.Compact(result.Images)
	return result, nil
}

// bundledArtifacts are the artifacts of the lock's platforms.
func (p *Project) bundledArtifacts() []layers.Artifact {
	var all []layers.Artifact
	seen := map[string]bool{}
	add := func(a layers.Artifact) {
		if !seen[a.SHA256] {
			seen[a.SHA256] = true
			all = append(all, a)
		}
	}
	for _, name := range p.platform {
		if locked := p.locked()[name]; locked != nil {
			for _, a := range locked.Fetched() {
				add(a)
			}
		}
	}
	return all
}

// bundledTools are uv for machines of the bundle's platforms and for this one. Who only builds from a lock that fits
// needs none.
func (p *Project) bundledTools() []layers.Artifact {
	var all []layers.Artifact
	seen := map[string]bool{}
	for _, host := range append([]string{runtime.GOOS + "/" + runtime.GOARCH}, p.platform...) {
		w, err := uv.WheelFor(host)
		if err == nil && !seen[w.SHA256] { // where there is none, pip resolves
			seen[w.SHA256] = true
			all = append(all, uvArtifact(w))
		}
	}
	return all
}

// room checks that the disk has room for what is not there yet.
func (b *bundling) room(artifacts []layers.Artifact, images []bundledImage) error {
	sizes := map[digest.Digest]int64{}
	for _, a := range artifacts {
		sizes[a.Digest()] = a.Size
	}
	for _, i := range images {
		for _, d := range i.blobs {
			sizes[d.Digest] = d.Size
		}
	}
	for _, size := range sizes {
		b.total += size
	}
	return b.w.Room(sizes)
}

// bundledAtOnce is how many blobs are written at once. The fetcher limits how many of them are fetched.
const bundledAtOnce = 8

// fill writes all blobs.
func (b *bundling) fill(ctx context.Context, artifacts []layers.Artifact, images []bundledImage) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(bundledAtOnce)
	for _, a := range artifacts {
		g.Go(func() error { return b.put(gctx, a) })
	}
	for _, i := range images {
		b.content.Images = append(b.content.Images, i.Image)
	}
	written := map[digest.Digest]bool{}
	for _, i := range images {
		for _, d := range i.blobs {
			if written[d.Digest] {
				continue
			}
			written[d.Digest] = true
			g.Go(func() error {
				open := func(ctx context.Context) (io.ReadCloser, error) { return b.p.openBundled(ctx, i, d) }
				size, err := b.w.Put(gctx, d.Digest, "blob of "+i.Ref, open)
				b.wrote(size, nil)
				return err
			})
		}
	}
	return g.Wait()
}

// put writes an artifact.
func (b *bundling) put(ctx context.Context, a layers.Artifact) error {
	size, err := b.w.Put(ctx, a.Digest(), a.Filename(), func(ctx context.Context) (io.ReadCloser, error) {
		r, _, err := b.p.sources.Open(ctx, a.Digest())
		return r, err
	})
	if err != nil {
		return err
	}
	b.wrote(size, &bundle.File{Name: a.Filename(), URL: a.URL(), Digest: a.Digest(), Size: size})
	return nil
}

// wrote counts what was written, and tells each tenth of it.
func (b *bundling) wrote(size int64, file *bundle.File) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if file != nil {
		b.content.Artifacts = append(b.content.Artifacts, *file)
	}
	b.written += size
	if b.total == 0 {
		return
	}
	if tenth := 10 * b.written / b.total; tenth > b.told && tenth < 10 {
		b.told = tenth
		b.p.env.info("bundle: %s of %s", show.Size(b.written), show.Size(b.total))
	}
}

// openBundles opens the bundles of the options.
func (o Options) openBundles(ctx context.Context) (bundle.Set, error) {
	var all bundle.Set
	for _, name := range o.Bundles {
		var (
			b   *bundle.Bundle
			err error
		)
		if ref, ok := strings.CutPrefix(name, bundleScheme); ok {
			c := registry.New(registry.Options{Insecure: o.InsecureRegistries, CertDirs: registry.CertDirs(o.getenv)})
			b, err = bundle.OpenRemote(ctx, c, ref)
		} else {
			b, err = bundle.Open(ctx, o.path(name))
		}
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}

// bundleScheme begins the name of a bundle in a registry.
const bundleScheme = "oci://"

// ServeBundles serves the finished images of o.Bundles on ln until ctx ends, as a registry that can only be read. An
// image keeps its name without its registry. ready gets their references, without the registry's address, before the
// first request is answered. hosts are further names of the registry.
func ServeBundles(ctx context.Context, o Options, ln net.Listener, ready func(images []string) error,
	hosts ...string) (err error) {
	defer public(ctx, &err)
	bundles, err := o.openBundles(ctx)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	images := bundles.Finished()
	var names []string
	for name, tags := range images.Repositories() {
		for _, tag := range tags {
			names = append(names, name+":"+tag)
		}
	}
	slices.Sort(names)
	if len(names) == 0 {
		err = fmt.Errorf("serve %s: no image is in there: raybuild bundle IMAGE puts one into a bundle", bundles)
	}
	if err == nil {
		err = ready(names)
	}
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	return registry.ServeImages(ctx, ln, images, hosts...)
}

// PushBundle copies the bundle of a directory to a registry, under ref, and returns its reference by digest.
func PushBundle(ctx context.Context, dir, ref string, o Options) (_ string, err error) {
	defer public(ctx, &err)
	if _, err := registry.Host(ref); err != nil {
		return "", &OptionError{Err: err}
	}
	e := newEnv(o)
	d, err := bundle.Push(ctx, e.path(dir), e.client(), registry.PushOptions{Names: []string{ref},
		Log: func(format string, args ...any) { e.warn(format, args...) }})
	if err != nil {
		return "", err
	}
	return registry.Pin(ref, d.String())
}

// descriptorOf describes bytes.
func descriptorOf(mediaType string, data []byte) ocispecs.Descriptor {
	return ocispecs.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}
