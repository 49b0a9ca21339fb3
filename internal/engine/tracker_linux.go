package engine

import (
	"net"
	"sync"
	"time"
)

// tracker is a listener that knows how many of its connections are open, and
// for how long there has been none. Every solve and every session of a client
// runs over its connection, so an engine without one has nothing to do.
type tracker struct {
	net.Listener
	sync   *syncer // counts clients as well
	mu     sync.Mutex
	open   int
	since  time.Time     // since when open has been 0
	closed bool          // no further connection is taken
	empty  chan struct{} // gets a value when open becomes 0
}

func newTracker(l net.Listener, s *syncer) *tracker {
	return &tracker{Listener: l, sync: s, since: time.Now(), empty: make(chan struct{}, 1)}
}

// Accept gives the next connection. One that comes when the engine has decided
// to end is closed unread: its client then starts another engine.
func (t *tracker) Accept() (net.Conn, error) {
	for {
		c, err := t.Listener.Accept()
		if err != nil {
			return nil, err
		}
		t.mu.Lock()
		if !t.closed {
			t.open++
			t.mu.Unlock()
			t.sync.enter()
			return &trackedConn{Conn: c, t: t}, nil
		}
		t.mu.Unlock()
		c.Close()
	}
}

// closeIdle decides to end if nobody has been connected for d; otherwise it
// gives the time after which it is worth asking again.
func (t *tracker) closeIdle(d time.Duration) (bool, time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open > 0 {
		return false, d
	}
	if left := d - time.Since(t.since); left > 0 {
		return false, left
	}
	t.closed = true
	return true, 0
}

// idle is closed when nobody has been connected for d.
func (t *tracker) idle(d time.Duration) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		for {
			ok, wait := t.closeIdle(d)
			if ok {
				close(done)
				return
			}
			time.Sleep(wait)
		}
	}()
	return done
}

// closeWithin decides to end if within d there is a moment without connections.
func (t *tracker) closeWithin(d time.Duration) bool {
	deadline := time.After(d)
	for {
		if ok, _ := t.closeIdle(0); ok {
			return true
		}
		select {
		case <-t.empty:
		case <-deadline:
			return false
		}
	}
}

type trackedConn struct {
	net.Conn
	t    *tracker
	once sync.Once
}

// Close closes the connection and counts it off, once.
func (c *trackedConn) Close() error {
	c.once.Do(func() {
		c.t.sync.leave()
		c.t.mu.Lock()
		defer c.t.mu.Unlock()
		c.t.open--
		if c.t.open == 0 {
			c.t.since = time.Now()
			select {
			case c.t.empty <- struct{}{}:
			default:
			}
		}
	})
	return c.Conn.Close()
}
