package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// body is the body of a request. It is opened at its first read, and opened again from its start if the
// request is repeated, for example after a new token.
type body struct {
	open  func(ctx context.Context) (io.ReadCloser, error)
	size  int64
	moved func(n int) // gets each read; may be nil
	begin func() (io.ReadCloser, error)
	ended func() error
	touch func()
	whole func()

	reading atomic.Bool // a read of the source is under way
	left    atomic.Int64

	mu    sync.Mutex // a request may end while its body is still read
	from  io.ReadCloser
	round int   // how often it was closed
	err   error // of the source
}

// newBody is a body of size bytes.
func newBody(size int64, open func(context.Context) (io.ReadCloser, error)) *body {
	b := &body{open: open, size: size}
	b.left.Store(size)
	return b
}

// textBody is a body in memory.
func textBody(data []byte) *body {
	return newBody(int64(len(data)), func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	})
}

// watched adjusts the watch to the progress of the body. While the body moves, silence may last Stall. When
// the registry has all of it, the registry may need Answer to check it.
func (b *body) watched(ctx context.Context, t *target, watch *time.Timer) (stop func() bool) {
	o := t.p.o
	slow := time.AfterFunc(o.Answer, func() {
		o.Log("registry %s has the whole blob and does not answer yet: waiting up to %v",
			t.repo.RegistryStr(), o.Answer)
	})
	slow.Stop()
	// The source ends with the request: net/http waits for a body that is being read.
	b.begin = func() (io.ReadCloser, error) { return b.open(ctx) }
	b.ended = ctx.Err
	b.touch = func() {
		if ctx.Err() == nil {
			watch.Reset(o.Stall)
		}
	}
	b.whole = func() {
		if ctx.Err() == nil {
			watch.Reset(o.Answer)
			slow.Reset(o.Stall)
		}
	}
	return slow.Stop
}

// stalled is the error of a request without progress. It blames the source if that is what the request
// waits for.
func (b *body) stalled(limit time.Duration) error {
	if b != nil && b.reading.Load() {
		return &sourceError{&stallError{limit}}
	}
	return &stallError{limit}
}

// Read implements io.Reader. A source that ends early is an error, because the registry would wait for the
// rest.
func (b *body) Read(p []byte) (int, error) {
	left := b.left.Load()
	if left == 0 {
		return 0, io.EOF
	}
	b.reading.Store(true)
	n, round, err := b.read(p[:min(int64(len(p)), left)])
	b.reading.Store(false)
	left = b.left.Add(-int64(n))
	if errors.Is(err, io.EOF) {
		if err = nil; left > 0 {
			err = io.ErrUnexpectedEOF
		}
	}
	if err != nil && b.ended() == nil {
		b.mu.Lock()
		if b.round == round { // else it was closed meanwhile, by the request's end
			b.err = err
		}
		b.mu.Unlock()
	}
	b.touch()
	if b.moved != nil && n > 0 {
		b.moved(n)
	}
	if left == 0 {
		b.whole()
	}
	return n, err
}

// read reads from the source, opens it first if needed, and returns the round.
func (b *body) read(p []byte) (n, round int, err error) {
	b.mu.Lock()
	from, round := b.from, b.round
	b.mu.Unlock()
	if from == nil {
		if from, err = b.begin(); err != nil {
			return 0, round, err
		}
		b.mu.Lock()
		b.from = from
		b.mu.Unlock()
	}
	n, err = from.Read(p)
	return n, round, err
}

// Close implements io.Closer. The next Read starts anew.
func (b *body) Close() error {
	b.mu.Lock()
	from := b.from
	b.from = nil
	b.round++
	b.mu.Unlock()
	if from == nil {
		return nil
	}
	b.left.Store(b.size)
	return from.Close()
}

// failed returns the source's error if it is why a request failed, else err.
func (b *body) failed(err error) error {
	if b == nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return &sourceError{b.err}
	}
	return err
}
