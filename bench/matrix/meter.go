package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// meter is a server behind a proxy that counts bytes: those that builders send to it, and those that they get from it.
type meter struct {
	host     string
	sent     atomic.Int64 // of bodies of requests
	received atomic.Int64 // of bodies of answers
}

// newMeter starts a proxy in front of the server at address, which it stops with ctx.
func newMeter(ctx context.Context, address string) (*meter, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	m := &meter{host: ln.Addr().String()}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: address})
	proxy.Transport = &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	proxy.ModifyResponse = func(r *http.Response) error {
		r.Body = &counted{ReadCloser: r.Body, n: &m.received}
		return nil
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Body != nil && r.Body != http.NoBody {
				r.Body = &counted{ReadCloser: r.Body, n: &m.sent}
			}
			proxy.ServeHTTP(w, r)
		})}
	go func() { _ = server.Serve(ln) }() // it ends by Close
	context.AfterFunc(ctx, func() { _ = server.Close() })
	return m, nil
}

// counted counts what is read.
type counted struct {
	io.ReadCloser
	n *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}

func (m *meter) reset() {
	m.sent.Store(0)
	m.received.Store(0)
}

func withoutScheme(address string) string { return strings.TrimPrefix(address, "http://") }
