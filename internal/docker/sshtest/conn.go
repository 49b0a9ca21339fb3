package sshtest

import (
	"errors"
	"io"
	"net"

	"golang.org/x/crypto/ssh"
)

// piped is an SSH channel as a connection with deadlines, which an HTTP server needs.
func piped(ch ssh.Channel) net.Conn {
	ours, theirs := net.Pipe()
	go func() {
		io.Copy(ours, ch) //nolint:errcheck // a channel ends when either side does
		ours.Close()      // a pipe's close cannot fail
	}()
	go func() {
		io.Copy(ch, ours) //nolint:errcheck // a channel ends when either side does
		ch.Close()        // a channel ends when either side does
	}()
	return theirs
}

// Listener hands connections that arrive otherwise to an HTTP server.
type Listener struct {
	conns chan net.Conn
	done  chan struct{}
}

// NewListener returns a listener; Give feeds it.
func NewListener() *Listener {
	return &Listener{conns: make(chan net.Conn), done: make(chan struct{})}
}

// Give hands over a connection and returns once it is closed by the server, or when the listener is closed.
func (l *Listener) Give(c net.Conn) {
	select {
	case l.conns <- c:
	case <-l.done:
		c.Close() // nobody serves it
	}
}

// Accept waits for a connection.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends the listener.
func (l *Listener) Close() error {
	select {
	case <-l.done:
		return errors.New("closed twice")
	default:
		close(l.done)
		return nil
	}
}

// Addr is a placeholder.
func (l *Listener) Addr() net.Addr { return &net.UnixAddr{Net: "unix"} }
