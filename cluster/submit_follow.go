package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/raybuild/raybuild/internal/docker"
)

const (
	tailQuiet   = 30 * time.Second
	pollSlowest = 30 * time.Second // between two readings of a whole log
)

// follower shows a job's log while it grows, until the job has ended. It holds a piece of the log at a time, never all
// of it, and so does Ray: the head sends over a websocket what is new. Where Ray has no websocket, the follower reads
// the whole log again and again, as a stream, and drops what was shown.
type follower struct {
	ray      *ray
	dial     func(context.Context) (*ray, error) // connects to the head anew
	dialed   []*ray                              // by dial
	job      *JobResult
	stdout   io.Writer
	logf     logFunc
	shown    int64         // bytes of the log
	polls    bool          // Ray has no websocket for logs
	quiet    time.Duration // how long the websocket may say nothing before Ray is asked whether the job has ended
	patience time.Duration // how long nothing may succeed
}

// follower makes a follower of a job that r knows.
func (l *launch) follower(r *ray, job *JobResult, stdout io.Writer) *follower {
	dial := func(ctx context.Context) (*ray, error) {
		ctx, cancel := context.WithTimeout(ctx, askLimit)
		defer cancel()
		h, err := docker.Dial(ctx, target(l.spec.Head.Host), l.SSH.options())
		if err != nil {
			return nil, err
		}
		l.logf("%s: connected again", l.spec.Head.Host.ID())
		return newRay(h, r.container, l.spec.Head.Ports.Dashboard, r.features, r.token), nil
	}
	return &follower{ray: r, dial: dial, job: job, stdout: stdout, logf: l.logf, quiet: tailQuiet,
		patience: reconnectFor}
}

// close ends the connections that the follower made.
func (f *follower) close() {
	for _, r := range f.dialed {
		r.close()
		r.host.Close() // the work is done
	}
}

// run follows the job until it has ended, and fills in how. After a cut it attaches again.
func (f *follower) run(ctx context.Context) error {
	since, good, over := f.ray.started(ctx), time.Now(), false
	for pause := pollFirst; ; pause = min(pause*3/2, pollLast) {
		start, before := time.Now(), f.shown
		read, err := f.read(ctx)
		var unwritable *outputError
		if errors.As(err, &unwritable) {
			return unwritable.err
		}
		if err == nil || f.shown > before {
			good, pause = time.Now(), pollFirst
		}
		// A Ray that cuts the websocket at its end has sent all if a reading after the job's end has nothing more.
		if over && (err == nil || read == f.shown && f.shown == before) {
			return nil
		}
		asked := f.ask(ctx, &over)
		if asked != nil && ctx.Err() == nil && f.ray.lost(ctx, since, asked) {
			f.job.Status, f.job.ExitCode = statusLost, 1
			return fmt.Errorf("follow job %s: %w", f.job.ID, errLost)
		}
		if over && err == nil && !f.polls {
			return nil
		}
		if err = errors.Join(err, asked); err != nil && time.Since(good) > f.patience {
			if over {
				f.logf("job %s has ended; its log is cut after %d bytes: %v", f.job.ID, f.shown, err)
				return nil
			}
			return &UnfollowedJobError{f.job.ID, err}
		}
		f.reconnect(ctx)
		if f.polls { // a long log costs the head much
			pause = max(pause, min(4*time.Since(start), pollSlowest))
		}
		select {
		case <-ctx.Done():
			return &UnfollowedJobError{f.job.ID, context.Cause(ctx)}
		case <-time.After(pause):
		}
	}
}

// ask asks Ray how the job is, and whether it is over.
func (f *follower) ask(ctx context.Context, over *bool) error {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	job, err := f.ray.job(ctx, f.job.ID)
	if err != nil {
		return err
	}
	f.job.Status, f.job.Message, f.job.ExitCode = job.Status, job.Message, job.exitCode()
	*over = job.Ended()
	return nil
}

// reconnect connects to the head's host again if the connection is lost. The next try shows whether it worked.
func (f *follower) reconnect(ctx context.Context) {
	if f.ray.host.Err() == nil {
		return
	}
	f.logf("%v; connecting again to follow job %s", f.ray.host.Err(), f.job.ID)
	if r, err := f.dial(ctx); err == nil {
		f.ray, f.dialed = r, append(f.dialed, r)
	}
}

// read shows what of the log was not shown, and returns how much of it came. It returns nil if Ray has sent all that
// there is: over the websocket, once the job has ended.
func (f *follower) read(ctx context.Context) (int64, error) {
	log := &unshown{f: f}
	if !f.polls {
		err := f.tail(ctx, log)
		if !f.polls {
			return log.at.Load(), err
		}
	}
	res, err := f.ray.do(ctx, http.MethodGet, jobPath(f.job.ID)+"/logs", "", nil)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close() // read as far as it is of use
	err = copyJSONString(log, res.Body, "logs")
	return log.at.Load(), err
}

// tail reads the websocket, which sends the log from its beginning (ray python/ray/dashboard/modules/job/job_head.py).
func (f *follower) tail(ctx context.Context, log *unshown) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conn, res, err := websocket.Dial(ctx, f.ray.base+jobPath(f.job.ID)+"/logs/tail",
		&websocket.DialOptions{HTTPClient: f.ray.http, HTTPHeader: f.ray.header()})
	if err != nil {
		if res != nil {
			f.polls = res.StatusCode == http.StatusNotFound || res.StatusCode == http.StatusMethodNotAllowed ||
				res.StatusCode/100 == 2
			res.Body.Close() // the status counts
		}
		return fmt.Errorf("follow the log: %w", err)
	}
	defer conn.CloseNow() //nolint:errcheck // all was read, or it is cut
	conn.SetReadLimit(-1) // a message is read piece by piece
	go f.watch(ctx, f.ray, log, cancel)
	for {
		_, message, err := conn.Reader(ctx)
		if err == nil {
			_, err = io.Copy(log, message)
		}
		if websocket.CloseStatus(err) == websocket.StatusNormalClosure {
			return nil
		}
		if err != nil {
			return errors.Join(err, context.Cause(ctx))
		}
	}
}

// watch ends a websocket that says nothing although the job has ended, or although Ray does not answer any more: Ray
// sends no sign of life over it.
func (f *follower) watch(ctx context.Context, r *ray, log *unshown, end context.CancelCauseFunc) {
	tick := time.NewTicker(f.quiet)
	defer tick.Stop()
	for last := int64(-1); ; last = log.at.Load() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if log.at.Load() != last {
			continue
		}
		short, cancel := context.WithTimeout(ctx, askLimit)
		job, err := r.job(short, f.job.ID)
		cancel()
		if err == nil && job.Ended() {
			err = errors.New("the job has ended, and its log does not")
		}
		if err != nil {
			end(err)
			return
		}
	}
}

// unshown writes a log that is read from its beginning, without what was shown.
type unshown struct {
	f  *follower
	at atomic.Int64 // bytes read
}

func (u *unshown) Write(p []byte) (int, error) {
	fresh := min(u.at.Add(int64(len(p)))-u.f.shown, int64(len(p)))
	if fresh <= 0 {
		return len(p), nil
	}
	n, err := u.f.stdout.Write(p[int64(len(p))-fresh:])
	u.f.shown += int64(n)
	if err != nil {
		return len(p) - int(fresh) + n, &outputError{err}
	}
	return len(p), nil
}

// outputError is one of whoever reads what we show, so that to attach again is of no use.
type outputError struct{ err error }

func (e *outputError) Error() string { return e.err.Error() }
func (e *outputError) Unwrap() error { return e.err }
