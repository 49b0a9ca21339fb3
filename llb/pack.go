package llb

import (
	"context"
	"sync"

	"github.com/moby/buildkit/client"
	digest "github.com/opencontainers/go-digest"
)

// packing makes blobs of layers as soon as their steps have run, while the steps of others still do. BuildKit makes blobs
// in an export, so each of them is a solve of its own, which finds everything there, and the export of the whole image finds
// the blobs. What goes wrong here goes wrong there again, and is told there.
type packing struct {
	c      *call
	o      BuildOptions
	cancel context.CancelFunc
	ctx    context.Context
	layers map[digest.Digest]Image // by the step that is the last of the layer's
	wg     sync.WaitGroup
}

// pack begins to watch the steps of images. It packs nothing where the layers of one image could not gain from each other,
// and nothing that came from a cache.
func (c *call) pack(ctx context.Context, images []Image, o BuildOptions) (*packing, error) {
	p := &packing{c: c, o: o, layers: map[digest.Digest]Image{}}
	p.ctx, p.cancel = context.WithCancel(ctx)
	if o.Packed == nil || c.b.store || o.Line || len(images) != 1 || len(c.o.FetchURLs) > 0 || len(images[0].Layers) < 2 {
		return p, nil
	}
	whole := images[0]
	for _, l := range whole.Layers {
		one := Image{Platform: whole.Platform, Layers: []Layer{l}}
		def, err := one.marshal(ctx, false, false)
		if err != nil {
			return nil, err
		}
		all, err := def.Vertices()
		if err != nil {
			return nil, err
		}
		for i := len(all) - 1; i >= 0; i-- {
			if all[i].Kind == "run" {
				p.layers[all[i].Digest] = one
				break
			}
		}
	}
	return p, nil
}

// saw takes in events of the solve of the whole image.
func (p *packing) saw(ss *client.SolveStatus) {
	for _, v := range ss.Vertexes {
		if one, ok := p.layers[v.Digest]; ok && v.Started != nil && v.Completed != nil && !v.Cached && v.Error == "" {
			delete(p.layers, v.Digest)
			p.wg.Go(func() { p.layer(one) })
		}
	}
}

// layer makes one layer's blob, and hands it on.
func (p *packing) layer(one Image) {
	quiet := SolveOptions{Progress: ProgressQuiet}
	v, err := newView(p.ctx, quiet)
	if err != nil {
		return
	}
	defer v.close() //nolint:errcheck // it shows nothing
	c := &call{b: p.c.b, o: quiet, sess: p.c.sess, view: v, col: newCollector()}
	o := BuildOptions{Compression: p.o.Compression}
	for range 2 { // the builder may have let go of the manifest before it was read
		res, err := c.image(p.ctx, []Image{one}, o, []client.ExportEntry{o.imageExport(false, 1)}, false)
		if err != nil || res.Line {
			return
		}
		if pushing := p.c.pushing(res); pushing.read(p.ctx) == nil {
			p.o.Packed(p.ctx, pushing)
			return
		}
	}
}

// end waits for what was begun, or ends it where the build has failed.
func (p *packing) end(failed bool) {
	if failed {
		p.cancel()
	}
	p.wg.Wait()
	p.cancel()
}
