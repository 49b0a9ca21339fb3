package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"
)

// maxLog is the size in bytes at which the log is put aside at a start.
const maxLog = 4 << 20

// start starts the engine and waits until it answers; the start lock is held.
func (e *ensurer) start(ctx context.Context) error {
	if _, err := findRuntime(searchPath(os.Getenv("PATH"))); err != nil {
		return err
	}
	if err := room(e.place.dir, e.o.MinFree); err != nil {
		return err
	}
	if err := e.waitForState(ctx); err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start engine: %w", err)
	}
	defer r.Close()
	cmd, err := e.spawn(w)
	w.Close()
	if err != nil {
		return err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()

	said := make(chan error, 1)
	go func() { said <- listen(r, e.note) }()
	select {
	case err = <-said:
	case <-ctx.Done():
		// It goes on: the next caller, or one that waits already, finds it.
		return fmt.Errorf("wait for the engine to start: %w", context.Cause(ctx))
	case <-time.After(e.o.StartTimeout):
		// With its children, or it would keep the state for itself.
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		return &Error{Kind: ErrStart, Detail: fmt.Sprintf("no answer within %v%s", e.o.StartTimeout, e.logTail()),
			Fix: "look at " + e.place.log()}
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		select {
		case err = <-exited:
		case <-time.After(time.Second):
		}
		return &Error{Kind: ErrStart, Detail: fmt.Sprintf("its process ended (%v)%s", err, e.logTail())}
	}
	return err
}

// waitForState waits until no process holds the state: an engine that is
// ending has let go of its socket before.
func (e *ensurer) waitForState(ctx context.Context) error {
	lock := flock.New(e.place.rootLock())
	defer lock.Close()
	pid := "?"
	if b, err := os.ReadFile(e.place.pidFile()); err == nil {
		pid = strings.TrimSpace(string(b))
	}
	return e.acquire(ctx, lock, "waiting for the engine with pid "+pid+" to finish its builds and end")
}

// spawn starts the engine's process, detached from this one: in a session of
// its own, so that ^C does not reach it, with its output in the log.
func (e *ensurer) spawn(ready *os.File) (*exec.Cmd, error) {
	if st, err := os.Stat(e.place.log()); err == nil && st.Size() > maxLog {
		// The one before is enough; what cannot be put aside grows on.
		_ = os.Rename(e.place.log(), e.place.log()+".1")
	}
	log, err := os.OpenFile(e.place.log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, homeError(e.place.log(), err)
	}
	defer log.Close()

	so := ServeOptions{Dir: e.place.dir, Socket: e.place.socket(), Idle: e.o.Idle, CacheLimit: e.o.CacheLimit,
		Insecure: e.o.insecure(), CertDirs: e.o.CertDirs, Trees: e.o.Trees, ReadyFD: 3}
	attr := &syscall.SysProcAttr{Setsid: true}
	if os.Geteuid() == 0 {
		// Mounts of an engine that is killed go away with its namespace.
		so.stage = stageOwnMounts
		attr.Cloneflags = unix.CLONE_NEWNS
	}
	exe, args := e.o.Exe, e.o.Args
	if exe == "" {
		// Works for a program that was replaced or removed meanwhile, too.
		exe = "/proc/self/exe"
	}
	if args == nil {
		args = []string{"engine-serve"}
	}
	cmd := exec.Command(exe, append(append([]string{}, args...), so.args()...)...)
	cmd.Args[0] = "raybuild"
	cmd.Dir = "/"
	cmd.Env = e.environ()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{ready}
	cmd.SysProcAttr = attr
	if err := closeFilesOnExec(); err != nil {
		return nil, err
	}
	err = cmd.Start()
	if errors.Is(err, unix.EPERM) && os.Geteuid() == 0 {
		return nil, &Error{Kind: ErrNoPrivilege, Detail: "this root may not make a mount namespace (no CAP_SYS_ADMIN)",
			Fix: "give the container that this runs in --privileged, or use the Docker Engine or another builder " +
				"with --builder"}
	}
	if err != nil {
		return nil, fmt.Errorf("start engine %q: %w", exe, err)
	}
	return cmd, nil
}

// closeFilesOnExec keeps what this process was started with, beside its standard streams, from the
// engine. A shell's "> >(tee log)" is such a file: tee would wait for its end as long as the engine
// runs.
func closeFilesOnExec() error {
	if unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return nil
	}
	entries, err := os.ReadDir("/proc/self/fd") // Linux before 5.11, or a container that forbids it
	if err != nil {
		return fmt.Errorf("keep files from the engine: %w", err)
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// environ is the engine's whole environment: nothing else of the first
// caller's becomes the next one's.
func (e *ensurer) environ() []string {
	env := []string{
		"PATH=" + searchPath(os.Getenv("PATH")),
		"TMPDIR=" + e.place.tmp(),
		// Honoured by runc for its state when it is root of a user namespace only.
		"XDG_RUNTIME_DIR=" + e.place.run,
	}
	if h := os.Getenv("HOME"); h != "" {
		env = append(env, "HOME="+h)
	}
	return append(env, e.o.processEnv()...)
}
