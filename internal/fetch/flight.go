package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// flight is a download that one or more callers wait for. It ends early when all of them have gone.
type flight struct {
	done   chan struct{}
	err    error // read after done
	cancel context.CancelFunc
	refs   int // guarded by Fetcher.mu
	watch  watch
}

// open returns the stored file of an item, which it downloads when it is missing or corrupt.
func (f *Fetcher) open(ctx context.Context, it Item) (*os.File, int64, error) {
	file, size, err := f.store.open(ctx, it.Digest)
	if err == nil {
		f.counts.hit()
		return file, size, nil
	}
	fl, leave := f.join(ctx, it)
	defer leave()
	select {
	case <-fl.done:
	case <-ctx.Done():
		return nil, 0, fmt.Errorf("fetch artifact %q: %w", it.Name, context.Cause(ctx))
	}
	if fl.err != nil {
		return nil, 0, fl.err
	}
	file, size, err = f.store.open(ctx, it.Digest)
	if err != nil {
		return nil, 0, fmt.Errorf("fetch artifact %q: %w", it.Name, err)
	}
	return file, size, nil
}

// join starts the download of an item, or joins the one under way. The caller must call leave.
func (f *Fetcher) join(ctx context.Context, it Item) (fl *flight, leave func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl = f.flights[it.Digest]
	if fl == nil {
		fctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		fl = &flight{done: make(chan struct{}), cancel: cancel}
		fl.watch.changed = make(chan struct{})
		f.flights[it.Digest] = fl
		if it.Rank == 0 {
			f.urgent[it.Digest] = true
			f.hosts.missing(len(f.urgent))
		}
		if len(f.urgent) > 0 && !f.waiting {
			f.waiting = true
			time.AfterFunc(urgentGrace, f.forgetUnwanted)
		}
		go func() {
			err := f.bring(fctx, it, &fl.watch)
			cancel()
			f.mu.Lock()
			f.forget(it.Digest, fl)
			if f.flights[it.Digest] == nil {
				delete(f.urgent, it.Digest)
			}
			f.hosts.missing(len(f.urgent))
			f.mu.Unlock()
			fl.err = err
			close(fl.done)
			fl.watch.end(err)
		}()
	}
	fl.refs++
	return fl, sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if fl.refs--; fl.refs == 0 {
			fl.cancel()
			f.forget(it.Digest, fl) // who comes now must not join a download that is being cancelled
		}
	})
}

// forget takes a flight out of the table, if it is still the one there. The caller holds f.mu.
func (f *Fetcher) forget(d digest.Digest, fl *flight) {
	if f.flights[d] == fl {
		delete(f.flights, d)
	}
}

// bring puts an item into the store, unless another process has done so in the meantime.
func (f *Fetcher) bring(ctx context.Context, it Item, w *watch) error {
	unlock, err := f.store.lock(ctx, it.Digest)
	if err != nil {
		return fmt.Errorf("fetch artifact %q: %w", it.Name, err)
	}
	defer unlock()
	file, _, err := f.store.open(ctx, it.Digest)
	switch {
	case err == nil:
		return file.Close()
	case errors.Is(err, errCorrupt):
		f.o.Warn(fmt.Sprintf("the stored %s was damaged and is fetched again", it.Name))
		if err := f.store.drop(it.Digest); err != nil {
			return err
		}
	}
	if f.onShelf(it.Digest) {
		return f.takeFromShelf(ctx, it)
	}
	if it.Make != nil {
		return f.bringMade(ctx, it)
	}
	cands, u, err := f.candidates(it.URL)
	if err != nil {
		return fmt.Errorf("fetch artifact %q: %w", it.Name, err)
	}
	part, err := f.store.partial(ctx, it.Digest)
	if err != nil {
		return fmt.Errorf("fetch artifact %q: %w", it.Name, err)
	}
	dl := &download{f: f, it: it, url: u, part: part, watch: w, weak: map[string]int{}}
	if part.n > 0 {
		dl.from = []string{"an earlier run"}
	}
	return f.notOnShelf(dl.run(ctx, cands))
}

// watch is how far a download is, for those who read along.
type watch struct {
	mu      sync.Mutex
	path    string // of the file that is being written
	n       int64  // bytes of it that are there
	total   int64  // 0: not known yet
	era     int    // counts the restarts from zero
	over    bool
	err     error
	changed chan struct{} // closed at each change
}

func (w *watch) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *watch) end(err error) { w.set(func() { w.over, w.err = true, err }) }

// view is a state of the watch, and the channel that says that it is out of date.
type view struct {
	path     string
	n, total int64
	era      int
	over     bool
	err      error
	changed  <-chan struct{}
}

func (w *watch) view() view {
	w.mu.Lock()
	defer w.mu.Unlock()
	return view{w.path, w.n, w.total, w.era, w.over, w.err, w.changed}
}

// follower reads a file while it is being downloaded. It holds back the end until the digest was checked.
type follower struct {
	done  <-chan struct{} // the reader is no longer wanted, because of
	cause func() error
	w     *watch
	file  *os.File
	era   int
	off   int64
	leave func()
}

// holdBack is how much of a download a follower does not see before the digest is known to be right.
const holdBack = 64 << 10

// follow starts to read an item that is not in the store; it waits until the download's size is known. The reader is
// nil when the download ended before; then the item is in the store.
func (f *Fetcher) follow(ctx context.Context, it Item) (*follower, int64, error) {
	fl, leave := f.join(ctx, it)
	for {
		v := fl.watch.view()
		if v.over {
			leave()
			return nil, 0, v.err
		}
		if v.total > 0 && v.n > 0 {
			file, err := os.Open(v.path)
			if err != nil { // it has just got its final name: the next view says so
				v.total = 0
			} else {
				return newFollower(ctx, fl, file, v.era, leave), v.total, nil
			}
		}
		select {
		case <-v.changed:
		case <-ctx.Done():
			leave()
			return nil, 0, context.Cause(ctx)
		}
	}
}

func newFollower(ctx context.Context, fl *flight, file *os.File, era int, leave func()) *follower {
	return &follower{done: ctx.Done(), cause: func() error { return context.Cause(ctx) },
		w: &fl.watch, file: file, era: era, leave: leave}
}

func (r *follower) Read(p []byte) (int, error) {
	for {
		v := r.w.view()
		if v.over && v.err != nil {
			return 0, v.err
		}
		if v.era != r.era && r.off > 0 {
			return 0, fmt.Errorf("download started again: %w", errCut)
		}
		r.era = v.era
		end := v.n
		if !v.over {
			end -= holdBack
		}
		if r.off < end {
			n, err := r.file.ReadAt(p[:min(int64(len(p)), end-r.off)], r.off)
			r.off += int64(n)
			if n > 0 || !errors.Is(err, io.EOF) {
				return n, err
			}
		}
		if v.over {
			return 0, io.EOF
		}
		select {
		case <-v.changed:
		case <-r.done:
			return 0, r.cause()
		}
	}
}

// Close lets go of the download, which ends unless others wait for it.
func (r *follower) Close() error {
	err := r.file.Close()
	r.leave()
	return err
}
