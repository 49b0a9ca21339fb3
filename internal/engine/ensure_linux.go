package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/moby/buildkit/client"
	"golang.org/x/sys/unix"
)

const (
	defaultStartTimeout = 30 * time.Second
	lockPoll            = 10 * time.Millisecond
	// politeWait is how long a wait lasts before it is said.
	politeWait = time.Second
	// hangupWait is how long an idle engine may take to end on request.
	hangupWait = 2 * time.Second
)

// Ensure makes sure that the engine of o runs, and returns its address ("unix://…"). It
// uses an engine that answers, waits for one that is starting, or starts one. The engine
// outlives the caller and ends after o.Idle. An error is an *Error if the user can do
// something about it.
func Ensure(ctx context.Context, o Options) (addr string, err error) {
	addr, c, err := Connect(ctx, o)
	if err != nil {
		return "", err
	}
	return addr, c.Close()
}

// Connect does what [Ensure] does, and also returns the connection on which the engine
// answered. The caller closes it.
func Connect(ctx context.Context, o Options) (addr string, c *client.Client, err error) {
	e, err := newEnsurer(o)
	if err != nil {
		return "", nil, err
	}
	f, err := probe(ctx, e.place.socket())
	switch {
	case err == nil && e.fits(f) && !e.differs(f):
		return e.addr(), f.c, nil
	case err == nil:
		f.close()
	case errors.Is(err, ErrInUse):
		return "", nil, err
	}
	lock := flock.New(e.place.startLock())
	defer lock.Close()
	if err := e.acquire(ctx, lock, "waiting for another raybuild that starts the engine"); err != nil {
		return "", nil, err
	}
	if f, err = e.settle(ctx); err != nil {
		return "", nil, err
	}
	return e.addr(), f.c, nil
}

// Stop ends the engine of o after its running builds, and waits until it has ended. It
// does nothing if no engine runs.
func Stop(ctx context.Context, o Options) error {
	e, err := newEnsurer(o)
	if err != nil {
		return err
	}
	lock := flock.New(e.place.startLock())
	defer lock.Close()
	if err := e.acquire(ctx, lock, "waiting for another raybuild that starts the engine"); err != nil {
		return err
	}
	f, err := probe(ctx, e.place.socket())
	if errors.Is(err, errNotRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	f.close()
	return e.end(ctx, f.pid, unix.SIGTERM)
}

// ensurer is one call of Connect or Stop.
type ensurer struct {
	o     Options
	place place
}

func newEnsurer(o Options) (*ensurer, error) {
	instance, err := o.instance()
	if err != nil {
		return nil, err
	}
	if o.Idle < 0 || o.CacheLimit < 0 || o.MinFree < 0 {
		return nil, fmt.Errorf("start engine: idle %v, cache limit %d and free space %d must not be negative", o.Idle,
			o.CacheLimit, o.MinFree)
	}
	if o.StartTimeout <= 0 {
		o.StartTimeout = defaultStartTimeout
	}
	if o.MinFree == 0 {
		o.MinFree = defaultMinFree
	}
	if o.Notes == nil {
		o.Notes = io.Discard
	}
	p, err := locate(o.Home, instance)
	if err != nil {
		return nil, err
	}
	return &ensurer{o: o, place: p}, nil
}

func (e *ensurer) addr() string  { return "unix://" + e.place.socket() }
func (e *ensurer) note(s string) { fmt.Fprintln(e.o.Notes, s) }
func (e *ensurer) fits(f found) bool {
	return f.labels[labelVersion] == engineVersion() && f.labels[labelInstance] == e.place.dir
}

// differs is true when the caller asks for limits that the engine does not have.
func (e *ensurer) differs(f found) bool {
	return e.o.Idle > 0 && f.labels[labelIdle] != e.o.Idle.String() ||
		e.o.CacheLimit > 0 && f.labels[labelLimit] != strconv.FormatInt(e.o.CacheLimit, 10)
}

// settle makes an engine answer; the start lock is held.
func (e *ensurer) settle(ctx context.Context) (found, error) {
	busy := false // it does not end for other limits
	for try := 1; ; try++ {
		f, err := probe(ctx, e.place.socket())
		switch {
		case errors.Is(err, errNotRunning):
			if try > 3 {
				return found{}, &Error{Kind: ErrStart, Detail: "it ended again right after its start" + e.logTail()}
			}
			if err := e.start(ctx); err != nil {
				return found{}, err
			}
		case err != nil:
			return found{}, err
		case !e.fits(f):
			f.close()
			e.note(fmt.Sprintf("the engine of another raybuild (%s) is running; it ends when its builds are done",
				f.labels[labelVersion]))
			if err := e.end(ctx, f.pid, unix.SIGTERM); err != nil {
				return found{}, err
			}
		case e.differs(f) && !busy:
			f.close()
			if err := e.end(ctx, f.pid, unix.SIGHUP); err != nil {
				if ctx.Err() != nil {
					return found{}, err
				}
				e.note("the engine is busy: it keeps its idle time and cache limit until it ends")
				busy = true
			}
		default:
			return f, nil
		}
	}
}

// end sends sig to the engine and waits until it has let go of its state.
// SIGTERM asks it to finish its builds; SIGHUP to end if it has none, which is
// an error when it does not do so soon.
func (e *ensurer) end(ctx context.Context, pid int, sig unix.Signal) error {
	if pid == 0 {
		return &Error{Kind: ErrInUse, Detail: "the engine on " +
			e.place.socket() + " runs in another container or pid namespace",
			Fix: "wait until it is idle, or use another RAYBUILD_HOME"}
	}
	if err := unix.Kill(pid, sig); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end the engine with pid %d: %w", pid, err)
	}
	if sig == unix.SIGHUP {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, hangupWait)
		defer cancel()
	}
	lock := flock.New(e.place.rootLock())
	defer lock.Close()
	return e.acquire(ctx, lock, fmt.Sprintf("waiting for the engine with pid %d to end", pid))
}

// acquire takes lock, and says what it waits for when that takes longer.
func (e *ensurer) acquire(ctx context.Context, lock *flock.Flock, waiting string) error {
	soon, cancel := context.WithTimeout(ctx, politeWait)
	ok, err := lock.TryLockContext(soon, lockPoll)
	cancel()
	if ok {
		return nil
	}
	if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		e.note(waiting)
		ok, err = lock.TryLockContext(ctx, lockPoll)
		if ok {
			return nil
		}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", waiting, context.Cause(ctx))
	}
	return homeError(lock.Path(), err)
}

// logTail gives the last lines of the engine's log, for an error.
func (e *ensurer) logTail() string {
	b, err := os.ReadFile(e.place.log())
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if len(lines) > 5 {
		lines = lines[len(lines)-5:]
	}
	return fmt.Sprintf("; the end of %s:\n  %s", e.place.log(), strings.Join(lines, "\n  "))
}
