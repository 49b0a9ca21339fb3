package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/moby/buildkit/cache"
	"github.com/moby/buildkit/cache/remotecache"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/util/contentutil"
	"github.com/moby/buildkit/worker"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// budgetKey is the attribute of a cache import that says how long the build may wait for that
// cache, as Go writes durations. BuildKit has no such limit, and while a cache says nothing its
// scheduler does nothing else, for any build.
const budgetKey = "budget"

// limitImports gives every importer the limit that an import asks for.
func limitImports(all map[string]remotecache.ResolveCacheImporterFunc) map[string]remotecache.ResolveCacheImporterFunc {
	for kind, resolve := range all {
		all[kind] = func(ctx context.Context, g session.Group,
			attrs map[string]string) (remotecache.Importer, ocispecs.Descriptor, error) {
			text, ok := attrs[budgetKey]
			if !ok {
				return resolve(ctx, g, attrs)
			}
			budget, err := time.ParseDuration(text)
			if err != nil || budget <= 0 {
				return nil, ocispecs.Descriptor{}, fmt.Errorf("import cache: budget %q is no duration above "+
					"zero, such as 5m", text)
			}
			l := newImportLimit(budget)
			type answer struct {
				importer remotecache.Importer
				desc     ocispecs.Descriptor
			}
			got, err := within(ctx, l, func(ctx context.Context) (answer, error) {
				importer, desc, err := resolve(ctx, g, attrs)
				return answer{importer, desc}, err
			})
			return &limitedImporter{got.importer, l}, got.desc, err
		}
	}
	return all
}

// importLimit counts the time in which a build waits for a cache. When it is used up, reads that are under way end.
type importLimit struct {
	budget time.Duration
	index  time.Duration // how much of it may go to finding out what the cache has

	mu      sync.Mutex
	used    time.Duration
	since   time.Time // when the first of the running waits began
	running map[*context.CancelCauseFunc]context.CancelCauseFunc
	timer   *time.Timer
}

// newImportLimit lets the cache's index have a tenth of the budget, and 10 seconds at least: it is small.
func newImportLimit(budget time.Duration) *importLimit {
	return &importLimit{budget: budget, index: max(budget/10, min(budget, 10*time.Second)),
		running: map[*context.CancelCauseFunc]context.CancelCauseFunc{}}
}

// slowCacheError says that a cache was given up.
type slowCacheError struct{ after time.Duration }

func (e *slowCacheError) Error() string {
	return fmt.Sprintf("the cache is too slow, and was given up after %v of waiting", e.after)
}

// begin starts a wait. The context that it gives ends when the budget is used up.
func (l *importLimit) begin(ctx context.Context) (context.Context, func(), error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.used >= l.budget {
		return nil, nil, &slowCacheError{l.budget}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	id := &cancel
	if len(l.running) == 0 {
		l.since = time.Now()
		l.timer = time.AfterFunc(l.budget-l.used, l.spend)
	}
	l.running[id] = cancel
	var once sync.Once
	return ctx, func() { once.Do(func() { l.end(id) }) }, nil
}

func (l *importLimit) end(id *context.CancelCauseFunc) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running[id](nil)
	delete(l.running, id)
	if len(l.running) == 0 {
		l.timer.Stop()
		l.used += time.Since(l.since)
	}
}

// spend ends all waits.
func (l *importLimit) spend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used = l.budget
	for _, cancel := range l.running {
		cancel(&slowCacheError{l.budget})
	}
}

// why is the error of a read that ctx may have ended.
func why(ctx context.Context, err error) error {
	var slow *slowCacheError
	if err != nil && errors.As(context.Cause(ctx), &slow) {
		return slow
	}
	return err
}

// within does what belongs to the cache's index, and does not wait for code that does not heed its context.
func within[T any](ctx context.Context, l *importLimit, do func(context.Context) (T, error)) (T, error) {
	type answer struct {
		v   T
		err error
	}
	var none T
	ctx, end, err := l.begin(ctx)
	if err != nil {
		return none, err
	}
	defer end()
	ctx, cancel := context.WithTimeoutCause(ctx, l.index, &slowCacheError{l.index})
	done := make(chan answer, 1)
	go func() {
		defer cancel()
		v, err := do(ctx)
		done <- answer{v, why(ctx, err)}
	}()
	select {
	case a := <-done:
		return a.v, a.err
	case <-ctx.Done():
		select {
		case a := <-done:
			return a.v, a.err
		default:
			return none, context.Cause(ctx)
		}
	}
}

type limitedImporter struct {
	remotecache.Importer
	l *importLimit
}

// Resolve implements remotecache.Importer.
func (i *limitedImporter) Resolve(ctx context.Context, desc ocispecs.Descriptor, id string,
	w worker.Worker) (solver.CacheManager, error) {
	return within(ctx, i.l, func(ctx context.Context) (solver.CacheManager, error) {
		return i.Importer.Resolve(ctx, desc, id, &limitedWorker{w, i.l})
	})
}

// limitedWorker reads what the cache has within its limit.
type limitedWorker struct {
	worker.Worker
	l *importLimit
}

// FromRemote implements worker.Worker.
func (w *limitedWorker) FromRemote(ctx context.Context, remote *solver.Remote) (cache.ImmutableRef, error) {
	return w.Worker.FromRemote(ctx, &solver.Remote{Descriptors: remote.Descriptors,
		Provider: &limitedProvider{remote.Provider, remote.Provider, w.l}})
}

// limitedProvider has the methods that BuildKit looks for on a cache's provider.
type limitedProvider struct {
	whole content.InfoReaderProvider
	read  content.Provider // of a session, where it is bound to one
	l     *importLimit
}

// Info implements content.InfoProvider.
func (p *limitedProvider) Info(ctx context.Context, d digest.Digest) (content.Info, error) {
	ctx, end, err := p.l.begin(ctx)
	if err != nil {
		return content.Info{}, err
	}
	defer end()
	info, err := p.whole.Info(ctx, d)
	return info, why(ctx, err)
}

// ReaderAt implements content.Provider.
func (p *limitedProvider) ReaderAt(ctx context.Context, desc ocispecs.Descriptor) (content.ReaderAt, error) {
	ctx, end, err := p.l.begin(ctx)
	if err != nil {
		return nil, err
	}
	r, err := p.read.ReaderAt(ctx, desc)
	if err != nil {
		end()
		return nil, why(ctx, err)
	}
	return &limitedReader{ReaderAt: r, why: func(err error) error { return why(ctx, err) }, end: end}, nil
}

// ProviderForSession gives a provider whose reads belong to a session.
func (p *limitedProvider) ProviderForSession(g session.Group) content.Provider {
	return &limitedProvider{p.whole, contentutil.ProviderForSession(p.whole, g), p.l}
}

// SnapshotLabels passes on what a provider tells remote snapshotters.
func (p *limitedProvider) SnapshotLabels(descs []ocispecs.Descriptor, index int) map[string]string {
	if s, ok := p.whole.(interface {
		SnapshotLabels([]ocispecs.Descriptor, int) map[string]string
	}); ok {
		return s.SnapshotLabels(descs, index)
	}
	return nil
}

// UnlazySession passes on that a provider can be read only while a session is there.
func (p *limitedProvider) UnlazySession(desc ocispecs.Descriptor) session.Group {
	if u, ok := p.whole.(interface {
		UnlazySession(ocispecs.Descriptor) session.Group
	}); ok {
		return u.UnlazySession(desc)
	}
	return nil
}

// limitedReader is a wait until it is closed.
type limitedReader struct {
	content.ReaderAt
	why   func(error) error // why a read ended
	end   func()
	begun bool
}

// ReadAt implements io.ReaderAt. What another build has begun to take from the cache, and did not
// finish, is resumed where that came to. The readers of caches are not made for it: that of S3
// cannot begin at the end, that of Azure nowhere but at the beginning.
func (r *limitedReader) ReadAt(p []byte, off int64) (int, error) {
	if off >= r.Size() {
		return 0, io.EOF
	}
	n, err := r.ReaderAt.ReadAt(p, off)
	if err != nil && n == 0 && off > 0 && !r.begun {
		if _, err = io.Copy(io.Discard, io.NewSectionReader(r.ReaderAt, 0, off)); err == nil {
			n, err = r.ReaderAt.ReadAt(p, off)
		}
	}
	r.begun = true
	return n, r.why(err)
}

// Close implements io.Closer.
func (r *limitedReader) Close() error {
	r.end()
	return r.ReaderAt.Close()
}
