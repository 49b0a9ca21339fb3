package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"crypto/tls"
	"crypto/x509"

	"golang.org/x/net/http/httpproxy"
)

const (
	maxRedirects = 10
	userAgent    = "raybuild"
	// stallBytes is the least that must come within the stall timeout: one byte now and then is a stall as well.
	stallBytes = 1024
)

// newClient returns a client that is strict about redirects and addresses, leaves encodings alone and has time limits.
func newClient(o Options, reach *reach) *http.Client {
	return &http.Client{
		CheckRedirect: func(req *http.Request, via []*http.Request) error { return checkRedirect(reach, req, via) },
		Transport:     lateTransport{sync.OnceValue(func() *http.Transport { return newTransport(o, reach) })},
	}
}

// lateTransport makes its transport when it is used. To read all certificates takes as long as a small edit.
type lateTransport struct{ made func() *http.Transport }

func (t lateTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	return t.made().RoundTrip(r)
}

// CloseIdleConnections is what [http.Client.CloseIdleConnections] calls.
func (t lateTransport) CloseIdleConnections() { t.made().CloseIdleConnections() }

func newTransport(o Options, reach *reach) *http.Transport {
	proxy := httpproxy.FromEnvironment().ProxyFunc()
	var trust *tls.Config
	if pool := certPool(o); pool != nil {
		trust = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &http.Transport{
		Proxy: func(r *http.Request) (*url.URL, error) {
			by, err := proxy(r.URL)
			if by != nil {
				reach.proxy(by)
			}
			return by, err
		},
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, to *http.Request, resp *http.Response) error {
			if resp.StatusCode == http.StatusProxyAuthRequired {
				return proxyLogin(&url.URL{Scheme: "https", Host: to.URL.Host})
			}
			return nil
		},
		DialContext:           reach.dial(net.Dialer{Timeout: o.DialTimeout, KeepAlive: 15 * time.Second}),
		TLSClientConfig:       trust,
		TLSHandshakeTimeout:   o.DialTimeout,
		ResponseHeaderTimeout: o.HeaderTimeout,
		IdleConnTimeout:       time.Minute,
		MaxIdleConnsPerHost:   o.PerHost,
		DisableCompression:    true,
		ForceAttemptHTTP2:     true,
		HTTP2:                 &http.HTTP2Config{SendPingTimeout: o.StallTimeout, PingTimeout: o.DialTimeout},
	}
}

// checkRedirect refuses redirects that lower the security, and sends no credentials to another host.
func checkRedirect(reach *reach, req *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return fmt.Errorf("stopped after %d redirects", maxRedirects)
	}
	first, last := via[0].URL, via[len(via)-1].URL
	if last.Scheme == "https" && req.URL.Scheme != "https" {
		return fmt.Errorf("redirect from https to %s on host %s refused", req.URL.Scheme, req.URL.Host)
	}
	if !reach.lead(last, req.URL) {
		return fmt.Errorf("redirect to the internal address %s refused", req.URL.Host)
	}
	if !sameOrigin(first, req.URL) {
		req.Header.Del("Authorization")
		req.Header.Del("Cookie")
	}
	req.Header.Del("Referer") // its path may have a token
	return nil
}

// sameOrigin tells whether credentials for a may be sent to b: the same host and port, or its https side.
func sameOrigin(a, b *url.URL) bool {
	if !strings.EqualFold(a.Hostname(), b.Hostname()) {
		return false
	}
	if a.Scheme == b.Scheme {
		return port(a) == port(b)
	}
	return a.Scheme == "http" && b.Scheme == "https" && port(a) == "80" && port(b) == "443"
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}

// request is one HTTP request to a mirror.
type request struct {
	method string
	mirror string
	url    *url.URL // may have userinfo
	header http.Header
	rank   int // of the artifact, see Item
}

// do sends a request within the limits on connections. A status of 400 or more is an error. The body counts, notices
// a stall, and gives the connection's place back when it is closed.
func (f *Fetcher) do(ctx context.Context, r request) (*http.Response, error) {
	h := f.hosts.get(r.url)
	if err := f.hosts.acquire(ctx, h, r.rank); err != nil {
		return nil, err
	}
	if r.header.Get("Range") != "" {
		f.counts.resume(r.mirror)
	}
	cctx, cancel := context.WithCancelCause(ctx)
	end := func() { cancel(nil); f.hosts.release(h, r.rank) }
	resp, err := f.send(cctx, r)
	switch {
	case err != nil:
	case resp.StatusCode == http.StatusProxyAuthRequired:
		err = proxyLogin(r.url)
		shut(resp.Body)
	case resp.StatusCode >= 400:
		user, _, _ := resp.Request.BasicAuth()
		err = &statusError{code: resp.StatusCode, retryAfter: retryAfter(resp.Header, time.Now()), login: user}
		shut(resp.Body)
	}
	if err != nil {
		end()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		h.failed(err)
		return nil, err
	}
	b := &body{rc: resp.Body, cancel: cancel, end: end, limit: f.o.StallTimeout, left: f.o.StallTimeout}
	b.why = func(err error) error { return plain(cctx, err) }
	b.count = func(n int) { f.counts.bytes(r.mirror, n) }
	b.report = func(err error) {
		if err == nil {
			h.worked()
		} else if ctx.Err() == nil {
			h.failed(err)
		}
	}
	resp.Body = b
	return resp, nil
}

func (f *Fetcher) send(ctx context.Context, r request) (*http.Response, error) {
	u := *r.url
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), nil)
	if err != nil {
		return nil, &failure{err: plain(ctx, err)}
	}
	for k, v := range r.header {
		req.Header[k] = v
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", userAgent)
	}
	if err := f.reach.begin(&u); err != nil {
		return nil, &failure{err: err}
	}
	if user, pass, ok := f.logins.find(ctx, r.url); ok && f.reach.mayLogin(r.url) {
		req.SetBasicAuth(user, pass)
	}
	resp, err := f.client.Do(req)
	if err != nil {
		err = explain(&u, plain(ctx, err))
		return nil, &failure{err: redacted{err}, passing: mayPass(err)}
	}
	return resp, nil
}

// mayPass tells whether a transport error can be another one next time: not when the server cannot be trusted, does
// not exist, or redirects where we do not follow.
func mayPass(err error) bool {
	if ne, ok := errors.AsType[*net.DNSError](err); ok {
		return !ne.IsNotFound
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return false
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return false
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return false
	}
	if _, ok := errors.AsType[*ProxyLoginError](err); ok {
		return false
	}
	if _, ok := errors.AsType[*internalError](err); ok {
		return false
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errStall) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, net.ErrClosed) ||
		strings.Contains(err.Error(), "server closed idle connection") || strings.HasPrefix(err.Error(), "http2:")
}

// retryAfter reads the header in seconds or as a date; 0 when there is none.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.Atoi(v); err == nil && n > 0 {
		return time.Duration(min(n, 1<<20)) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil && t.After(now) {
		return t.Sub(now)
	}
	return 0
}

// body is a response's body with a limit on the time without progress. Only waiting for the server counts: a slow
// reader is not a stall.
type body struct {
	rc     io.ReadCloser
	why    func(err error) error // what an error of rc comes from
	cancel context.CancelCauseFunc
	end    func()
	count  func(n int)
	report func(err error) // told once how it ended
	limit  time.Duration
	left   time.Duration // until it is a stall
	since  int           // bytes since left was full
	ended  bool
	closed bool
}

func (b *body) Read(p []byte) (int, error) {
	start := time.Now()
	t := time.AfterFunc(b.left, func() { b.cancel(errStall) })
	n, err := b.rc.Read(p)
	t.Stop()
	b.left = max(b.left-time.Since(start), time.Millisecond)
	b.count(n)
	if b.since += n; b.since >= stallBytes {
		b.left, b.since = b.limit, 0
	}
	if err == nil {
		return n, nil
	}
	if !b.ended {
		b.ended = true
		if errors.Is(err, io.EOF) {
			b.report(nil)
		} else {
			b.report(b.why(err))
		}
	}
	if !errors.Is(err, io.EOF) {
		err = &failure{err: redacted{b.why(err)}, passing: true}
	}
	return n, err
}

// Close ends the request if it is under way, and gives its place to the next one.
func (b *body) Close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	b.cancel(nil)
	err := b.rc.Close()
	b.end()
	return err
}
