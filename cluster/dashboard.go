package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/raybuild/raybuild/internal/docker"
)

// Tunnel says how to reach a dashboard that OpenDashboard serves on this machine.
type Tunnel struct {
	URL   string // for programs, which send the token: http://127.0.0.1:8265
	Login string // for a browser: this page lets it in, and leads to the dashboard
	Token string // of the cluster; empty: its Ray has none
}

// Dashboard serves a cluster's dashboard as OpenDashboard does. It calls ready once, with the tunnel's URL and the
// cluster's token.
func Dashboard(ctx context.Context, spec *Spec, port int, ready func(url, token string), o Options) error {
	return OpenDashboard(ctx, spec, port, func(t Tunnel) { ready(t.URL, t.Token) }, o)
}

// OpenDashboard serves a cluster's dashboard on this machine's loopback, through the SSH connection, until ctx ends.
// Port 0 means the dashboard's own port, or a free port if that one is taken. OpenDashboard calls ready once. It lets
// in who has logged in by the tunnel's Login or sends the cluster's token, and no page of another site. If the
// connection is lost, it connects again and keeps the local port.
func OpenDashboard(ctx context.Context, spec *Spec, port int, ready func(Tunnel), o Options) error {
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
	//nolint:forcetypeassert // a TCP listener has such an address
	d := newDoor(ln.Addr().(*net.TCPAddr).Port, r.token, t)
	server := &http.Server{Handler: d, ReadHeaderTimeout: askLimit, ErrorLog: quiet(),
		BaseContext: func(net.Listener) context.Context { return ctx }}
	base := "http://" + ln.Addr().String()
	ready(Tunnel{URL: base, Login: base + d.loginPath(), Token: r.token})
	stop := context.AfterFunc(ctx, func() { server.Close() }) // ends Serve
	defer stop()
	if err := server.Serve(ln); ctx.Err() == nil {
		return fmt.Errorf("serve the dashboard: %w", err)
	}
	return nil
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

// tunnel makes connections to an address on a host, over a connection that is made anew when it is lost.
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

// dial connects to the address, and waits for the host if it is away.
func (t *tunnel) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, reconnectFor)
	defer cancel()
	for pause := pollFirst; ; pause = min(2*pause, pollLast) {
		h, err := t.connected(ctx)
		if err == nil {
			var c net.Conn
			if c, err = h.Dial(ctx, t.addr); err == nil {
				return c, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(pause):
		}
	}
}

func (t *tunnel) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.host.Close() // the work is done
}
