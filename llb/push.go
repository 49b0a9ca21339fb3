package llb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/client"
	digest "github.com/opencontainers/go-digest"
)

// Pushing is an image on its way from a builder to registries, for [BuildOptions.Pusher].
type Pushing struct {
	Result *Result
	b      *Builder
	docs   map[digest.Digest][]byte // manifests and configs
	view   *view
	checks *checking // of the image; nil: a part of it, which has none

	mu      sync.Mutex
	trouble *client.Vertex // under which warnings are shown
	shown   map[digest.Digest]*client.Vertex
	last    map[digest.Digest]time.Time
}

// Open reads a blob of the image from offset to its end. Layers that the builder never had whole, such as those of the
// base, are an error that is os.ErrNotExist.
func (p *Pushing) Open(ctx context.Context, d digest.Digest, offset int64) (io.ReadCloser, error) {
	if dt, ok := p.docs[d]; ok && offset <= int64(len(dt)) {
		return io.NopCloser(strings.NewReader(string(dt[offset:]))), nil
	}
	r, _, err := p.b.blobFrom(ctx, d, offset)
	return r, err
}

// Checked waits for the outcome of the image's checks.
func (p *Pushing) Checked(ctx context.Context) error { return p.checks.wait(ctx) }

// Check runs one more check.
func (p *Pushing) Check(ctx context.Context, one Check) error { return p.checks.check(ctx, one) }

// Progress shows how far a layer is, with the build's progress. sent is size when it is there; reused says that the
// registry had it.
func (p *Pushing) Progress(d digest.Digest, sent, size int64, reused bool) {
	if name, ok := p.layer(d); ok {
		p.Show(d, name, sent, size, reused)
	}
}

// Show is [Pushing.Progress] of a layer whose name the caller gives; d may be any digest that stands for it.
func (p *Pushing) Show(d digest.Digest, name string, sent, size int64, reused bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, id := time.Now(), digest.FromString("push "+d.String())
	v := p.shown[d]
	if v == nil {
		v = &client.Vertex{Digest: id, Name: "push " + name, Started: &now}
		p.shown[d] = v
	}
	done := reused || sent >= size
	if v.Completed != nil || !done && now.Sub(p.last[d]) < 100*time.Millisecond {
		return
	}
	p.last[d] = now
	s := &client.VertexStatus{ID: "sending", Vertex: id, Name: "sending", Total: size, Current: sent, Timestamp: now, Started: v.Started}
	if done {
		v.Completed, v.Cached, s.Completed = &now, reused, &now
	}
	shown := *v // the display keeps what it gets
	ss := &client.SolveStatus{Vertexes: []*client.Vertex{&shown}}
	if !reused {
		ss.Statuses = []*client.VertexStatus{s}
	}
	p.view.show(ss)
}

// Warn shows a line of text with the build's progress, which it would garble otherwise. It tells whether there is a display;
// where there is none the text is not shown.
func (p *Pushing) Warn(text string) bool {
	if p.view.quiet {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.trouble == nil {
		p.trouble = &client.Vertex{Digest: digest.FromString("trouble of a push"), Name: "push: trouble", Started: &now}
	}
	shown := *p.trouble
	p.view.show(&client.SolveStatus{Vertexes: []*client.Vertex{&shown},
		Logs: []*client.VertexLog{{Vertex: shown.Digest, Stream: 2, Data: []byte(text + "\n"), Timestamp: now}}})
	return true
}

// settle ends what Warn has begun to show.
func (p *Pushing) settle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.trouble == nil {
		return
	}
	now := time.Now()
	shown := *p.trouble
	shown.Completed = &now
	p.view.show(&client.SolveStatus{Vertexes: []*client.Vertex{&shown}})
}

// layer is what a layer is called in progress.
func (p *Pushing) layer(d digest.Digest) (string, bool) {
	for _, i := range p.Result.Images {
		for _, l := range i.Layers {
			if l.Digest == d && l.Name != "" {
				return "layer [" + l.Name + "]", true
			}
			if l.Digest == d {
				return "layer " + d.Encoded()[:12], true
			}
		}
	}
	return "", false
}

// push has the image pushed: by o.Pusher, where there is one and it can have every blob, else by the builder, which finds
// everything in its cache.
func (c *call) push(ctx context.Context, images []Image, o BuildOptions, res *Result) error {
	if c.b.store {
		if err := c.checks.wait(ctx); err != nil {
			return err
		}
		return c.pushStored(ctx, o, res)
	}
	o.NoCache = false
	if o.Pusher != nil {
		err := c.pushBy(ctx, images, o, res)
		if !errors.Is(err, os.ErrNotExist) || ctx.Err() != nil {
			return err
		}
		if o.BuilderPushes != nil {
			if err := o.BuilderPushes(ctx, err); err != nil {
				return err
			}
		}
	}
	if err := c.checks.wait(ctx); err != nil {
		return err
	}
	_, err := c.image(ctx, images, o, []client.ExportEntry{o.imageExport(true, len(images))}, false)
	return err
}

func (c *call) pushing(res *Result) *Pushing {
	return &Pushing{Result: res, b: c.b, docs: map[digest.Digest][]byte{}, view: c.view, checks: c.checks,
		shown: map[digest.Digest]*client.Vertex{}, last: map[digest.Digest]time.Time{}}
}

// pushBy hands what was built to o.Pusher. Manifests and configs are read before: the builder lets go of them soon. Where it has
// done so already it makes them again, from what it has of them.
func (c *call) pushBy(ctx context.Context, images []Image, o BuildOptions, res *Result) error {
	p := c.pushing(res)
	err := p.read(ctx)
	if errors.Is(err, os.ErrNotExist) {
		if _, err := c.image(ctx, images, o, []client.ExportEntry{o.imageExport(false, len(images))}, false); err != nil {
			return err
		}
		err = p.read(ctx)
	}
	if err != nil {
		return err
	}
	defer p.settle()
	return o.Pusher(ctx, p)
}

// read takes manifests and configs in.
func (p *Pushing) read(ctx context.Context) error {
	res := p.Result
	small := []digest.Digest{res.Digest}
	for _, i := range res.Images {
		small = append(small, i.Manifest, i.Config)
	}
	for _, d := range small {
		if d == "" || p.docs[d] != nil {
			continue
		}
		dt, ok, err := p.b.readDoc(ctx, d)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("read blob %s: %w", d, os.ErrNotExist)
		}
		p.docs[d] = dt
	}
	return nil
}
