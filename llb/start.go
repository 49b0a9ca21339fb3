package llb

import (
	"context"
	"errors"
	"iter"
	"os"

	"github.com/moby/buildkit/client"
)

// Build is an image that is being built. Its Content may be used after [Build.Wait].
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
	made    chan struct{} // closed when err is known, and with nil the image
	err     error
}

// Build makes an image, of one platform for each of images, and brings it where o says. It ends with ctx. A failed step
// is a [StepError], an artifact that could not be brought a [FetchError]. The result has the steps with an error, too.
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

// Start begins to build as [Builder.Build] does, and leaves the push to the caller:
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
// The context that it gives ends when the build has failed, or the image did not pass its checks:
// nobody needs then what is done with it. Every build that was started has to be ended by End.
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
	go func() {
		defer close(r.made)
		if r.err = r.make(within); r.err != nil {
			cancel(r.err)
		}
	}()
	return r, within, nil
}

// make builds the image, and writes what is written of it.
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
	r.o.NoCache = false // what is solved from here on has run
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

// afterSteps runs between the image's steps and its exports. An image that is not pushed gets its
// names by the exports, so they wait for the checks. One that is pushed gets them by the push, which
// waits itself.
func (r *Build) afterSteps(built context.Context) error {
	r.c.checks.begin()
	if r.pack.wait(built); r.o.Push {
		return nil
	}
	return r.c.checks.wait(built)
}

// complete exports once more where the builder had let go of the manifests before they were read.
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

// again solves the image once more, of which the builder has everything.
func (r *Build) again(ctx context.Context, push bool) (*Result, error) {
	return r.c.image(ctx, r.images, r.o, []client.ExportEntry{r.o.imageExport(push, len(r.images))}, false)
}

// readDocs takes manifests and configs in before the builder lets go of them. Where it has done so
// already it makes them again, from what it has of them.
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

// Ready gives each layer whose steps have run, as an image of that layer alone, as soon as it is a
// blob, while steps of other layers still run. It ends when all steps have run, and gives nothing
// without [BuildOptions.PackEarly].
func (r *Build) Ready() iter.Seq[*Content] {
	return func(yield func(*Content) bool) {
		for one := range r.pack.packed {
			if !yield(one) {
				return
			}
		}
	}
}

// Wait waits until the image is made and its layers are known, and written where it is to be
// written. None of it has been pushed then.
func (r *Build) Wait() (*Result, error) {
	<-r.made
	return r.Result, r.err
}

// Checked waits for the outcome of the image's checks. Who pushes the image names it after that.
func (r *Build) Checked(ctx context.Context) error { return r.c.checks.wait(ctx) }

// Check runs one more check.
func (r *Build) Check(ctx context.Context, one Check) error { return r.c.checks.check(ctx, one) }

// Push has the builder push the image when it has passed its checks. A builder that keeps images in
// a store of its own (see [Dialer]) cannot.
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

// End ends the build. failed is what the caller's own part came to: with an error, what still runs
// is stopped, else caches are exported. It gives the result, which has no more than the steps where
// the build has failed, and why it has: that the image did not pass its checks, before all else.
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
