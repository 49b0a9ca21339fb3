package llb

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/moby/buildkit/client"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	digest "github.com/opencontainers/go-digest"
)

// Check is a step that tests a finished image. It adds nothing to the image.
type Check struct {
	// Platform of the image. Required.
	Platform Platform
	// Stage ends with the step. Default: only Here is tried.
	Stage Stage
	// Here is a stage with the same content as Stage, for a builder that has already made all of it. It is tried
	// first, and the builder gets no artifact for it. Default: only Stage is solved.
	Here Stage
}

// ErrNotHere says that a builder has not made all stages of [Check.Here], and there is no [Check.Stage].
var ErrNotHere = errors.New("the builder lacks a part of what is checked")

// CheckError says that an image was built but did not pass a check. It matches by errors.As.
type CheckError struct {
	Platform Platform
	Step     *StepError
}

func (e *CheckError) Error() string { return e.Step.Error() }

// Unwrap gives the step's error.
func (e *CheckError) Unwrap() error { return e.Step }

// Check runs checks one after the other until one fails, and returns the steps that ran. If the image
// does not pass, the error is a [CheckError]. If a check has only [Check.Here], and the builder has
// not made all of it, the error is [ErrNotHere]. The end of ctx ends the running step.
func (b *Builder) Check(ctx context.Context, s Session, o SolveOptions, checks ...Check) (steps []Step, err error) {
	c, err := b.newCall(ctx, s, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.view.close()) }()
	k := newChecking(ctx, c, checks)
	defer k.end()
	err = k.wait(ctx)
	return k.result(), err
}

// checking runs the checks of a call, once, beside what else the call does.
type checking struct {
	c    *call
	run  func() error // all of them
	stop context.CancelFunc
	once sync.Once
	// failed is called if the image did not pass. It may be nil.
	failed func(error)
	asked  atomic.Bool // somebody waits for the outcome
	done   chan struct{}
	err    error // valid when done is closed
	ahead  sync.WaitGroup

	mu    sync.Mutex
	steps []Step
}

func newChecking(ctx context.Context, c *call, all []Check) *checking {
	k := &checking{c: c, done: make(chan struct{})}
	ctx, k.stop = context.WithCancel(ctx)
	k.run = func() error {
		for _, one := range all {
			if err := k.check(ctx, one); err != nil {
				return err
			}
		}
		return nil
	}
	return k
}

// begin starts the checks.
func (k *checking) begin() {
	k.once.Do(func() {
		go func() {
			defer close(k.done)
			k.err = k.run()
			if failed := (*CheckError)(nil); k.failed != nil && errors.As(k.err, &failed) {
				k.failed(k.err)
			}
		}()
	})
}

// wait gives the checks' outcome.
func (k *checking) wait(ctx context.Context) error {
	k.asked.Store(true)
	k.begin()
	select {
	case <-k.done:
		return k.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// verdict replaces an error of work on the image by the failure of its checks, if they failed. It is
// called after the checks.
func (k *checking) verdict(err error) error {
	var failed *CheckError
	if errors.As(k.err, &failed) {
		return k.err
	}
	return err
}

// prepare makes the builder ready for the checks, while the image is being built.
func (k *checking) prepare(ctx context.Context, all []Check) {
	ctx, stop := context.WithCancel(ctx)
	end := k.stop
	k.stop = func() { stop(); end() }
	k.ahead.Go(func() { k.unpackAhead(ctx, all) })
}

// end stops what runs: nothing may be shown when the call is over.
func (k *checking) end() {
	k.stop()
	defer k.ahead.Wait()
	k.once.Do(func() { close(k.done) })
	<-k.done
}

// result is how the checks' steps went.
func (k *checking) result() []Step {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.steps)
}

// check runs one check.
func (k *checking) check(ctx context.Context, one Check) error {
	if one.Here.n != nil || one.Here.err != nil {
		err := k.solve(ctx, one.Platform, one.Here, true)
		var failed *CheckError
		if err == nil || ctx.Err() != nil || errors.As(err, &failed) {
			return err
		}
		if one.Stage.n == nil && one.Stage.err == nil {
			return ErrNotHere
		}
	}
	return k.solve(ctx, one.Platform, one.Stage, false)
}

// solve solves a check's stage. If here is set, the builder gets no artifact, because it must have all of it.
func (k *checking) solve(ctx context.Context, p Platform, st Stage, here bool) error {
	switch {
	case st.err != nil:
		return st.err
	case st.n == nil:
		return errors.New("check image: the check has no step: its Stage has to end in one")
	}
	c := k.apart()
	if here {
		c.sess.Artifacts = nil
	}
	title := st.n.title
	c.shown = onlyShow(func(name string) bool { return name == title || !here && strings.HasPrefix(name, "image ") })
	err := c.stage(ctx, st, p, nil, func(context.Context, gateway.Reference) error { return nil })
	layer, name := splitTitle(title)
	var step *StepError
	// A step that did not run, because one of its inputs could not be read, has checked nothing.
	failed := errors.As(err, &step) && step.Layer == layer && step.Step == name &&
		(step.ExitCode >= 0 || len(step.Log) > 0)
	if err == nil || failed {
		k.mu.Lock()
		for _, s := range c.col.result() {
			if s.Layer == layer && s.Name == name {
				k.steps = append(k.steps, s)
			}
		}
		k.mu.Unlock()
	}
	if failed && ctx.Err() == nil {
		return &CheckError{Platform: p, Step: step}
	}
	return err
}

// apart is a call of its own, with the same session and view. It uses the builder's own cache and no other.
func (k *checking) apart() *call {
	c := &call{b: k.c.b, o: k.c.o, sess: &session{Session: k.c.sess.Session}, view: k.c.view, col: newCollector()}
	c.o.CacheFrom, c.o.CacheTo, c.o.NoCache = nil, nil, false
	return c
}

// onlyShow keeps only the events of operations for whose names meant returns true.
func onlyShow(meant func(name string) bool) func(*client.SolveStatus) *client.SolveStatus {
	shown := map[digest.Digest]bool{}
	return func(ss *client.SolveStatus) *client.SolveStatus {
		out := &client.SolveStatus{}
		for _, v := range ss.Vertexes {
			if shown[v.Digest] = shown[v.Digest] || meant(v.Name); shown[v.Digest] {
				out.Vertexes = append(out.Vertexes, v)
			}
		}
		for _, s := range ss.Statuses {
			if shown[s.Vertex] {
				out.Statuses = append(out.Statuses, s)
			}
		}
		for _, l := range ss.Logs {
			if shown[l.Vertex] {
				out.Logs = append(out.Logs, l)
			}
		}
		return out
	}
}
