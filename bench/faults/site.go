package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/raybuild/raybuild/internal/faultyregistry"
	"github.com/raybuild/raybuild/internal/registry"
)

// site is an empty registry behind a fault.
type site struct {
	ctx   context.Context //nolint:containedctx // ends with the site: what a fault holds waits for it
	image *image
	meter faultyregistry.Meter
	limit *faultyregistry.Limit // of R4
	first atomic.Bool           // of R7: it is the first push

	host   string // the registry with the fault
	behind string // the same registry without
	close  func() error
}

// newSite starts a registry in dir and puts the fault before it.
func newSite(ctx context.Context, dir string, m *image, r row) (*site, error) {
	ctx, cancel := context.WithCancel(ctx)
	s := &site{ctx: ctx, image: m}
	s.first.Store(r.twice)
	behind, err := listen(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	before, err := listen(ctx)
	if err != nil {
		cancel()
		return nil, errors.Join(err, behind.Close())
	}
	s.behind, s.host = behind.Addr().String(), before.Addr().String()
	ended := make(chan error, 1)
	go func() { ended <- registry.Serve(ctx, behind, dir) }()
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: s.behind})
	proxy.ErrorLog = log.New(io.Discard, "", 0) // a client that gives up is no news here
	var handler http.Handler = proxy
	if r.spoil != nil {
		handler = r.spoil(s)(handler)
	}
	server := &http.Server{Handler: s.meter.Middleware()(handler), ReadHeaderTimeout: time.Minute,
		ErrorLog: proxy.ErrorLog}
	go func() { _ = server.Serve(before) }() // it ends by Close
	s.close = func() error {
		cancel()
		return errors.Join(server.Close(), <-ended)
	}
	return s, nil
}

func listen(ctx context.Context) (net.Listener, error) {
	return (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
}

// tag is the reference that is pushed, in the registry at host.
func tag(host string) string { return host + "/faults/image:1" }

// arrived says what is wrong with what the registry has under the tag; there says that it has anything.
func (s *site) arrived(ctx context.Context) (there bool, err error) {
	c := registry.New(registry.Options{})
	found, there, err := c.Head(ctx, tag(s.behind))
	switch {
	case err != nil || !there:
		return there, err
	case found.Digest != s.image.root.Digest:
		return true, fmt.Errorf("the tag is %s, not %s", found.Digest, s.image.root.Digest)
	}
	return true, c.Validate(ctx, tag(s.behind))
}
