package fetch

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/opencontainers/go-digest"
)

// Make writes the bytes of an artifact that is at no URL. The same artifact has the same bytes each time.
type Make func(ctx context.Context, to io.Writer) error

// Keep makes an artifact and puts it into the store, under the digest that it turns out to have.
func (f *Fetcher) Keep(ctx context.Context, made Make) (d digest.Digest, size int64, err error) {
	t, err := f.store.temp()
	if err != nil {
		return "", 0, err
	}
	if err := made(ctx, t); err != nil {
		t.discard()
		return "", 0, err
	}
	d, size = t.digest(), t.n
	if err := f.store.keep(t, d); err != nil {
		t.discard()
		return "", 0, err
	}
	return d, size, nil
}

// bringMade puts an item with Make into the store.
func (f *Fetcher) bringMade(ctx context.Context, it Item) error {
	t, err := f.store.temp()
	if err != nil {
		return err
	}
	if err = it.Make(ctx, t); err == nil && t.digest() != it.Digest {
		err = fmt.Errorf("%w: it is %s, the lock says %s", errWrong, t.digest(), it.Digest)
	}
	if err == nil {
		err = f.store.keep(t, it.Digest)
	}
	if err != nil {
		t.discard()
		return fmt.Errorf("make artifact %q: %w", it.Name, err)
	}
	return nil
}

// Client sends requests of other protocols than downloads, such as git's, to sources: with the proxy, the certificates,
// the logins and the limits of all other requests. It is for this process alone: nothing in the sandbox reaches it.
func (f *Fetcher) Client() *http.Client {
	return &http.Client{CheckRedirect: f.client.CheckRedirect, Transport: siteTransport{f}}
}

// patience is how many times longer than for a download a stall may be: a git server counts objects before it sends
// them.
const patience = 10

// siteTransport is the transport of Client.
type siteTransport struct{ f *Fetcher }

// RoundTrip implements http.RoundTripper.
func (t siteTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	f := t.f
	ctx, cancel := context.WithCancelCause(r.Context())
	r = r.Clone(ctx)
	if err := f.reach.begin(r.URL); err != nil {
		cancel(nil)
		return nil, err
	}
	if user, pass, ok := f.logins.find(ctx, r.URL); ok && f.reach.mayLogin(r.URL) {
		r.SetBasicAuth(user, pass)
	}
	resp, err := f.client.Transport.RoundTrip(r)
	if err != nil {
		err = redacted{explain(r.URL, plain(ctx, err))}
		cancel(nil)
		return nil, err
	}
	if resp.StatusCode == http.StatusProxyAuthRequired {
		shut(resp.Body)
		cancel(nil)
		return nil, proxyLogin(r.URL)
	}
	resp.Body = &body{rc: resp.Body, cancel: cancel, end: func() {}, report: func(error) {},
		limit: patience * f.o.StallTimeout, left: patience * f.o.StallTimeout,
		why:   func(err error) error { return plain(ctx, err) },
		count: func(n int) { f.counts.bytes(r.URL.Host, n) }}
	return resp, nil
}
