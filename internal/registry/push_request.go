package registry

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

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

	present Presence // of this repository

	reached    atomic.Bool // it has answered at least once
	sendAtOnce atomic.Bool // it refuses "Expect: 100-continue"

	mu     sync.Mutex
	closed time.Time // until then the push sends no request
}

func (t *target) url(rest string) string {
	return t.repo.Scheme() + "://" + t.repo.RegistryStr() + "/v2/" + t.repo.RepositoryStr() + rest
}

// askFirst is the size from which a push first asks whether the registry accepts a body ("Expect:
// 100-continue").
const askFirst = 1 << 20

// request is one request of a push.
type request struct {
	method, url string
	header      http.Header
	body        *body // nil: none
	want        []int // statuses
	unread      bool  // do not read the answer's body, which may be long
}

// bare is the request without its body.
func (r request) bare(ctx context.Context) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, nil)
	if err != nil {
		return nil, err
	}
	if r.header != nil {
		req.Header = r.header.Clone()
	}
	req.Header.Set("User-Agent", "raybuild")
	return req, nil
}

// reply is the status line and header of an answer.
type reply struct {
	status int
	header http.Header
	url    *url.URL // that answered
}

// ask sends a request, checks the status of its answer and closes its body. It ends the request when no
// byte moves for too long.
func (t *target) ask(ctx context.Context, r request) (*reply, error) {
	if err := t.open(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	o := t.p.o
	stall := o.Stall
	if !t.reached.Load() {
		stall = min(stall, o.Reach)
	}
	watch := time.AfterFunc(stall, func() { cancel(r.body.stalled(stall)) })
	defer watch.Stop()
	client, err := t.p.c.login(ctx, t.repo, t.mounts)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	t.reached.Store(true)
	req, err := r.bare(ctx)
	if err != nil {
		return nil, err
	}
	if r.body != nil {
		defer r.body.watched(ctx, t, watch)()
		req.Body, req.ContentLength = r.body, r.body.size
		switch {
		case r.body.size == 0:
			req.Body = http.NoBody
			r.body.whole()
		case r.body.size >= askFirst && !t.sendAtOnce.Load():
			// a refusal then costs no byte; a registry that ignores the header gets the body after a second
			req.Header.Set("Expect", "100-continue")
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
	if resp.StatusCode == http.StatusExpectationFailed && t.sendAtOnce.CompareAndSwap(false, true) {
		return nil, &lostError{transport.CheckError(resp, r.want...)}
	}
	if err := transport.CheckError(resp, r.want...); err != nil {
		// a DELETE may need more rights than a push
		if resp.StatusCode == http.StatusUnauthorized && r.method != http.MethodDelete {
			t.p.c.logins.forget(client)
		}
		t.rest(resp)
		return nil, err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
	return &reply{resp.StatusCode, resp.Header, resp.Request.URL}, nil
}

// rest delays the push for as long as an answer says in Retry-After.
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

// open waits until the time that a Retry-After named.
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
