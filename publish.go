package raybuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/raybuild/raybuild/internal/builder"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// sentAtOnce is how many layers are sent in parallel while other layers are built.
const sentAtOnce = 4

// pushBuild pushes the image of a running build: each layer as soon as it is built, then the image.
func (p *Project) pushBuild(ctx context.Context, b *builder.Builder, o *BuildOptions, m target, to llb.BuildOptions,
	t *tally, build *llb.Build) error {
	from := m.from(p)
	var early errgroup.Group
	early.SetLimit(sentAtOnce)
	for layer := range build.Ready() {
		early.Go(func() error {
			p.pushLayers(ctx, to, from, t, layer)
			return nil
		})
	}
	if m.kept != nil {
		early.Go(func() error {
			p.pushMade(ctx, to.Names[0], from, t, build.Content)
			return nil
		})
	}
	image, err := build.Wait()
	if err = errors.Join(err, early.Wait()); err != nil {
		return err
	}
	if m.kept != nil {
		return m.kept.push(ctx, p, o, to, t, from, build)
	}
	t.beforePush(image)
	if b.Store != nil {
		return p.pushStored(ctx, b.Store, to, t, build)
	}
	// If neither builder nor registry has a layer, no step needed it, and it is only in a
	// registry's build cache. Only the builder can push it.
	err = p.push(ctx, o, m.graph, to, t, build)
	if errors.Is(err, os.ErrNotExist) && ctx.Err() == nil && p.key != nil {
		return fmt.Errorf("sign %q: %w: only the builder has a layer, and it gives names before an image can be "+
			"signed: build without --cache-from, or with the embedded engine", to.Names, err)
	}
	if errors.Is(err, os.ErrNotExist) && ctx.Err() == nil {
		t.builderPushes(ctx, err)
		err = build.Push(ctx)
	}
	return err
}

// push pushes the built image to the registries. Layers come from the builder if it has them, else
// from the base's registry. If neither has a layer, the error is os.ErrNotExist.
func (p *Project) push(ctx context.Context, o *BuildOptions, graph *layers.Graph, to llb.BuildOptions, t *tally,
	image *llb.Build) error {
	open := func(ctx context.Context, d ocispecs.Descriptor, offset int64) (io.ReadCloser, error) {
		return image.Open(ctx, d.Digest, offset)
	}
	docs, err := p.documents(ctx, graph, image.Result.Linear)
	if err != nil {
		return err
	}
	built := func(ctx context.Context, d digest.Digest) (io.ReadCloser, error) { return image.Open(ctx, d, 0) }
	p.startClaims(ctx, o, graph, image.Result, built)
	ready := func(ctx context.Context, _ func(context.Context) error) error { return image.Checked(ctx) }
	return p.send(ctx, o, pushRequest{root: image.Result.Digest, names: to.Names, docs: docs, from: p.bases(graph),
		open: open, shown: image.Content, ready: ready}, t)
}

// pushRequest is an image to push.
type pushRequest struct {
	root    digest.Digest // of its manifest or index
	names   []string
	docs    []registry.Document // documents that will be attached to it
	from    []string            // images that have some of its blobs, by digest
	open    registry.Source     // opens the other blobs
	present registry.Presence   // blobs that the registry is known to have

	shown *llb.Content // shows progress; nil: progress is not shown

	ready func(ctx context.Context, store func(context.Context) error) error // see registry.PushOptions

	reused string // the image of from that layers are reused from: only its 404 means "not there"
}

// gone tells whether a registry has answered that it does not have the blob (404).
func gone(err error) bool {
	var answer *registry.Error
	return errors.As(err, &answer) && answer.Status == http.StatusNotFound
}

// send pushes an image, and notes what it sent.
func (p *Project) send(ctx context.Context, o *BuildOptions, c pushRequest, t *tally) error {
	source := func(ctx context.Context, d ocispecs.Descriptor, offset int64) (io.ReadCloser, error) {
		r, err := p.layers.source(d.Digest, offset)
		if errors.Is(err, os.ErrNotExist) {
			r, err = c.open(ctx, d, offset)
		}
		for _, base := range c.from {
			if !errors.Is(err, os.ErrNotExist) {
				break
			}
			// The builder may have another way to a base, such as a mirror.
			if r, err = p.registry.OpenBlob(ctx, base, d.Digest, offset); err != nil &&
				(base != c.reused || gone(err)) {
				err = errors.Join(os.ErrNotExist, err)
			}
		}
		return r, err
	}
	done, err := p.registry.Push(ctx, ocispecs.Descriptor{Digest: c.root}, source, registry.PushOptions{
		Names:     c.names,
		Documents: c.docs,
		From:      c.from,
		Present:   c.present,
		Retry:     o.retry(),
		Reach:     o.reach(),
		Ready:     c.ready,
		Sign:      p.signer(""),
		Progress: func(d ocispecs.Descriptor, sent int64, reused bool) {
			if c.shown != nil && !t.sentBefore(d.Digest) {
				c.shown.Progress(d.Digest, sent, d.Size, reused)
			}
		},
		Log: func(format string, args ...any) {
			if text := "warning: " + fmt.Sprintf(format, args...); c.shown == nil || !c.shown.Warn(text) {
				p.env.info("%s", text)
			}
		},
	})
	t.pushed(done)
	return err
}

// pushLayers pushes layers to the first name's repository while other layers are still built. It
// reports no error, because the push of the image tries these layers again.
func (p *Project) pushLayers(ctx context.Context, to llb.BuildOptions, from []string, t *tally, part *llb.Content) {
	all, err := part.Layers()
	if err != nil {
		return
	}
	blobs := make([]ocispecs.Descriptor, len(all))
	for i, l := range all {
		blobs[i] = l.Descriptor
	}
	source := func(ctx context.Context, d ocispecs.Descriptor, offset int64) (io.ReadCloser, error) {
		return part.Open(ctx, d.Digest, offset)
	}
	done, _ := p.registry.PushBlobs(ctx, blobs, source, registry.PushOptions{
		Names: to.Names[:1],
		From:  from,
		Retry: -1,
		Progress: func(d ocispecs.Descriptor, sent int64, reused bool) {
			part.Progress(d.Digest, sent, d.Size, reused)
		},
	})
	t.pushedBefore(done)
}

// bases returns the pinned images below the graph's layers.
func (p *Project) bases(graph *layers.Graph) []string {
	var all []string
	if p.onto != nil {
		all = append(all, p.ofImage.Ref)
	}
	for _, image := range graph.Images {
		locked := p.lock.Platforms[llb.FormatPlatform(image.Platform)]
		if locked == nil {
			continue
		}
		ref, err := registry.Pin(locked.Base.Reference, locked.Base.Digest.String())
		if err == nil && !slices.Contains(all, ref) {
			all = append(all, ref)
		}
	}
	return all
}
