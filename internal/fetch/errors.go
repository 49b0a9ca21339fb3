package fetch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// Attempt is one failed try to get an artifact or a page.
type Attempt struct {
	Mirror string
	URL    string // without secrets
	Status int    // HTTP status; 0 when no answer came
	Err    error  // what went wrong; without secrets
}

func (a Attempt) String() string {
	return fmt.Sprintf("%s (%s): %v", a.Mirror, a.URL, a.Err)
}

// NotFoundError says that no candidate served the artifact. Its text names the artifact, and each tried
// place with its answer.
type NotFoundError struct {
	Name   string
	Digest digest.Digest
	Tried  []Attempt // in the order of the tries; empty when there was no candidate
}

func (e *NotFoundError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "fetch artifact %q (%s): ", e.Name, e.Digest)
	if len(e.Tried) == 0 {
		b.WriteString("no mirror serves it: add a mirror for its origin")
		return b.String()
	}
	b.WriteString("no mirror has it: ")
	b.WriteString(list(e.Tried))
	b.WriteString(": check the mirrors (raybuild mirrors), or lock again if the artifact was withdrawn")
	return b.String()
}

// list writes attempts out, each text once.
func list(tried []Attempt) string {
	var texts []string
	times := map[string]int{}
	for _, a := range tried {
		s := a.String()
		if times[s]++; times[s] == 1 {
			texts = append(texts, s)
		}
	}
	for i, s := range texts {
		if n := times[s]; n > 1 {
			texts[i] = fmt.Sprintf("%s (%d tries)", s, n)
		}
	}
	return strings.Join(texts, "; ")
}

// Unwrap returns the errors of the tries.
func (e *NotFoundError) Unwrap() []error {
	errs := make([]error, len(e.Tried))
	for i, a := range e.Tried {
		errs[i] = a.Err
	}
	return errs
}

// Withdrawn tells whether some place answered that it lacks the file, or has another file under its name.
func (e *NotFoundError) Withdrawn() bool {
	for _, a := range e.Tried {
		if a.Status == http.StatusNotFound || a.Status == http.StatusGone || errors.Is(a.Err, errNotListed) ||
			errors.Is(a.Err, errWrong) {
			return true
		}
	}
	return len(e.Tried) == 0
}

// unansweredError says that no mirror answered a request of a gateway client.
type unansweredError struct {
	URL   string // canonical, without secrets
	Tried []Attempt
}

func (e *unansweredError) Error() string {
	return fmt.Sprintf("no mirror has %s: %s", e.URL, list(e.Tried))
}

// Unwrap returns the errors of the tries.
func (e *unansweredError) Unwrap() []error {
	errs := make([]error, len(e.Tried))
	for i, a := range e.Tried {
		errs[i] = a.Err
	}
	return errs
}

// trouble keeps the first of what clients were not given.
type trouble struct {
	mu    sync.Mutex
	first error
	more  int
}

func (t *trouble) note(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.first == nil {
		t.first = err
		return
	}
	t.more++
}

func (t *trouble) err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.more > 0 {
		return fmt.Errorf("%w (and %d more)", t.first, t.more)
	}
	return t.first
}

// gone tells whether every place answered that it does not have the file.
func (e *NotFoundError) gone() bool {
	for _, a := range e.Tried {
		if a.Status != http.StatusNotFound && a.Status != http.StatusGone {
			return false
		}
	}
	return true
}

// diskFullError says that the disk of the store has no room for an artifact.
type diskFullError struct {
	Path string // of the store
	Free int64  // bytes; -1 when it cannot be told
	Need int64  // bytes; 0 when it is not known
	Err  error
}

func (e *diskFullError) Error() string {
	free, need := "an unknown number of", "more"
	if e.Free >= 0 {
		free = fmt.Sprint(e.Free)
	}
	if e.Need > 0 {
		need = fmt.Sprint(e.Need)
	}
	return fmt.Sprintf("write artifact store %q: disk full: %s bytes free, %s needed: "+
		"make room there (raybuild cache prune), or use another directory", e.Path, free, need)
}

// Unwrap returns the system's error.
func (e *diskFullError) Unwrap() error { return e.Err }

var (
	errStall     = errors.New("stalled: no bytes came in time")
	errCorrupt   = errors.New("stored file does not have its digest")
	errWrong     = errors.New("wrong bytes")
	errCut       = errors.New("connection closed before the end")
	errRestart   = errors.New("mirror cannot resume here")
	errNotListed = errors.New("file is not on the index page")
)

// statusError is an answer that brings no file.
type statusError struct {
	code       int
	retryAfter time.Duration
	login      string // the user that was shown to the server; "": none
}

func (e *statusError) Error() string {
	text := strings.TrimSpace(fmt.Sprintf("%d %s", e.code, http.StatusText(e.code)))
	switch {
	case e.code != http.StatusUnauthorized:
	case e.login != "":
		text += fmt.Sprintf(": the password of %q is wrong or has expired", e.login)
	default:
		text += ": there is no login for it: put one into ~/.netrc (machine, login, password; a default entry is not " +
			"used), or into the URL of PIP_EXTRA_INDEX_URL"
	}
	return text
}

func (e *statusError) passing() bool {
	switch e.code {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported, http.StatusInsufficientStorage:
		return false
	}
	return e.code >= 500
}

// failure is an error of a request whose class is known.
type failure struct {
	err     error
	passing bool // the same request may work later
}

func (e *failure) Error() string { return e.err.Error() }
func (e *failure) Unwrap() error { return e.err }

// passing tells whether the failed try may work when it is done again.
func passing(err error) bool {
	if s, ok := errors.AsType[*statusError](err); ok {
		return s.passing()
	}
	if f, ok := errors.AsType[*failure](err); ok {
		return f.passing
	}
	return false
}

func status(err error) int {
	if s, ok := errors.AsType[*statusError](err); ok {
		return s.code
	}
	return 0
}

// plain takes the URL out of an error of net/http: it may have secrets, and the message names the URL anyway.
func plain(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
		return cause
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
