package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// dialer is net.Dialer, or the SSH connection to a jump host.
type dialer interface {
	DialContext(ctx context.Context, network, addr string) (net.Conn, error)
}

// link is an authenticated SSH connection with everything below it.
type link struct {
	client *ssh.Client
	wire   *wire   // below client
	below  []*link // jump hosts, nearest first
	done   chan struct{}
	once   sync.Once
	cause  error // why it ended; set before done is closed, nil when it was closed by us

	commands chan struct{} // a slot for each command that runs

	again  func(context.Context) (*link, error) // another connection to the same host
	dialMu sync.Mutex                           // one at a time, for sshd's MaxStartups
	moreMu sync.Mutex
	more   []*link // connections for sessions that sshd does not grant on this one
}

// dialHops connects through each hop to the last one.
func dialHops(ctx context.Context, hops []hop, o Options) (*link, error) {
	var d dialer = &net.Dialer{}
	var below []*link
	for i, h := range hops {
		var conn net.Conn
		var l *link
		db, err := o.hostKeysOf(h)
		if err == nil {
			conn, err = dialPhase(ctx, d, h, o.ConnectTimeout)
		}
		if err == nil {
			l, err = open(ctx, conn, h, o, &ssh.ClientConfig{User: h.user,
				HostKeyCallback: checkHostKey(db, h), HostKeyAlgorithms: db.HostKeyAlgorithms(h.keyAddr())})
		}
		if err != nil {
			for _, b := range below {
				b.close(nil)
			}
			if i < len(hops)-1 {
				return nil, fmt.Errorf("jump host %s: %w", h.name, err)
			}
			return nil, err
		}
		below, d = append(below, l), l.client
	}
	last := below[len(below)-1]
	last.below = below[:len(below)-1]
	last.again = func(ctx context.Context) (*link, error) { return dialHops(ctx, hops, o) }
	go last.watch()
	go last.keepalive(o.KeepaliveEvery, o.KeepaliveLimit)
	return last, nil
}

// dialPhase opens the connection to a hop: by TCP, or by the command that the configuration names.
func dialPhase(ctx context.Context, d dialer, h hop, limit time.Duration) (net.Conn, error) {
	if _, first := d.(*net.Dialer); first && h.proxy != "" {
		return dialProxy(ctx, h)
	}
	short, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := d.DialContext(short, "tcp", h.addr)
	if err == nil {
		return conn, nil
	}
	if ctx.Err() == nil && short.Err() != nil {
		err = fmt.Errorf("no answer within %s; is the host on, and the address right? (%w)", limit, err)
	}
	return nil, fmt.Errorf("connect to %s: %w", h.addr, err)
}

func open(ctx context.Context, conn net.Conn, h hop, o Options, cfg *ssh.ClientConfig) (*link, error) {
	keys := newKeyring(h, o)
	defer keys.close()
	cfg.Auth = []ssh.AuthMethod{ssh.PublicKeys(keys.signers...)}
	w := &wire{Conn: conn}
	client, err := handshake(ctx, w, h, cfg, o.HandshakeTimeout)
	var phase *phaseError
	if errors.As(err, &phase) && phase.phase == "authentication" && !phase.timeout {
		err = keys.refused(h, phase.err)
	}
	if err != nil {
		return nil, err
	}
	return &link{client: client, wire: w, done: make(chan struct{}), commands: make(chan struct{}, maxCommands)}, nil
}

// phaseError says at which phase of the SSH handshake a host failed.
type phaseError struct {
	addr, phase string
	timeout     bool
	err         error
}

func (e *phaseError) Error() string { return fmt.Sprintf("SSH %s with %s: %v", e.phase, e.addr, e.err) }
func (e *phaseError) Unwrap() error { return e.err }

// handshake runs the SSH handshake on conn, which it closes when that fails. ssh.NewClientConn
// itself knows no time limit.
func handshake(ctx context.Context, conn net.Conn, h hop, cfg *ssh.ClientConfig,
	limit time.Duration) (*ssh.Client, error) {
	var phase atomic.Value
	phase.Store("banner")
	w := &firstRead{Conn: conn, then: func() { phase.CompareAndSwap("banner", "key exchange") }}
	mine := *cfg
	mine.HostKeyCallback = func(addr string, remote net.Addr, key ssh.PublicKey) error {
		err := cfg.HostKeyCallback(addr, remote, key)
		if err == nil {
			phase.Store("authentication")
		}
		return err
	}
	short, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	stop := context.AfterFunc(short, func() { conn.Close() }) // ends the handshake
	c, chans, reqs, err := ssh.NewClientConn(w, h.addr, &mine)
	if !stop() && err == nil {
		err = short.Err()
		c.Close() // it came too late
	}
	if err == nil {
		return ssh.NewClient(c, chans, reqs), nil
	}
	conn.Close() // the handshake's error counts
	var key *HostKeyError
	if errors.As(err, &key) {
		return nil, key
	}
	pe := &phaseError{addr: h.addr, phase: phase.Load().(string), err: err}
	switch {
	case ctx.Err() != nil:
		pe.timeout, pe.err = true, context.Cause(ctx)
	case short.Err() != nil:
		pe.timeout, pe.err = true, fmt.Errorf("no answer within %s: the host accepts connections, but its sshd hangs",
			limit)
	}
	return nil, pe
}

type firstRead struct {
	net.Conn
	once sync.Once
	then func()
}

func (f *firstRead) Read(p []byte) (int, error) {
	n, err := f.Conn.Read(p)
	if n > 0 {
		f.once.Do(f.then)
	}
	return n, err
}

// wire counts what arrives, so that a busy connection is not taken for a silent one.
type wire struct {
	net.Conn
	received atomic.Int64
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	w.received.Add(int64(n))
	return n, err
}

// watch ends the link when the transport ends.
func (l *link) watch() {
	err := l.client.Wait()
	l.close(fmt.Errorf("SSH connection lost: %w", err))
}

// keepalive ends the link when nothing arrives: after a silence of quiet it asks the host for a
// sign of life, and waits for limit more. x/crypto/ssh has no keepalive of its own. Time is counted
// in ticks, which a process that was stopped does not get.
func (l *link) keepalive(quiet, limit time.Duration) {
	step := max(quiet/10, time.Millisecond)
	tick := time.NewTicker(step)
	defer tick.Stop()
	var asking atomic.Bool
	var silent time.Duration
	for before := l.wire.received.Load(); ; {
		select {
		case <-l.done:
			return
		case <-tick.C:
		}
		if now := l.wire.received.Load(); now != before {
			before, silent = now, 0
			continue
		}
		silent += step
		if silent >= quiet && asking.CompareAndSwap(false, true) {
			go func() {
				//nolint:errcheck // any answer is a sign of life; an error ends the link through watch
				l.client.SendRequest("keepalive@openssh.com", true, nil)
				asking.Store(false)
			}()
		}
		if silent >= quiet+limit {
			l.close(fmt.Errorf("SSH connection lost: no sign of life for %s; the host is off, frozen or cut "+
				"off from here", silent))
			return
		}
	}
}

// close ends the link with a cause; the first cause stays.
func (l *link) close(cause error) {
	l.once.Do(func() {
		l.cause = cause
		close(l.done)
		l.wire.Close() // first the socket: a polite end would wait for a dead host
		l.client.Close()
		l.closeMore()
		for i := len(l.below) - 1; i >= 0; i-- {
			l.below[i].close(nil)
		}
	})
}

// err is why the link ended, nil while it is up.
func (l *link) err() error {
	select {
	case <-l.done:
		if l.cause == nil {
			return net.ErrClosed
		}
		return l.cause
	default:
		return nil
	}
}
