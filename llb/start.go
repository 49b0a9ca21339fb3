package llb

import (
	"context"
	"errors"
	"iter"
	"os"

	"github.com/moby/buildkit/client"
)

// Build is an image that is being built. Use its Content only after [Build.Wait].
type Build struct {
	*Content // of the image

	c       *call
	images  []Image
	o       BuildOptions
	outputs *outputs
	pack    *packing
	later   []CacheEntry // exports of caches that are made at the end
	not     []CacheWork  // those that this builder cannot make
	cancel  context.CancelCauseFunc
	made    chan struct{} // closed when the image or err is known
	err     error
}

// Build builds one image, with one platform for each of images, and exports it as o says. The end of ctx ends it. If a
// step fails, the error is a [StepError]. If an artifact cannot be brought, it is a [FetchError]. The result has the
// steps even with an error.
func (b *Builder) Build(ctx context.Context, images []Image, s Session, o BuildOptions) (*Result, error) {
	if b.store && o.Push {
		return &Result{}, refusedByStore("push")
	}
	build, ctx, err := b.Start(ctx, images, s, o)
	if err != nil {
		return &Result{}, err
	}
	if _, err = build.Wait(); err == nil && o.Push {
		err = build.Push(ctx)
	}
	return build.End(ctx, err)
}

// Start begins to build as [Builder.Build] does. The caller pushes the image:
//
//	build, ctx, err := b.Start(ctx, images, session, options)
//	if err != nil {
//		return err
//	}
//	for layer := range build.Ready() {
//		// push it, while other layers are built
//	}
//	image, err := build.Wait()
//	if err == nil {
//		err = build.Push(ctx) // or read it, and push it
//	}
//	image, err = build.End(ctx, err)
//
// The returned context ends when the build has failed or the image did not pass its checks, because
// then the caller's work is no longer needed. Call End for every build, also after an error.
func (b *Builder) Start(ctx context.Context, images []Image, s Session,
	o BuildOptions) (*Build, context.Context, error) {
	out := &outputs{oci: closing(o.OCI), docker: closing(o.Docker)}
	refused := func(err error) (*Build, context.Context, error) { return nil, ctx, errors.Join(err, out.close(err)) }
	err := o.validate(images)
	if err == nil && b.store {
		err = o.storeOnly(len(images))
	}
	if err != nil {
		return refused(err)
	}
	c, err := b.newCall(ctx, s, o.SolveOptions)
	if err != nil {
		return refused(err)
	}
	r := &Build{c: c, images: images, o: o, outputs: out, made: make(chan struct{})}
	c.checks = newChecking(ctx, c, o.Checks)
	within, cancel := context.WithCancelCause(ctx)
	r.cancel, c.checks.failed = cancel, cancel
	r.not, r.later = c.exportsNone(), c.splitExports(o)
	if r.pack, err = c.pack(within, images, o); err != nil {
		cancel(err)
		c.checks.end()
		return refused(errors.Join(err, c.view.close()))
	}
	r.Content = c.content(nil)
	c.saw, c.solved = r.pack.saw, r.afterSteps
	c.checks.prepare(within, o.Checks)
	go func() {
		defer close(r.made)
		if r.err = r.make(within); r.err != nil {
			cancel(r.err)
		}
	}()
	return r, within, nil
}

// make builds the image and writes its archives.
func (r *Build) make(ctx context.Context) (err error) {
	defer func() { r.pack.end(err != nil) }()
	exports := r.o.exports(r.outputs, len(r.images))
	if r.c.b.store {
		exports = r.o.storeExports()
	}
	first := func() (*Result, error) { return r.c.image(ctx, r.images, r.o, exports, true) }
	res, err := first()
	if err != nil && !r.outputs.opened.Load() {
		res, err = r.c.withoutCache(ctx, err, first)
	}
	if err != nil {
		return err
	}
	r.o.NoCache = false // all later solves find results of this build
	if err := r.complete(ctx, res); err != nil {
		return err
	}
	if r.Result = res; !r.o.Push || r.c.b.store {
		return nil
	}
	// Of a builder that serves no content nothing can be read: it pushes itself.
	if err := r.readDocs(ctx); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// afterSteps runs between the image's steps and its exports. If the image is not pushed, the exports
// give its names, so they wait for the checks. If it is pushed, the push gives the names and waits.
func (r *Build) afterSteps(built context.Context) error {
	r.c.checks.begin()
	if r.pack.wait(built); r.o.Push {
		return nil
	}
	return r.c.checks.wait(built)
}

// complete exports again if the builder had deleted the manifests before they were read.
func (r *Build) complete(ctx context.Context, res *Result) error {
	if res.Digest == "" || len(r.o.Names) == 0 || !res.unread() {
		return nil
	}
	again, err := r.again(ctx, false)
	if err == nil && again.Digest == res.Digest {
		res.Images = again.Images
	}
	return err
}

// again solves the image again. The builder has all results.
func (r *Build) again(ctx context.Context, push bool) (*Result, error) {
	return r.c.image(ctx, r.images, r.o, []client.ExportEntry{r.o.imageExport(push, len(r.images))}, false)
}

// readDocs reads manifests and configs before the builder deletes them. If it has deleted them
// already, it makes them again from its results.
func (r *Build) readDocs(ctx context.Context) error {
	err := r.read(ctx)
	if errors.Is(err, os.ErrNotExist) {
		if _, err := r.again(ctx, false); err != nil {
			return err
		}
		err = r.read(ctx)
	}
	return err
}

// Ready gives each layer as soon as it is a blob, while steps of other layers still run. The content
// is an image of that layer alone. The sequence ends when all steps have run. It is empty without
// [BuildOptions.PackEarly].
func (r *Build) Ready() iter.Seq[*Content] {
	return func(yield func(*Content) bool) {
		for one := range r.pack.packed {
			if !yield(one) {
				return
			}
		}
	}
}

// Wait waits until the image is built, its layers are known, and its archives are written. The image
// is not pushed yet.
func (r *Build) Wait() (*Result, error) {
	<-r.made
	return r.Result, r.err
}

// Checked waits for the result of the image's checks. A caller that pushes the image must give it a
// name only after that.
func (r *Build) Checked(ctx context.Context) error { return r.c.checks.wait(ctx) }

// Check runs one more check.
func (r *Build) Check(ctx context.Context, one Check) error { return r.c.checks.check(ctx, one) }

// Push lets the builder push the image after it has passed its checks. A builder with [Dialer.Store]
// cannot push.
func (r *Build) Push(ctx context.Context) error {
	if r.c.b.store {
		return refusedByStore("push")
	}
	if err := r.c.checks.wait(ctx); err != nil {
		return err
	}
	_, err := r.again(ctx, true)
	return err
}

// End ends the build. failed is the error of the caller's own work, or nil. With an error, End stops
// the running steps; without one, it exports the caches. If anything failed, the result has only the
// steps. If the image did not pass its checks, End returns that error, whatever else failed.
func (r *Build) End(ctx context.Context, failed error) (*Result, error) {
	if failed != nil {
		r.cancel(failed)
	}
	<-r.made
	err := failed
	if err == nil {
		err = r.err
	}
	if err == nil && !r.c.checks.asked.Load() {
		err = r.c.checks.wait(ctx)
	}
	if err == nil {
		err = r.c.exportCaches(ctx, r.images, r.o, r.Result, r.later)
	}
	r.settle()
	r.c.checks.end()
	r.cancel(nil)
	err = r.c.checks.verdict(err)
	err = errors.Join(err, r.c.view.close())
	err = errors.Join(err, r.outputs.close(err))
	checked := r.c.checks.result()
	if err != nil {
		return &Result{Steps: append(r.c.col.result(), checked...)}, err
	}
	res := r.Result
	res.Caches, res.Steps = append(res.Caches, r.not...), append(res.Steps, checked...)
	return res, nil
}
