package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// proxyGrace is how long a ProxyCommand may go on after its connection was closed.
const proxyGrace = 2 * time.Second

// dialProxy connects to a hop by the command that the user's own SSH configuration names (ProxyCommand). As with
// ssh(1), a shell runs it, and its standard input and output are the connection.
func dialProxy(ctx context.Context, h hop) (net.Conn, error) {
	host, port, err := net.SplitHostPort(h.addr)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", h.addr, err)
	}
	line := strings.NewReplacer("%%", "%", "%h", host, "%p", port, "%r", h.user, "%n", h.original).Replace(h.proxy)
	// The connection outlives the call, so the context must not end the command.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "/bin/sh", "-c", "exec "+line)
	c := &proxyConn{cmd: cmd, addr: h.addr, ended: make(chan struct{})}
	cmd.Stderr = &c.said
	fail := func(err error) (net.Conn, error) {
		return nil, fmt.Errorf("connect to %s by the ProxyCommand %q: %w", h.addr, line, err)
	}
	// os.Pipe, unlike StdinPipe, has deadlines.
	in, toProxy, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	fromProxy, out, err := os.Pipe()
	if err != nil {
		return fail(errors.Join(err, in.Close(), toProxy.Close()))
	}
	cmd.Stdin, cmd.Stdout, c.in, c.out = in, out, toProxy, fromProxy
	err = cmd.Start()
	err = errors.Join(err, in.Close(), out.Close())
	if err != nil {
		return fail(errors.Join(err, toProxy.Close(), fromProxy.Close()))
	}
	go func() {
		_ = cmd.Wait() // what it says counts, not its exit code
		close(c.ended)
	}()
	return c, nil
}

// proxyConn is a running ProxyCommand as a connection.
type proxyConn struct {
	cmd     *exec.Cmd
	in, out *os.File
	addr    string
	said    proxySaid
	ended   chan struct{} // closed when it has ended, and all of said is there
	once    sync.Once
	err     error
}

// proxySaid keeps the end of what a command wrote to its standard error.
type proxySaid struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (s *proxySaid) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buf.Len() > 4<<10 {
		s.buf.Reset()
	}
	return s.buf.Write(p)
}

func (s *proxySaid) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := strings.TrimSpace(s.buf.String())
	return all[strings.LastIndexByte(all, '\n')+1:]
}

// Read implements net.Conn. When the command ends, the error has what it said last.
func (c *proxyConn) Read(p []byte) (int, error) {
	n, err := c.out.Read(p)
	if errors.Is(err, io.EOF) {
		select {
		case <-c.ended:
		case <-time.After(proxyGrace):
		}
		if said := c.said.String(); said != "" {
			err = fmt.Errorf("the ProxyCommand ended: %s", said)
		}
	}
	return n, err
}

// Write implements net.Conn.
func (c *proxyConn) Write(p []byte) (int, error) { return c.in.Write(p) }

// Close implements net.Conn. It ends the command.
func (c *proxyConn) Close() error {
	c.once.Do(func() {
		c.err = errors.Join(c.in.Close(), c.out.Close())
		go func() {
			select {
			case <-c.ended:
			case <-time.After(proxyGrace):
				_ = c.cmd.Process.Kill() // it may have ended meanwhile
			}
		}()
	})
	return c.err
}

// LocalAddr implements net.Conn.
func (c *proxyConn) LocalAddr() net.Addr { return proxyAddr("local") }

// RemoteAddr implements net.Conn.
func (c *proxyConn) RemoteAddr() net.Addr { return proxyAddr(c.addr) }

// SetDeadline implements net.Conn.
func (c *proxyConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline implements net.Conn.
func (c *proxyConn) SetReadDeadline(t time.Time) error { return c.out.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (c *proxyConn) SetWriteDeadline(t time.Time) error { return c.in.SetWriteDeadline(t) }

// proxyAddr is an address as the user wrote it.
type proxyAddr string

// Network implements net.Addr.
func (proxyAddr) Network() string { return "proxy" }

// String implements net.Addr.
func (a proxyAddr) String() string { return string(a) }
