package llb

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

func (o BuildOptions) validate(images []Image) error {
	var errs []error
	if len(images) == 0 {
		errs = append(errs, errors.New("no image to build"))
	}
	seen := map[string]bool{}
	for _, i := range images {
		p := FormatPlatform(i.Platform)
		if seen[p] {
			errs = append(errs, fmt.Errorf("platform %s is given twice", p))
		}
		seen[p] = true
	}
	if o.Push && len(o.Names) == 0 {
		errs = append(errs, errors.New("push: no name to push to"))
	}
	if o.Docker != nil && len(images) > 1 {
		errs = append(errs, errors.New("docker archive: it holds one platform, not several; write an OCI archive"))
	}
	for _, n := range o.Names {
		ref, err := reference.ParseNormalizedNamed(n)
		if err != nil {
			errs = append(errs, fmt.Errorf("image name %q: %w", n, err))
		} else if _, pinned := ref.(reference.Digested); pinned {
			errs = append(errs, fmt.Errorf("image name %q: a digest cannot be chosen; want name:tag", n))
		}
	}
	switch o.Compression {
	case "", "gzip", "zstd", "estargz":
	default:
		errs = append(errs, fmt.Errorf("compression %q: want gzip, zstd or estargz", o.Compression))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("build image: %w", err)
	}
	return nil
}

// outputs are the archives that a build writes. If a build fails before BuildKit opens them, it closes them too.
// Otherwise a reader of the other end would wait for ever.
type outputs struct {
	oci, docker *onceCloser
	opened      atomic.Bool // bytes may have been written, so that the build cannot be begun anew
}

func (o *outputs) close(cause error) error {
	var errs []error
	for _, w := range []*onceCloser{o.oci, o.docker} {
		if w == nil {
			continue
		}
		if p, ok := w.WriteCloser.(*io.PipeWriter); ok && cause != nil {
			errs = append(errs, p.CloseWithError(cause))
		}
		errs = append(errs, w.Close())
	}
	return errors.Join(errs...)
}

type onceCloser struct {
	io.WriteCloser
	once sync.Once
	err  error
}

func closing(w io.WriteCloser) *onceCloser {
	if w == nil {
		return nil
	}
	return &onceCloser{WriteCloser: w}
}

func (w *onceCloser) Close() error {
	w.once.Do(func() { w.err = w.WriteCloser.Close() })
	return w.err
}

func (o BuildOptions) exports(out *outputs, platforms int) []client.ExportEntry {
	var all []client.ExportEntry
	archive := func(typ string, w *onceCloser) {
		if w == nil {
			return
		}
		all = append(all, client.ExportEntry{Type: typ, Attrs: o.attrs(platforms),
			Output: func(map[string]string) (io.WriteCloser, error) {
				out.opened.Store(true)
				return w, nil
			}})
	}
	archive(client.ExporterOCI, out.oci)
	archive(client.ExporterDocker, out.docker)
	if o.Local != "" {
		all = append(all, client.ExportEntry{Type: client.ExporterLocal, OutputDir: o.Local})
	}
	if len(all) == 0 || len(o.Names) > 0 {
		all = append(all, o.imageExport(false, platforms))
	}
	return all
}

// imageExport keeps the image in the builder. It is not stored by name there: where a builder has a store for names,
// storing would fetch every layer of the base.
func (o BuildOptions) imageExport(push bool, platforms int) client.ExportEntry {
	attrs := o.attrs(platforms)
	attrs[string(exptypes.OptKeyStore)] = "false"
	if push {
		attrs[string(exptypes.OptKeyPush)] = "true"
		if o.Insecure {
			attrs[string(exptypes.OptKeyInsecure)] = "true"
		}
	}
	return client.ExportEntry{Type: client.ExporterImage, Attrs: attrs}
}

// GzipLevel is the level (1 to 9) at which layers are compressed with gzip or estargz. Big wheels are
// machine code. This level packs it in half the time of Go's default level 6 (24 instead of 13 MB/s on
// one CPU), and the result is 2 % larger. That saves time on every link faster than about 2 Mbit/s.
// Level 1 makes it 10 % larger.
const GzipLevel = 4

// compressionLevel is the key of exporters' attributes that all BuildKits have that can merge
// (moby/buildkit#2591, v0.10).
const compressionLevel = "compression-level"

// attrs are the same for every form of the image, so that it has one digest.
func (o BuildOptions) attrs(platforms int) map[string]string {
	compression := o.Compression
	if compression == "" {
		compression = "gzip"
	}
	attrs := map[string]string{
		string(exptypes.OptKeyOCITypes):         "true",
		string(exptypes.OptKeyLayerCompression): compression,
		string(exptypes.OptKeyForceCompression): "true",
	}
	if compression != "zstd" {
		attrs[compressionLevel] = strconv.Itoa(GzipLevel)
	}
	if len(o.Names) > 0 {
		attrs[string(exptypes.OptKeyName)] = strings.Join(o.Names, ",")
	}
	for k, v := range o.Annotations {
		attrs[exptypes.AnnotationManifestKey(nil, k)] = v
		if platforms > 1 {
			attrs[exptypes.AnnotationIndexKey(k)] = v
		}
	}
	return attrs
}

// image solves every platform, and exports.
func (c *call) image(ctx context.Context, images []Image, o BuildOptions, exports []client.ExportEntry,
	count bool) (*Result, error) {
	defs := make([]*Definition, len(images))
	res := &Result{}
	absent := absentLocal(c.o.CacheFrom) // an export may fill the directory
	var own error                        // of marshalling, which would come back from the builder as text
	resp, err := c.solve(ctx, exports, func(built context.Context, gw gateway.Client) (*gateway.Result, error) {
		res.Linear = o.Linear || !canMerge(gw.BuildOpts().LLBCaps)
		c.line.Store(res.Linear)
		for n, img := range images {
			if defs[n], own = img.marshal(built, c.layout(built, gw, res.Linear, o.NoCache)); own != nil {
				return nil, own
			}
		}
		refs := make([]gateway.Reference, len(images))
		g, ctx := errgroup.WithContext(built)
		for n, d := range defs {
			g.Go(func() (err error) {
				refs[n], err = c.evaluate(ctx, gw, d.Def)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
		if c.solved != nil {
			if own = c.solved(built); own != nil {
				return nil, own
			}
		}
		return gatewayResult(defs, refs)
	}, count)
	if own != nil && ctx.Err() == nil {
		return nil, own
	}
	if err != nil {
		return nil, err
	}
	res.Caches = append(absent, c.col.cacheResult()...)
	if len(c.o.CacheFrom) > 0 {
		res.Caches = append(res.Caches, c.col.lostResult()...)
	}
	res.Steps, res.Attrs = c.col.result(), maps.Clone(resp.ExporterResponse)
	for _, d := range defs {
		res.Images = append(res.Images, ImageResult{Platform: d.Platform, Graph: d.Digest(), names: d.names})
	}
	if c.b.store {
		res.describeStored()
		return res, nil
	}
	return res, c.b.describe(ctx, res)
}

// unread tells whether an image's manifest was gone before it was read.
func (r *Result) unread() bool {
	return slices.ContainsFunc(r.Images, func(i ImageResult) bool { return i.Layers == nil })
}

// gatewayResult says which filesystem and config make which platform; one platform alone gets no index.
func gatewayResult(defs []*Definition, refs []gateway.Reference) (*gateway.Result, error) {
	out := gateway.NewResult()
	if len(defs) == 1 {
		out.SetRef(refs[0])
		out.AddMeta(exptypes.ExporterImageConfigKey, defs[0].Config)
		return out, nil
	}
	var ps exptypes.Platforms
	for i, d := range defs {
		id := FormatPlatform(d.Platform)
		ps.Platforms = append(ps.Platforms, exptypes.Platform{ID: id, Platform: d.Platform})
		out.AddRef(id, refs[i])
		out.AddMeta(exptypes.ExporterImageConfigKey+"/"+id, d.Config)
	}
	dt, err := json.Marshal(ps)
	if err != nil {
		return nil, fmt.Errorf("marshal platforms: %w", err)
	}
	out.AddMeta(exptypes.ExporterPlatformsKey, dt)
	return out, nil
}

// describe reads the exported manifests and configs.
func (b *Builder) describe(ctx context.Context, res *Result) error {
	res.Digest = digest.Digest(res.Attrs[exptypes.ExporterImageDigestKey])
	if res.Digest == "" { // files only
		return nil
	}
	manifests := []ocispecs.Descriptor{{Digest: res.Digest}}
	if dt, err := base64.StdEncoding.DecodeString(res.Attrs[exptypes.ExporterImageDescriptorKey]); err == nil &&
		len(dt) > 0 {
		if err := json.Unmarshal(dt, &manifests[0]); err != nil {
			return fmt.Errorf("read image %s: %w", res.Digest, err)
		}
	}
	if len(res.Images) > 1 {
		var index ocispecs.Index
		if ok, err := b.readJSON(ctx, res.Digest, &index); !ok {
			return err
		}
		manifests = slices.DeleteFunc(index.Manifests, func(m ocispecs.Descriptor) bool {
			return m.Platform == nil || m.Platform.OS == "unknown"
		})
	} else if v := res.Attrs[exptypes.ExporterImageConfigDigestKey]; v != "" {
		res.Images[0].Config = digest.Digest(v)
	}
	if len(manifests) != len(res.Images) {
		return fmt.Errorf("read image %s: it has %d manifests for %d platforms", res.Digest, len(manifests),
			len(res.Images))
	}
	for i, m := range manifests {
		res.Images[i].Manifest = m.Digest
		if err := b.describeManifest(ctx, &res.Images[i]); err != nil {
			return err
		}
	}
	return nil
}

// describeManifest fills in a manifest's layers and what they are called. History is written one entry a layer.
func (b *Builder) describeManifest(ctx context.Context, r *ImageResult) error {
	var m ocispecs.Manifest
	if ok, err := b.readJSON(ctx, r.Manifest, &m); !ok {
		return err
	}
	r.Config = m.Config.Digest
	return r.layers(m)
}

// layers takes a manifest's layers, and gives them their names.
func (r *ImageResult) layers(m ocispecs.Manifest) error {
	if len(m.Layers) != len(r.names) {
		return fmt.Errorf("read image %s: it has %d layers where the graph has %d: give each base layer one history "+
			"text, and each layer a stage of one operation (llb.Diff)",
			r.Manifest, len(m.Layers), len(r.names))
	}
	for i, l := range m.Layers {
		r.Layers = append(r.Layers, LayerResult{Name: r.names[i], Digest: l.Digest, Size: l.Size,
			MediaType: l.MediaType})
	}
	return nil
}
