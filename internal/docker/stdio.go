package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// maxStdio bounds the sessions that carry the API; sshd's MaxSessions is 10 by default, and
// maxCommands are left for commands.
const maxStdio = 6

// stdio reaches the Engine by `docker system dial-stdio` in SSH sessions, for a host that refuses
// to forward its socket.
type stdio struct {
	link   *link
	socket string
	slots  chan struct{}
}

// DialContext opens a session, waiting for one to end when there are too many.
func (s *stdio) DialContext(ctx context.Context) (*stdioConn, error) {
	argv := []string{"docker", "system", "dial-stdio"}
	if s.socket != defaultSocket {
		argv = []string{"docker", "--host", "unix://" + s.socket, "system", "dial-stdio"}
	}
	line, err := commandLine(argv)
	if err != nil {
		return nil, err
	}
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	c, err := s.start(ctx, line)
	if err != nil {
		<-s.slots
		return nil, err
	}
	return c, nil
}

func (s *stdio) start(ctx context.Context, line string) (*stdioConn, error) {
	session, on, err := s.link.session(ctx)
	if err != nil {
		return nil, fmt.Errorf("open SSH session: %w", err)
	}
	in, err := session.StdinPipe()
	if err != nil {
		return nil, errors.Join(err, session.Close())
	}
	out, err := session.StdoutPipe()
	if err != nil {
		return nil, errors.Join(err, session.Close())
	}
	c := &stdioConn{session: session, in: in, out: out, free: s.slots, link: on, ended: make(chan struct{})}
	session.Stderr = &c.said
	if err := session.Start(line); err != nil {
		return nil, errors.Join(fmt.Errorf("run %q: %w", line, err), session.Close())
	}
	go func() {
		session.Wait() //nolint:errcheck // what it says counts, not its exit code
		close(c.ended)
	}()
	return c, nil
}

// stdioConn is one `docker system dial-stdio` as a connection.
type stdioConn struct {
	session *ssh.Session
	in      io.WriteCloser
	out     io.Reader
	said    tail
	ended   chan struct{} // closed when the command has ended and said everything
	free    chan struct{}
	link    *link
	once    sync.Once
}

// check sends a ping through the connection and reads the first bytes of the answer, to learn what
// the command says when it fails.
func (c *stdioConn) check(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { c.Close() }) // ends the read
	defer stop()
	if _, err := io.WriteString(c, "HEAD /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n"); err != nil {
		return c.why(err)
	}
	_, err := io.ReadFull(c, make([]byte, len("HTTP/1.1")))
	if errors.Is(err, io.EOF) {
		return c.why(err)
	}
	return err
}

func (c *stdioConn) why(err error) error {
	if err == nil {
		return nil
	}
	select {
	case <-c.ended:
	case <-c.link.done:
	case <-time.After(time.Second): // it closed its output and lives on
	}
	if lost := c.link.err(); lost != nil {
		return lost
	}
	if said := c.said.String(); said != "" {
		return fmt.Errorf("%s (%w)", said, err)
	}
	return err
}

func (c *stdioConn) Read(p []byte) (int, error) {
	n, err := c.out.Read(p)
	if why := c.why(err); !errors.Is(why, io.EOF) || c.said.String() != "" {
		return n, why
	}
	return n, err
}

func (c *stdioConn) Write(p []byte) (int, error) {
	n, err := c.in.Write(p)
	return n, c.why(err)
}

// CloseWrite ends the command's input.
func (c *stdioConn) CloseWrite() error { return c.in.Close() }

// Close ends the session and frees its slot.
func (c *stdioConn) Close() error {
	var err error
	c.once.Do(func() {
		err = c.session.Close()
		<-c.free
	})
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (c *stdioConn) LocalAddr() net.Addr              { return stdioAddr{} }
func (c *stdioConn) RemoteAddr() net.Addr             { return stdioAddr{} }
func (c *stdioConn) SetDeadline(time.Time) error      { return errors.ErrUnsupported }
func (c *stdioConn) SetReadDeadline(time.Time) error  { return errors.ErrUnsupported }
func (c *stdioConn) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }

type stdioAddr struct{}

func (stdioAddr) Network() string { return "stdio" }
func (stdioAddr) String() string  { return "docker system dial-stdio" }

// tail keeps the end of what a command says.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(p)
	if over := t.buf.Len() - 4096; over > 0 {
		t.buf.Next(over)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(t.buf.String())
}
