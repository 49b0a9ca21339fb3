package llb

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/client"
	digest "github.com/opencontainers/go-digest"
)

// Content gives access to a built image, or to one layer of it, in the builder that made it.
type Content struct {
	Result *Result
	b      *Builder
	docs   map[digest.Digest][]byte // manifests and configs
	view   *view

	mu      sync.Mutex
	trouble *client.Vertex // under which warnings are shown
	shown   map[digest.Digest]*client.Vertex
	last    map[digest.Digest]time.Time
}

// Open reads a blob of the image from offset to its end. If the builder does not have the whole blob, the error is
// os.ErrNotExist. Layers of the base are the usual case.
func (p *Content) Open(ctx context.Context, d digest.Digest, offset int64) (io.ReadCloser, error) {
	if dt, ok := p.docs[d]; ok && offset <= int64(len(dt)) {
		return io.NopCloser(strings.NewReader(string(dt[offset:]))), nil
	}
	r, _, err := p.b.blobFrom(ctx, d, offset)
	return r, err
}

// Progress shows the state of a layer's upload with the build's progress. At the end, sent is size. reused says that
// the registry had the layer already.
func (p *Content) Progress(d digest.Digest, sent, size int64, reused bool) {
	if name, ok := p.layer(d); ok {
		p.Show(d, name, sent, size, reused)
	}
}

// Show is [Content.Progress] of a layer that the caller names. d may be any digest that is unique to it.
func (p *Content) Show(d digest.Digest, name string, sent, size int64, reused bool) {
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
	s := &client.VertexStatus{ID: "sending", Vertex: id, Name: "sending", Total: size, Current: sent, Timestamp: now,
		Started: v.Started}
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

// Warn shows a line of text as a part of the build's progress, so that it does not break the display.
// It returns false, and shows nothing, if there is no display.
func (p *Content) Warn(text string) bool {
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
func (p *Content) settle() {
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
func (p *Content) layer(d digest.Digest) (string, bool) {
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

func (c *call) content(res *Result) *Content {
	return &Content{Result: res, b: c.b, docs: map[digest.Digest][]byte{}, view: c.view,
		shown: map[digest.Digest]*client.Vertex{}, last: map[digest.Digest]time.Time{}}
}

// read takes manifests and configs in.
func (p *Content) read(ctx context.Context) error {
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
