package registry

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"
)

// guarded sends plain HTTP requests to insecure hosts only, and checks the certificates of all other hosts.
type guarded struct {
	secure, unverified http.RoundTripper
	insecure           func(host string) bool
}

// RoundTrip implements http.RoundTripper.
func (g guarded) RoundTrip(req *http.Request) (*http.Response, error) {
	if g.insecure(req.URL.Host) {
		return g.unverified.RoundTrip(req)
	}
	if req.URL.Scheme != "https" {
		return nil, &plainHTTPError{Host: req.URL.Host}
	}
	return g.secure.RoundTrip(req)
}

// plainHTTPError says that plain HTTP to a secure host was refused.
type plainHTTPError struct{ Host string }

func (e *plainHTTPError) Error() string {
	return fmt.Sprintf("plain HTTP to %s is refused: name the host with --insecure-registry %s if that is meant",
		e.Host, e.Host)
}

// guard wraps base, or the default transport if base is nil.
func (c *Client) guard(base http.RoundTripper) http.RoundTripper {
	g := guarded{secure: base, unverified: base, insecure: c.insecure}
	if base == nil {
		g.secure = c.trusting(c.o.Timeout)
		g.unverified = newTransport(c.o.Timeout, c.o.Timeout, anyCertificate())
	}
	return g
}

// patient is the transport for pushes. It has no limit on silence: each request of a push has its own
// watch, with the limits of the push.
func (c *Client) patient() http.RoundTripper {
	if c.o.Transport != nil {
		return c.transport
	}
	c.pushOnce.Do(func() {
		g := guarded{secure: c.trusting(0), unverified: newTransport(c.o.Timeout, 0, anyCertificate()),
			insecure: c.insecure}
		c.push = cachingTransport{g, c.responses}
	})
	return c.push
}

// anyCertificate is for loopback and hosts that the user named.
func anyCertificate() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true} //nolint:gosec // see above
}

// newTransport is Go's default transport with a limit on the time to connect, and one on silence (0: none).
func newTransport(timeout, silence time.Duration, certificates *tls.Config) *http.Transport {
	dialer := &net.Dialer{Timeout: timeout, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, addr)
			if err != nil || silence == 0 {
				return conn, err
			}
			return &quietConn{Conn: conn, limit: silence}, nil
		},
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          2 * jobs,
		MaxIdleConnsPerHost:   2 * jobs,
		IdleConnTimeout:       timeout,
		TLSHandshakeTimeout:   timeout,
		ResponseHeaderTimeout: 2 * silence,
		ExpectContinueTimeout: time.Second,
		TLSClientConfig:       certificates,
	}
}

// quietConn ends a connection if no byte moves in either direction for twice limit.
type quietConn struct {
	net.Conn
	limit time.Duration
}

// Read implements net.Conn.
func (c *quietConn) Read(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(2 * c.limit)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// Write implements net.Conn. It moves the deadline of a pending Read too: an upload has one open all the time.
func (c *quietConn) Write(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(2 * c.limit)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
