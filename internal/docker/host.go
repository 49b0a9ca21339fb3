package docker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/moby/moby/client"
)

const defaultSocket = "/var/run/docker.sock"

// Host is a connected host. Many goroutines may call its methods at the same time.
type Host struct {
	target Target
	link   *link // nil: this machine
	api    *client.Client
	stdio  *stdio // nil unless the host refuses streamlocal
	note   string
	sign   atomic.Pointer[Sign] // of the Engine's last answer

	quiet, limit time.Duration // of attend
}

// Dial connects to a host and agrees with its Engine on a version of the API. Its error names the step that failed.
func Dial(ctx context.Context, t Target, o Options) (*Host, error) {
	o = o.withDefaults()
	ctx, cancel := context.WithTimeoutCause(ctx, o.DialTimeout, tooSlowError(o.DialTimeout))
	defer cancel()
	if t.Local {
		return dialLocal(ctx, t, o)
	}
	return dialSSH(ctx, t, o)
}

// tooSlowError is the cause of a dial that took all its time, though no step of it did.
type tooSlowError time.Duration

func (e tooSlowError) Error() string { return fmt.Sprintf("not there within %s", time.Duration(e)) }

func dialSSH(ctx context.Context, t Target, o Options) (*Host, error) {
	cfg, err := readClientConfig(o.SSHConfig)
	if err != nil {
		return nil, err
	}
	hops, err := cfg.route(ctx, t)
	if err != nil {
		return nil, err
	}
	l, err := dialHops(ctx, hops, o)
	if err != nil {
		return nil, fmt.Errorf("reach host %s: %w", t, err)
	}
	h := &Host{target: t, link: l, quiet: o.KeepaliveEvery, limit: o.KeepaliveLimit}
	socket := t.Socket
	if socket == "" {
		socket = defaultSocket
	}
	err = h.probeSocket(ctx, socket, o)
	if err == nil {
		err = h.negotiate(ctx, o)
	}
	if err != nil {
		l.close(nil)
		return nil, fmt.Errorf("reach Docker Engine of %s: %w", t, err)
	}
	return h, nil
}

// probeSocket opens the Engine's socket once, and decides how it is reached.
func (h *Host) probeSocket(ctx context.Context, socket string, o Options) error {
	short, cancel := context.WithTimeout(ctx, o.EngineTimeout)
	defer cancel()
	conn, err := h.link.client.DialContext(short, "unix", socket)
	if err == nil {
		first := make(chan net.Conn, 1) // the probe serves the first call
		first <- conn
		return h.connect(func(ctx context.Context, _, _ string) (net.Conn, error) {
			select {
			case c := <-first:
				return &stream{Conn: c, link: h.link}, nil
			default:
			}
			c, err := h.link.client.DialContext(ctx, "unix", socket)
			if err != nil {
				return nil, h.explain(err)
			}
			return &stream{Conn: c, link: h.link}, nil
		}, 0)
	}
	if short.Err() != nil {
		return fmt.Errorf("open %s: sshd does not answer: %w", socket,
			errors.Join(h.explain(err), context.Cause(short)))
	}
	s := &stdio{link: h.link, socket: socket, slots: make(chan struct{}, maxStdio)}
	pc, serr := s.DialContext(short)
	if serr == nil {
		serr = pc.check(short)
		pc.Close() // it was a trial
	}
	if serr != nil {
		return fmt.Errorf("open %s through SSH: %w; and by `docker system dial-stdio`: %w", socket, err, serr)
	}
	h.stdio = s
	h.note = fmt.Sprintf("%s refuses to forward %s (%v); its Engine is reached by `docker system dial-stdio`, "+
		"which is slower", h.target, socket, err)
	return h.connect(func(ctx context.Context, _, _ string) (net.Conn, error) { return s.DialContext(ctx) }, maxStdio/2)
}

func dialLocal(ctx context.Context, t Target, o Options) (*Host, error) {
	engine := t.Engine
	if engine == "" {
		engine = os.Getenv(client.EnvOverrideHost)
	}
	if strings.HasPrefix(engine, "ssh://") {
		st, err := ParseTarget(engine)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", client.EnvOverrideHost, err)
		}
		return dialSSH(ctx, st, o)
	}
	h := &Host{target: t, quiet: o.KeepaliveEvery, limit: o.KeepaliveLimit}
	var err error
	switch scheme, path, _ := strings.Cut(engine, "://"); {
	case engine == "":
		path, err = localSocket()
		if err == nil {
			err = h.connect(unixDialer(path), 0)
		}
	case scheme == "unix":
		err = h.connect(unixDialer(path), 0)
	default:
		h.api, err = client.New(client.WithTLSClientConfigFromEnv(), client.WithHost(engine), h.noteSign())
	}
	if err == nil {
		err = h.negotiate(ctx, o)
	}
	if err != nil {
		return nil, fmt.Errorf("reach the Docker Engine of this machine: %w", err)
	}
	return h, nil
}

func unixDialer(path string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
}

// localSocket finds the Engine's socket: Docker's, rootless Docker's, Docker Desktop's, podman's.
func localSocket() (string, error) {
	run := os.Getenv("XDG_RUNTIME_DIR")
	try := []string{defaultSocket, inHome(".docker/run/docker.sock"), "/run/podman/podman.sock"}
	if run != "" {
		try = append(try, filepath.Join(run, "docker.sock"), filepath.Join(run, "podman/podman.sock"))
	}
	for _, s := range try {
		if _, err := os.Stat(s); err == nil {
			return s, nil
		}
	}
	return "", fmt.Errorf("no socket at %s; start Docker, or set %s", strings.Join(try, ", "), client.EnvOverrideHost)
}

// connect makes the API client over a dialer. idle 0: as many idle connections as calls made at once.
func (h *Host) connect(dial func(context.Context, string, string) (net.Conn, error), idle int) error {
	if idle == 0 {
		idle = 64
	}
	// No proxy: the address is a socket's. The unix host makes the client speak plain HTTP.
	// TLSNextProto keeps HTTP/2 and its TLS configuration out, with which the client would take the
	// socket for an https one.
	tr := &http.Transport{MaxIdleConns: idle, MaxIdleConnsPerHost: idle, IdleConnTimeout: 30 * time.Second,
		DisableCompression: true,
		TLSNextProto:       map[string]func(string, *tls.Conn) http.RoundTripper{}}
	api, err := client.New(client.WithHTTPClient(&http.Client{Transport: tr, CheckRedirect: client.CheckRedirect}),
		client.WithHost("unix://"+defaultSocket), client.WithDialContext(dial), h.noteSign())
	h.api = api
	return err
}

// negotiate asks the Engine for its API version, once. Without an answer there is no version to
// fall back to: guessing one hides the cause.
func (h *Host) negotiate(ctx context.Context, o Options) error {
	short, cancel := context.WithTimeout(ctx, o.EngineTimeout)
	defer cancel()
	ping, err := h.api.Ping(short, client.PingOptions{NegotiateAPIVersion: true})
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("ask the Engine for its version: %w", context.Cause(ctx))
	case err != nil && short.Err() != nil:
		return fmt.Errorf("no answer within %s: the Engine is frozen or starting; see it with: systemctl status docker",
			o.EngineTimeout)
	case err != nil:
		return h.explain(err)
	case ping.APIVersion == "":
		return errors.New("the program on its socket tells no API version: it is no Docker Engine, or a broken one")
	}
	return nil
}

// Target returns the target that Dial got.
func (h *Host) Target() Target { return h.target }

// Docker returns the client of the host's Engine. The client has the API version that Dial agreed on.
func (h *Host) Docker() *client.Client { return h.api }

// Note says what is unusual about the connection to the host. It is empty if nothing is.
func (h *Host) Note() string { return h.note }

// Dial opens a TCP connection from the host to addr, for tunnels.
func (h *Host) Dial(ctx context.Context, addr string) (net.Conn, error) {
	if h.link == nil {
		return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	}
	c, err := h.link.client.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect from %s to %s: %w", h.target, addr, h.explain(err))
	}
	return &stream{Conn: c, link: h.link}, nil
}

// Err says why the connection ended. It is nil as long as the connection is up, and always nil for this machine.
func (h *Host) Err() error {
	if h.link == nil {
		return nil
	}
	return h.link.err()
}

// Done returns a channel that is closed when the connection ends. For this machine it is nil.
func (h *Host) Done() <-chan struct{} {
	if h.link == nil {
		return nil
	}
	return h.link.done
}

// Close ends the connection and everything that runs over it.
func (h *Host) Close() error {
	err := h.api.Close()
	if h.link != nil {
		h.link.close(nil)
	}
	return err
}

// explain puts the cause of a lost connection in the place of the EOF that a call sees.
func (h *Host) explain(err error) error {
	if h.link == nil || err == nil {
		return err
	}
	if lost := h.link.err(); lost != nil {
		return lost
	}
	return err
}

// stream is a channel of the link. Its errors are the link's once that has ended.
type stream struct {
	net.Conn
	link *link
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	return n, s.why(err)
}

func (s *stream) Write(p []byte) (int, error) {
	n, err := s.Conn.Write(p)
	return n, s.why(err)
}

func (s *stream) why(err error) error {
	if err == nil {
		return nil
	}
	if lost := s.link.err(); lost != nil {
		return lost
	}
	return err
}

// CloseWrite ends our half of the stream.
func (s *stream) CloseWrite() error {
	if c, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close ends the stream.
func (s *stream) Close() error { return s.Conn.Close() }
