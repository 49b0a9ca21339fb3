package llb

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/moby/buildkit/client"
	digest "github.com/opencontainers/go-digest"
)

// packing makes blobs of layers as soon as their steps have run, while the steps of other layers
// still run. BuildKit makes blobs only in an export. So each layer is exported by a solve of its own,
// which finds all results in the builder. The export of the whole image then finds the blobs. If
// something fails here, it fails again in that export, which reports it.
//
// Packing takes one CPU for each layer, and an export packs all layers at once. If there are few CPUs,
// the largest layer would get a part of one, and at the end the build would wait for it. So if the
// number of CPUs is known, running steps go first, then the layer whose steps took longest, which is
// usually the largest. The export waits for the layers that are packed here.
type packing struct {
	c      *call
	o      BuildOptions
	pack   func(one Image) (*Content, bool) // makes the blobs of a part of the image, until cancel
	cancel context.CancelFunc
	wg     sync.WaitGroup
	packed chan *Content // has room for all parts; closed at the end

	mu      sync.Mutex
	parts   map[digest.Digest]part          // that were not packed yet, by their last step
	steps   map[digest.Digest]bool          // of the image; true while one runs
	took    map[digest.Digest]time.Duration // steps that have run
	ready   []part                          // whose steps have run, those first that took longest
	busy    map[string]time.Time            // parts that are being packed, by name, since when
	solved  bool                            // all steps have run
	shown   *client.Vertex                  // under which the user sees that; nil: not yet
	changed chan struct{}                   // closed at the next change
}

// part is a part of an image that is packed by itself: a layer, or the base and what is chained on it.
type part struct {
	one   Image
	steps []digest.Digest // that make its files; not those of what they only read
	took  time.Duration   // all of them
}

func (p part) name() string {
	if len(p.one.Layers) == 0 {
		return "base"
	}
	return "layer [" + p.one.Layers[0].Name + "]"
}

// owns tells whether a step makes files of the part.
func (p part) owns(step Vertex) bool {
	return len(p.one.Layers) == 0 || step.Layer == p.one.Layers[0].Name
}

// packedAtOnce is the number of parts that are packed at once if the number of CPUs is unknown.
const packedAtOnce = 4

func newPacking(c *call, o BuildOptions) *packing {
	return &packing{c: c, o: o, parts: map[digest.Digest]part{}, steps: map[digest.Digest]bool{},
		took: map[digest.Digest]time.Duration{},
		busy: map[string]time.Time{}, changed: make(chan struct{}), packed: make(chan *Content)}
}

// pack begins to watch the steps of images. It packs nothing if that could save no time, and it packs
// no layer that came from a cache.
func (c *call) pack(ctx context.Context, images []Image, o BuildOptions) (*packing, error) {
	p := newPacking(c, o)
	ctx, p.cancel = context.WithCancel(ctx)
	p.pack = func(one Image) (*Content, bool) { return p.blobs(ctx, one) }
	if !o.PackEarly || c.b.store || o.Linear || len(images) != 1 || len(c.o.FetchURLs) > 0 ||
		len(images[0].Layers) < 2 {
		return p, nil
	}
	whole := images[0]
	parts := []Image{{Platform: whole.Platform, Base: whole.Base, BaseLayers: whole.BaseLayers}}
	if len(whole.BaseLayers) == 0 {
		parts = nil
	}
	for _, l := range whole.Layers {
		parts = append(parts, Image{Platform: whole.Platform, Layers: []Layer{l}})
	}
	p.packed = make(chan *Content, len(parts))
	for _, one := range parts {
		l := newLayout(false, false)
		// Else steps on an image at hand, and those with a proxy, have other digests in the solve.
		l.give.image, l.proxy = c.sess.atHand, c.o.Proxy
		def, err := one.marshal(ctx, l)
		if err != nil {
			return nil, err
		}
		if l.givenUsed { // its steps have other digests in the solve
			continue
		}
		all, err := def.Vertices()
		if err != nil {
			return nil, err
		}
		made, last := part{one: one}, digest.Digest("")
		for _, v := range all {
			if v.Kind != "run" {
				continue
			}
			p.steps[v.Digest], last = false, v.Digest
			if made.owns(v) {
				made.steps = append(made.steps, v.Digest)
			}
		}
		if last != "" {
			p.parts[last] = made
		}
	}
	return p, nil
}

// saw takes in events of the solve of the whole image.
func (p *packing) saw(ss *client.SolveStatus) {
	if p.c.line.Load() { // each layer stands on all others there
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, v := range ss.Vertexes {
		if _, ok := p.steps[v.Digest]; !ok {
			continue
		}
		p.steps[v.Digest] = v.Started != nil && v.Completed == nil
		if v.Started != nil && v.Completed != nil && !v.Cached {
			p.took[v.Digest] = v.Completed.Sub(*v.Started)
		}
		// Without inputs it is a cached result that is pulled, see step.saw.
		if made, ok := p.parts[v.Digest]; ok && len(v.Inputs) > 0 && v.Started != nil && v.Completed != nil &&
			!v.Cached && v.Error == "" {
			delete(p.parts, v.Digest)
			for _, step := range made.steps {
				made.took += p.took[step]
			}
			p.ready = append(p.ready, made)
			slices.SortStableFunc(p.ready, func(a, b part) int { return cmp.Compare(b.took, a.took) })
		}
	}
	p.next()
}

// running is how many steps run.
func (p *packing) running() int {
	n := 0
	for _, runs := range p.steps {
		if runs {
			n++
		}
	}
	return n
}

// next begins to pack as many parts as there are CPUs for, and signals the change.
func (p *packing) next() {
	room := packedAtOnce - len(p.busy)
	if p.o.CPUs > 0 {
		room = p.o.CPUs - p.running() - len(p.busy)
		if !p.solved && p.running() == 0 {
			room-- // for what the builder does between one step and the next
		}
	}
	for ; room > 0 && len(p.ready) > 0; room-- {
		largest := p.ready[0]
		p.ready = p.ready[1:]
		p.busy[largest.name()] = time.Now()
		p.show(largest.name(), false)
		p.wg.Go(func() {
			made, ok := p.pack(largest.one)
			p.mu.Lock()
			p.show(largest.name(), true)
			delete(p.busy, largest.name())
			p.next()
			p.mu.Unlock()
			if ok {
				p.packed <- made
			}
		})
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

// show shows a part that is being packed, once the build waits for it.
func (p *packing) show(name string, done bool) {
	if p.shown == nil {
		return
	}
	now, began := time.Now(), p.busy[name]
	s := &client.VertexStatus{ID: name, Vertex: p.shown.Digest, Name: name, Timestamp: now, Started: &began}
	if done {
		s.Completed = &now
	}
	p.c.view.show(&client.SolveStatus{Statuses: []*client.VertexStatus{s}})
}

// waits shows that the build waits for what is being packed.
func (p *packing) waits() {
	if p.shown != nil {
		return
	}
	now := time.Now()
	p.shown = &client.Vertex{Digest: digest.FromString("pack layers"), Name: "pack layers", Started: &now}
	shown := *p.shown // the display keeps what it gets
	p.c.view.show(&client.SolveStatus{Vertexes: []*client.Vertex{&shown}})
	for name := range p.busy {
		p.show(name, false)
	}
}

// waited ends what waits has begun, and prepares for a build that begins again.
func (p *packing) waited() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown != nil {
		now := time.Now()
		p.shown.Completed = &now
		p.c.view.show(&client.SolveStatus{Vertexes: []*client.Vertex{p.shown}})
	}
	p.shown, p.solved = nil, false
}

// eventsLate is the longest time by which the event of a step's end may come after the result.
const eventsLate = 2 * time.Second

// wait waits until all layers are packed whose steps have run. It is called when all steps have run.
// It does not wait if the number of CPUs is unknown: there may be enough for all layers at once.
func (p *packing) wait(ctx context.Context) {
	if p.o.CPUs == 0 {
		return
	}
	defer p.waited()
	late := time.NewTimer(eventsLate)
	defer late.Stop()
	var over bool // it is too late for events
	p.mu.Lock()
	p.solved = true
	p.next()
	p.mu.Unlock()
	for {
		p.mu.Lock()
		packing, running, changed := len(p.busy)+len(p.ready) > 0, p.running() > 0, p.changed
		if over && running {
			for step := range p.steps {
				p.steps[step] = false
			}
			running = false
			p.next()
			changed = p.changed
		}
		if packing {
			p.waits()
		}
		p.mu.Unlock()
		if !packing && !running {
			return
		}
		select {
		case <-changed:
		case <-late.C:
			over = true
		case <-ctx.Done():
			return
		}
	}
}

// blobs makes the blobs of a part of the image.
func (p *packing) blobs(ctx context.Context, one Image) (*Content, bool) {
	quiet := SolveOptions{Progress: ProgressQuiet, Limits: p.c.o.Limits, Proxy: p.c.o.Proxy}
	v, err := newView(ctx, quiet)
	if err != nil {
		return nil, false
	}
	defer v.close() // it shows nothing
	c := &call{b: p.c.b, o: quiet, sess: p.c.sess, view: v, col: newCollector(), internal: true}
	o := BuildOptions{Compression: p.o.Compression}
	for range 2 { // the builder may have let go of the manifest before it was read
		res, err := c.image(ctx, []Image{one}, o, []client.ExportEntry{o.imageExport(false, 1)}, false)
		if err != nil || res.Linear {
			return nil, false
		}
		if made := p.c.content(res); made.read(ctx) == nil {
			return made, true
		}
	}
	return nil, false
}

// end waits for the running solves, or ends them if the build has failed.
func (p *packing) end(failed bool) {
	if failed {
		p.cancel()
	}
	p.wg.Wait()
	p.cancel()
	close(p.packed)
}
