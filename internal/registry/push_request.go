package registry

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// target is a repository that is pushed to.
type target struct {
	p      *pusher
	repo   name.Repository
	ref    string // the first of its names
	tags   []string
	mounts []name.Repository // on the same registry, which may have blobs

	mu     sync.Mutex
	client *http.Client // with credentials; nil: to be made
	closed time.Time    // until then the registry wants to be asked nothing
}

func (t *target) url(rest string) string {
	return t.repo.Scheme() + "://" + t.repo.RegistryStr() + "/v2/" + t.repo.RepositoryStr() + rest
}

// request is one request of a push.
type request struct {
	method, url string
	header      http.Header
	body        *body // nil: none
	want        []int // statuses
	unread      bool  // the answer's body may be long and is not wanted
}

// reply is what a registry said, but for its body.
type reply struct {
	status int
	header http.Header
	url    *url.URL // that answered
}

// ask sends a request and checks its answer, whose body is closed. It ends when nothing moves for too long.
func (t *target) ask(ctx context.Context, r request) (*reply, error) {
	if err := t.open(ctx); err != nil {
		return nil, r.body.drop(err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	o := t.p.o
	watch := time.AfterFunc(o.Stall, func() { cancel(&stallError{o.Stall}) })
	defer watch.Stop()
	client, err := t.authed(ctx)
	if err != nil {
		return nil, r.body.drop(because(ctx, err))
	}
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, nil)
	if err != nil {
		return nil, r.body.drop(err)
	}
	if r.header != nil {
		req.Header = r.header.Clone()
	}
	req.Header.Set("User-Agent", "raybuild")
	if r.body != nil {
		defer r.body.watched(ctx, t, watch)()
		req.Body, req.ContentLength = r.body, r.body.left
		if r.body.left == 0 {
			req.Body = http.NoBody
			r.body.whole()
		}
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, r.body.failed(because(ctx, err))
	}
	if r.unread && slices.Contains(r.want, resp.StatusCode) {
		return &reply{resp.StatusCode, resp.Header, resp.Request.URL}, resp.Body.Close()
	}
	defer func() { _ = resp.Body.Close() }()
	if err := transport.CheckError(resp, r.want...); err != nil {
		if resp.StatusCode == http.StatusUnauthorized {
			t.forget(client)
		}
		t.rest(resp)
		return nil, err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
	return &reply{resp.StatusCode, resp.Header, resp.Request.URL}, nil
}

// authed is a client with credentials for this repository, and to read those that are mounted from.
func (t *target) authed(ctx context.Context) (*http.Client, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.client != nil {
		return t.client, nil
	}
	auth, err := authn.Resolve(ctx, t.p.c.o.Keychain, t.repo)
	if err != nil {
		return nil, fmt.Errorf("read credentials for %s from Docker's configuration: %w", t.repo.RegistryStr(), err)
	}
	scopes := []string{t.repo.Scope(transport.PushScope)}
	for _, r := range t.mounts {
		scopes = append(scopes, r.Scope(transport.PullScope))
	}
	rt, err := transport.NewWithContext(ctx, t.repo.Registry, auth, t.p.c.patient(t.p.o.Answer), scopes)
	if err != nil {
		return nil, err
	}
	t.client = &http.Client{Transport: rt}
	return t.client, nil
}

// forget drops credentials that the registry takes no longer.
func (t *target) forget(old *http.Client) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.client == old {
		t.client = nil
	}
}

// rest holds up the push for as long as an answer asks to be left alone.
func (t *target) rest(resp *http.Response) {
	text := resp.Header.Get("Retry-After")
	var until time.Time
	if seconds, err := strconv.Atoi(text); err == nil {
		until = time.Now().Add(time.Duration(seconds) * time.Second)
	} else if until, err = http.ParseTime(text); err != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if until.After(t.closed) {
		t.closed = until
	}
}

// open waits until the registry wants to be asked again.
func (t *target) open(ctx context.Context) error {
	t.mu.Lock()
	wait := time.Until(t.closed)
	t.mu.Unlock()
	return sleep(ctx, wait)
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// retry tries until it works, or the push's patience ends.
func (t *target) retry(ctx context.Context, try func(context.Context) error) error {
	tries := &tries{t: t}
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		if err = tries.again(ctx, err); err != nil {
			return err
		}
	}
}

// tries counts failures without progress.
type tries struct {
	t     *target
	n     int
	auths int
	since time.Time
}

func (r *tries) reset() { r.n, r.auths = 0, 0 }

// again waits until it is time to try once more, or gives the error back where that is useless.
func (r *tries) again(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	o := r.t.p.o
	if statusOf(err) == http.StatusUnauthorized {
		r.auths++
	}
	if final(err) || r.auths > 2 || o.Retry < 0 {
		return err
	}
	if r.n == 0 {
		r.since = time.Now()
	}
	wait := o.Pause << min(r.n, 6)
	wait = min(80*o.Pause, wait/2+rand.N(wait)) //nolint:gosec // tries of several clients are to fall apart, no more
	if r.n++; r.auths == r.n {
		wait = 0
	}
	r.t.mu.Lock()
	wait = max(wait, time.Until(r.t.closed))
	r.t.mu.Unlock()
	if time.Since(r.since)+wait > o.Retry {
		return err
	}
	if wait > 0 {
		o.Log("push to %s: %s; trying again in %v", r.t.repo.RegistryStr(), clean(err.Error()), wait.Round(10*time.Millisecond))
	}
	return sleep(ctx, wait)
}

// final tells whether an error will be the same the next time.
func final(err error) bool {
	var (
		lost  *lostError
		from  *sourceError
		plain *plainHTTPError
		cert  *tls.CertificateVerificationError
	)
	if errors.As(err, &lost) {
		return false
	}
	if errors.Is(err, os.ErrNotExist) && errors.As(err, &from) || errors.As(err, &plain) || errors.As(err, &cert) {
		return true
	}
	status := statusOf(err)
	return status != 0 && status != http.StatusUnauthorized && !temporary(status)
}

// temporary tells whether a status says that the same request may work later.
func temporary(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// statusOf is the HTTP status that an error is about, or 0.
func statusOf(err error) int {
	var (
		answer *transport.Error
		from   *sourceError
	)
	if !errors.As(err, &from) && errors.As(err, &answer) {
		return answer.StatusCode
	}
	return 0
}

// because is the cause for which a request was given up, where there is one.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err // the URL may hold what a registry signed
	}
	return err
}

// lostError says that an upload must begin anew.
type lostError struct{ err error }

func (e *lostError) Error() string { return e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

// sourceError is a failure to read what is to be sent.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return "read what is to be pushed: " + e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// stallError says that nothing moved for too long.
type stallError struct{ limit time.Duration }

func (e *stallError) Error() string   { return fmt.Sprintf("nothing moved for %v", e.limit) }
func (e *stallError) Timeout() bool   { return true }
func (e *stallError) Temporary() bool { return true }

// body is what a request sends; it tells as it goes.
type body struct {
	from  io.ReadCloser
	left  int64
	moved func(n int) // nil: nobody asks
	touch func()
	whole func()

	mu  sync.Mutex
	err error // of from; a request may end while its body is still read
}

func newBody(data []byte) *body {
	return &body{from: io.NopCloser(bytes.NewReader(data)), left: int64(len(data))}
}

// watched moves the watch on with the body: while it moves nothing may stand still for long, and when the registry has it
// all, it may be checking it.
func (b *body) watched(ctx context.Context, t *target, watch *time.Timer) (stop func() bool) {
	o := t.p.o
	slow := time.AfterFunc(o.Answer, func() {
		o.Log("registry %s has the whole blob and does not answer yet: waiting up to %v", t.repo.RegistryStr(), o.Answer)
	})
	slow.Stop()
	b.touch = func() {
		if ctx.Err() == nil {
			watch.Reset(o.Stall)
		}
	}
	b.whole = func() {
		if ctx.Err() == nil {
			watch.Reset(o.Answer)
			slow.Reset(o.Stall)
		}
	}
	return slow.Stop
}

// Read implements io.Reader. A source that ends early is an error: the registry would wait for the rest.
func (b *body) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n, err := b.from.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if err == io.EOF && b.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && err != io.EOF {
		b.mu.Lock()
		b.err = err
		b.mu.Unlock()
	}
	b.touch()
	if b.moved != nil && n > 0 {
		b.moved(n)
	}
	if b.left == 0 {
		b.whole()
	}
	return n, err
}

// Close implements io.Closer.
func (b *body) Close() error { return b.from.Close() }

// drop closes a body that was never sent.
func (b *body) drop(err error) error {
	if b == nil {
		return err
	}
	return errors.Join(err, b.Close())
}

// failed is the source's error where that is why a request failed, else err.
func (b *body) failed(err error) error {
	if b == nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return &sourceError{b.err}
	}
	return err
}
