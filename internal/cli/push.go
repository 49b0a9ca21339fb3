package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// push brings what was built to the registries: layers from the builder where it has them, else from the base's registry.
// Where a layer is in neither (one that came out of a registry cache and was needed for nothing), the builder pushes.
func (j *job) push(ctx context.Context, o *buildOptions, graph *layers.Graph, to llb.BuildOptions, report *report, p *llb.Pushing) error {
	open := func(ctx context.Context, d ocispecs.Descriptor, offset int64) (io.ReadCloser, error) {
		return p.Open(ctx, d.Digest, offset)
	}
	docs, err := j.documents(ctx, graph, p.Result.Line)
	if err != nil {
		return err
	}
	ready := func(ctx context.Context, _ func(context.Context) error) error { return p.Checked(ctx) }
	return j.send(ctx, o, parcel{root: p.Result.Digest, names: to.Names, docs: docs, from: j.bases(graph), open: open, shown: p, ready: ready}, report)
}

// parcel is an image that is pushed.
type parcel struct {
	root  digest.Digest // of its manifest or index
	names []string
	docs  []registry.Document // that will be attached to it
	from  []string            // images that have blobs of it, by digest
	open  registry.Source     // has the others
	shown *llb.Pushing        // where progress is shown; nil: nowhere

	ready func(ctx context.Context, store func(context.Context) error) error // is registry.PushOptions's

	reused string // that of from whose layers are taken, and nobody else's
}

// gone tells whether a registry has said that it has not what it was asked for.
func gone(err error) bool {
	var answer *registry.Error
	return errors.As(err, &answer) && answer.Status == http.StatusNotFound
}

// send pushes, and notes what was sent.
func (j *job) send(ctx context.Context, o *buildOptions, c parcel, report *report) error {
	source := func(ctx context.Context, d ocispecs.Descriptor, offset int64) (io.ReadCloser, error) {
		r, err := c.open(ctx, d, offset)
		for _, base := range c.from {
			if !errors.Is(err, os.ErrNotExist) {
				break
			}
			// The builder may have another way to a base, such as a mirror.
			if r, err = j.registry.OpenBlob(ctx, base, d.Digest, offset); err != nil && (base != c.reused || gone(err)) {
				err = errors.Join(os.ErrNotExist, err)
			}
		}
		return r, err
	}
	done, err := j.registry.Push(ctx, ocispecs.Descriptor{Digest: c.root}, source, registry.PushOptions{
		Names:     c.names,
		Documents: c.docs,
		From:      c.from,
		Retry:     o.retry(),
		Reach:     o.reach(),
		Ready:     c.ready,
		Progress: func(d ocispecs.Descriptor, sent int64, reused bool) {
			if c.shown != nil && !report.sentBefore(d.Digest) {
				c.shown.Progress(d.Digest, sent, d.Size, reused)
			}
		},
		Log: func(format string, args ...any) {
			if text := "warning: " + fmt.Sprintf(format, args...); c.shown == nil || !c.shown.Warn(text) {
				j.app.say("%s", text)
			}
		},
	})
	report.pushed(done)
	return err
}

// pushLayers brings layers to the first name's repository while others are still built. What fails is tried again with the
// image, and told then.
func (j *job) pushLayers(ctx context.Context, to llb.BuildOptions, from []string, report *report, p *llb.Pushing) {
	all, err := p.Layers()
	if err != nil {
		return
	}
	blobs := make([]ocispecs.Descriptor, len(all))
	for i, l := range all {
		blobs[i] = l.Descriptor
	}
	source := func(ctx context.Context, d ocispecs.Descriptor, offset int64) (io.ReadCloser, error) {
		return p.Open(ctx, d.Digest, offset)
	}
	done, _ := j.registry.PushBlobs(ctx, blobs, source, registry.PushOptions{
		Names:    to.Names[:1],
		From:     from,
		Retry:    -1,
		Progress: func(d ocispecs.Descriptor, sent int64, reused bool) { p.Progress(d.Digest, sent, d.Size, reused) },
	})
	report.pushedBefore(done)
}

// reach is how long a registry that never answered is tried: for as long as --push-retry says, where it is given. 0 is the default.
func (o *buildOptions) reach() time.Duration {
	if o.pushRetryGiven {
		return o.pushRetry
	}
	return 0
}

// retry is the push's patience in the registry's terms, where 0 is the default.
func (o *buildOptions) retry() time.Duration {
	if o.pushRetry == 0 {
		return -1
	}
	return o.pushRetry
}

// bases are the pinned images that the graph's platforms stand on.
func (j *job) bases(graph *layers.Graph) []string {
	var all []string
	if j.onto != nil {
		all = append(all, j.ofImage.Ref)
	}
	for _, image := range graph.Images {
		locked := j.lock.Platforms[llb.FormatPlatform(image.Platform)]
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
