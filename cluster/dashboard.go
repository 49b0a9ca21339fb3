package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/raybuild/raybuild/internal/docker"
)

// Dashboard serves a cluster's dashboard on this machine's loopback, through the SSH connection, until ctx ends. Port
// 0 means the dashboard's own port, or a free port if that one is taken. Dashboard calls ready once, with the URL and
// the token for which the page asks. If the connection is lost, Dashboard connects again and keeps the local port.
func Dashboard(ctx context.Context, spec *Spec, port int, ready func(url, token string), o Options) error {
	l := newLaunch(spec, o)
	r, err := l.askHead(ctx)
	if err != nil {
		l.close()
		return err
	}
	ln, err := listenLoopback(port, spec.Head.Ports.Dashboard)
	if err != nil {
		l.close()
		return err
	}
	t := &tunnel{l: l, host: r.host, addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(spec.Head.Ports.Dashboard))}
	defer t.close()
	ready("http://"+ln.Addr().String(), r.token)
	stop := context.AfterFunc(ctx, func() { ln.Close() }) // ends Accept
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := ln.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("serve the dashboard: %w", err)
		}
		wg.Go(func() { t.serve(ctx, c) })
	}
}

// listenLoopback listens on 127.0.0.1 only: a dashboard that other machines reach runs code for them.
func listenLoopback(port, preferred int) (net.Listener, error) {
	try := []int{port}
	if port == 0 {
		try = []int{preferred, 0}
	}
	var errs []error
	for _, p := range try {
		ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p)))
		if err == nil {
			return ln, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("serve the dashboard: %w", errors.Join(errs...))
}

// tunnel carries connections to an address on a host, over a connection that is made anew when it is lost.
type tunnel struct {
	l    *launch
	addr string
	mu   sync.Mutex
	host *docker.Host
}

// connected returns the host, connecting again when the connection was lost.
func (t *tunnel) connected(ctx context.Context) (*docker.Host, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.host.Err() == nil {
		return t.host, nil
	}
	t.l.logf("%s: %v; connecting again", t.l.spec.Head.Host.ID(), t.host.Err())
	h, err := docker.Dial(ctx, target(t.l.spec.Head.Host), t.l.SSH.options())
	if err != nil {
		return nil, err
	}
	t.host.Close() // it is lost
	t.host = h
	t.l.logf("%s: connected", t.l.spec.Head.Host.ID())
	return h, nil
}

const reconnectFor = 60 * time.Second // how long a browser's request waits for the host to come back

func (t *tunnel) serve(ctx context.Context, local net.Conn) {
	defer local.Close() // the browser sees the end
	stop := context.AfterFunc(ctx, func() { local.Close() })
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, reconnectFor)
	var remote net.Conn
	for pause := pollFirst; remote == nil; pause = min(2*pause, pollLast) {
		h, err := t.connected(ctx)
		if err == nil {
			remote, err = h.Dial(ctx, t.addr)
		}
		if err == nil {
			break
		}
		select {
		case <-ctx.Done():
			cancel()
			t.l.logf("dashboard: %v", err)
			return
		case <-time.After(pause):
		}
	}
	cancel()
	go func() {
		io.Copy(remote, local) //nolint:errcheck // a tunnel ends when either side does
		if c, ok := remote.(interface{ CloseWrite() error }); ok {
			c.CloseWrite() //nolint:errcheck // see above
		}
	}()
	io.Copy(local, remote) //nolint:errcheck // see above
	remote.Close()
}

func (t *tunnel) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.host.Close() // the work is done
}
