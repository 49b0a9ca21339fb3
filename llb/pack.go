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
	begin  func(one Image) // packs a layer, until cancel
	cancel context.CancelFunc
	layers map[digest.Digest]Image // by the step that is the last of the layer's
	slots  chan struct{}           // a layer is packed and sent in each
	wg     sync.WaitGroup
}

// packedAtOnce is how many layers are packed and sent at once, beside the steps that run.
const packedAtOnce = 4

// pack begins to watch the steps of images. It packs nothing where the layers of one image could not gain from each other,
// and nothing that came from a cache.
func (c *call) pack(ctx context.Context, images []Image, o BuildOptions) (*packing, error) {
	p := &packing{c: c, o: o, layers: map[digest.Digest]Image{}, slots: make(chan struct{}, packedAtOnce)}
	ctx, p.cancel = context.WithCancel(ctx)
	p.begin = func(one Image) { p.layer(ctx, one) }
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
	if p.c.line.Load() { // each layer stands on all others there
		return
	}
	for _, v := range ss.Vertexes {
		// Without inputs it is a cached result that is pulled, see step.saw.
		if one, ok := p.layers[v.Digest]; ok && len(v.Inputs) > 0 && v.Started != nil && v.Completed != nil && !v.Cached && v.Error == "" {
			delete(p.layers, v.Digest)
			p.wg.Go(func() { p.begin(one) })
		}
	}
}

// layer makes one layer's blob, and hands it on.
func (p *packing) layer(ctx context.Context, one Image) {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return
	}
	quiet := SolveOptions{Progress: ProgressQuiet}
	v, err := newView(ctx, quiet)
	if err != nil {
		return
	}
	defer v.close() // it shows nothing
	c := &call{b: p.c.b, o: quiet, sess: p.c.sess, view: v, col: newCollector(), internal: true}
	o := BuildOptions{Compression: p.o.Compression}
	for range 2 { // the builder may have let go of the manifest before it was read
		res, err := c.image(ctx, []Image{one}, o, []client.ExportEntry{o.imageExport(false, 1)}, false)
		if err != nil || res.Line {
			return
		}
		if pushing := p.c.pushing(res); pushing.read(ctx) == nil {
			p.o.Packed(ctx, pushing)
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
