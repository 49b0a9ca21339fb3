package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"time"

	"github.com/moby/buildkit/client"
	"golang.org/x/sys/unix"
)

// Labels of the engine's worker, by which Connect knows what it found.
const (
	labelVersion  = "raybuild.engine.version"
	labelInstance = "raybuild.engine.dir"
	labelIdle     = "raybuild.engine.idle"
	labelLimit    = "raybuild.engine.cache-limit"
	// labelOverRoot has overRootDir, if the engine lays mounts over roots. llb knows it by this name.
	labelOverRoot = "raybuild.engine.over-root"
	// labelTrees has the directory whose directories steps may lay over their roots. llb knows it by this name.
	labelTrees = "raybuild.engine.trees"
	// labelLimits lists the limits of steps that the engine keeps, such as "memory,pids". llb knows it by this name.
	labelLimits = "raybuild.engine.limits"
)

// probeTimeout is how long a running engine may take for one small answer.
const probeTimeout = 10 * time.Second

// errNotRunning: nobody listens on the socket.
var errNotRunning = errors.New("no engine is running")

// found is what answers on a socket.
type found struct {
	pid    int // 0 when it is of another pid namespace
	labels map[string]string
	c      *client.Client // on which it answered; whoever has found it closes it
}

// close ends the connection. What was to be known is known.
func (f found) close() { _ = f.c.Close() }

// probe asks the engine on socket who it is. It returns errNotRunning when
// nobody listens there, and ErrInUse when somebody does who does not answer.
func probe(ctx context.Context, socket string) (found, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	pid, err := peer(ctx, socket)
	if err != nil {
		return found{}, err
	}
	c, err := client.New(ctx, "unix://"+socket)
	if err != nil {
		return found{}, fmt.Errorf("connect to engine %q: %w", socket, err)
	}
	workers, err := c.ListWorkers(ctx)
	switch {
	case err != nil && ctx.Err() == nil: // it ended between the two connections
		err = errNotRunning
	case err != nil:
		err = &Error{Kind: ErrInUse, Detail: fmt.Sprintf("the engine with pid %d on %s does not answer: %v",
			pid, socket, err),
			Fix: fmt.Sprintf("end it with: kill -9 %d", pid)}
	case len(workers) == 0:
		err = &Error{Kind: ErrInUse, Detail: "what answers on " + socket + " has no worker"}
	}
	if err != nil {
		_ = c.Close() // it has told what there is to tell
		return found{}, err
	}
	return found{pid: pid, labels: workers[0].Labels, c: c}, nil
}

// peer gives the process id of who listens on socket.
func peer(ctx context.Context, socket string) (int, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ECONNRESET):
		return 0, errNotRunning
	case err != nil:
		return 0, fmt.Errorf("connect to engine: %w", err)
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("look at engine %q: %w", socket, err)
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, credErr); err != nil {
		return 0, fmt.Errorf("look at engine %q: %w", socket, err)
	}
	return int(cred.Pid), nil
}
