package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// retry repeats a try until it works, or until the patience of the push ends.
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
	short int // of them, those in which the source ended early
	since time.Time
}

// shortMost is how often a source may end early at the same byte. After that the source is too short, and
// no broken connection is the cause.
const shortMost = 5

func (r *tries) reset() { r.n, r.auths, r.short = 0, 0, 0 }

// again waits until the next try, or returns the error if another try is useless.
func (r *tries) again(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	o := r.t.p.o
	if statusOf(err) == http.StatusUnauthorized {
		r.auths++
	}
	reached := r.t.reached.Load()
	if final(err) || r.auths > 2 || o.Retry < 0 || !reached && noSuchHost(err) {
		return err
	}
	if r.n == 0 {
		r.since = time.Now()
	}
	patience := o.Retry
	if !reached {
		patience = min(patience, o.Reach)
	}
	if short(err) {
		r.short++
	}
	wait := o.Pause << min(r.n, 6)
	wait = min(80*o.Pause, wait/2+rand.N(wait)) //nolint:gosec // tries of several clients are to fall apart, no more
	if r.n++; r.auths == r.n {
		wait = 0
	}
	r.t.mu.Lock()
	wait = max(wait, time.Until(r.t.closed))
	r.t.mu.Unlock()
	if took := time.Since(r.since); took+wait > patience || r.short == shortMost {
		return &triedError{err, r.n, took, !reached}
	}
	if wait > 0 {
		o.Log("push to %s: %s; trying again in %v", r.t.repo.RegistryStr(), clean(err.Error()),
			wait.Round(10*time.Millisecond))
	}
	return sleep(ctx, wait)
}

// short tells whether the source ended before the size that it should have.
func short(err error) bool {
	var from *sourceError
	return errors.As(err, &from) && errors.Is(err, io.ErrUnexpectedEOF)
}

// noSuchHost tells whether the name of a host is the name of none.
func noSuchHost(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}

// triedError says how long and how often a request was tried.
type triedError struct {
	err   error
	n     int
	took  time.Duration
	never bool // the registry never answered
}

func (e *triedError) Error() string { return e.err.Error() }
func (e *triedError) Unwrap() error { return e.err }

// tried is the end of an error's text.
func (e *triedError) tried() string {
	text := fmt.Sprintf(" (tried %d times in %v", e.n, e.took.Round(100*time.Millisecond))
	if e.never {
		text += ", because it never answered; --push-retry says how long to try"
	}
	return text + ")"
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

// because returns why a request was given up, if the context says so.
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

// Missing tells whether a push ended because nobody has one of its blobs: its Source returned
// os.ErrNotExist.
func Missing(err error) bool {
	var source *sourceError
	return errors.As(err, &source) && errors.Is(source.err, os.ErrNotExist)
}

// stallError says that nothing moved for too long.
type stallError struct{ limit time.Duration }

func (e *stallError) Error() string   { return fmt.Sprintf("nothing moved for %v", e.limit) }
func (e *stallError) Timeout() bool   { return true }
func (e *stallError) Temporary() bool { return true }
