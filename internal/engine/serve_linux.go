package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"time"

	"github.com/gofrs/flock"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
)

// Serve is the engine. It answers on o.Socket until one of these: nobody was connected
// for o.Idle, a SIGTERM came, or ctx ended. After a SIGTERM it finishes the running
// builds; a second one ends it at once. Its process must do nothing else, because it sets
// the umask, the mounts and BuildKit's global settings.
func Serve(ctx context.Context, o ServeOptions) error {
	r := newReporter(o.ReadyFD)
	err := o.validate()
	if err == nil {
		err = serve(ctx, o, r)
	}
	if err != nil {
		r.fail(err)
		return err
	}
	r.close()
	return nil
}

func serve(ctx context.Context, o ServeOptions, r *reporter) error {
	if o.stage == stageMapped {
		return becomeNamespaceRoot(o)
	}
	if os.Geteuid() != 0 {
		return enterUserNamespace(ctx, o, r)
	}
	if o.stage != stageHost {
		// Mounts of the host still come and go here, those made here stay here.
		if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
			return namespaceError(fmt.Errorf("keep its mounts apart: %w", err))
		}
	}
	p := place{dir: o.Dir, run: filepath.Dir(o.Socket)}
	lock := flock.New(p.rootLock())
	defer lock.Close()
	if err := takeState(ctx, lock, p); err != nil {
		return err
	}
	if err := p.prepare(ctx, r.note); err != nil {
		return err
	}
	return run(ctx, o, p, r)
}

// takeState makes this process the only one on the state.
func takeState(ctx context.Context, lock *flock.Flock, p place) error {
	ctx, cancel := context.WithTimeout(ctx, politeWait)
	defer cancel()
	if ok, err := lock.TryLockContext(ctx, lockPoll); !ok {
		if !errors.Is(err, context.DeadlineExceeded) {
			return homeError(p.rootLock(), err)
		}
		pid, _ := os.ReadFile(p.pidFile())
		return &Error{Kind: ErrInUse, Detail: fmt.Sprintf("%s is held by the engine with pid %s", p.dir, pid),
			Fix: "use that one, or end it"}
	}
	if err := os.WriteFile(p.pidFile(), []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		return homeError(p.pidFile(), err)
	}
	return nil
}

// run starts the controller and serves it; the state is this process's own.
func run(ctx context.Context, o ServeOptions, p place, r *reporter) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	defer signal.Stop(signals)
	logrus.SetLevel(logrus.WarnLevel)

	idle := o.Idle
	if idle == 0 {
		idle = defaultIdle
	}
	b, err := newBuilder(ctx, o, p, idle)
	if err != nil {
		return err
	}
	defer b.close()
	defer b.sync.settle()
	l, err := listenPrivate(o.Socket)
	if err != nil {
		return err
	}
	t := newTracker(l, b.sync)
	served := make(chan error, 1)
	go func() { served <- b.server.Serve(t) }()
	r.ready()

	select {
	case err = <-served:
		return fmt.Errorf("serve engine on %q: %w", o.Socket, err)
	case <-ctx.Done():
		b.server.Stop()
	case <-t.idle(idle):
		b.server.GracefulStop()
	case <-ended(signals, t):
		drain(ctx, b.server, signals)
	}
	return nil
}

// ended is closed by a signal that ends the engine: SIGTERM or SIGINT in any
// case, SIGHUP when nobody is connected.
func ended(signals <-chan os.Signal, t *tracker) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := range signals {
			if s != unix.SIGHUP || t.closeWithin(hangupWait/2) {
				return
			}
		}
	}()
	return done
}

// drain lets running builds finish; a further signal or the end of ctx ends them.
func drain(ctx context.Context, s *grpc.Server, signals <-chan os.Signal) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.GracefulStop()
	}()
	for {
		select {
		case <-done:
			return
		case sig := <-signals:
			if sig != unix.SIGHUP {
				s.Stop()
			}
		case <-ctx.Done():
			s.Stop()
			<-done
			return
		}
	}
}

// listenPrivate listens on a unix socket that is this user's alone. A socket
// that lies there is stale, as the state is locked.
func listenPrivate(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove stale socket %q: %w", path, err)
	}
	old := unix.Umask(0o177)
	l, err := net.Listen("unix", path)
	unix.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", path, err)
	}
	return l, nil
}

// closeTimeout bounds what is done after the last build.
const closeTimeout = 10 * time.Second
