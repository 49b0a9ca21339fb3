package fetch

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// restAfterFailure is how long a host that does not answer is asked last: with a dead mirror in the list, a build
// must not wait for it once per artifact.
const restAfterFailure = time.Minute

// hosts limits the requests under way and remembers which hosts do not answer.
type hosts struct {
	perHost int
	total   *slots
	urgent  atomic.Int64 // artifacts of rank 0 that are missing

	mu sync.Mutex
	m  map[string]*host
}

// host is one host and port.
type host struct {
	slots *slots

	mu    sync.Mutex
	fails int       // failures in a row
	rest  time.Time // it is asked last until then
	wait  time.Time // it asked not to be asked until then
}

func newHosts(perHost, total int) *hosts {
	hs := &hosts{perHost: perHost, m: map[string]*host{}}
	hs.total = &slots{size: total, urgent: &hs.urgent}
	return hs
}

func (hs *hosts) get(u *url.URL) *host {
	name := strings.ToLower(u.Hostname()) + ":" + port(u)
	hs.mu.Lock()
	defer hs.mu.Unlock()
	h := hs.m[name]
	if h == nil {
		h = &host{slots: &slots{size: hs.perHost, urgent: &hs.urgent}}
		hs.m[name] = h
	}
	return h
}

// acquire waits for a place at the host, then for one in all: whoever has one in all waits for nobody.
func (hs *hosts) acquire(ctx context.Context, h *host, rank int) error {
	if err := h.slots.acquire(ctx, rank); err != nil {
		return err
	}
	err := hs.total.acquire(ctx, rank)
	if err != nil {
		h.slots.release(rank)
	}
	return err
}

func (hs *hosts) release(h *host, rank int) {
	hs.total.release(rank)
	h.slots.release(rank)
}

// missing says how many artifacts of rank 0 are not there yet.
func (hs *hosts) missing(n int) {
	if hs.urgent.Swap(int64(n)) == 0 || n > 0 {
		return
	}
	hs.total.settle()
	hs.mu.Lock()
	defer hs.mu.Unlock()
	for _, h := range hs.m {
		h.slots.settle()
	}
}

func (h *host) worked() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fails, h.rest = 0, time.Time{}
}

// failed notes a failure that says something about the host and not about one file.
func (h *host) failed(err error) {
	s := status(err)
	if s != 0 && !passing(err) {
		h.worked()
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if se, ok := errors.AsType[*statusError](err); ok && se.retryAfter > 0 {
		h.wait = now.Add(se.retryAfter)
		return
	}
	if h.fails++; h.fails >= 2 {
		h.rest = now.Add(restAfterFailure)
	}
}

// resting tells whether the host did not answer lately.
func (h *host) resting() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Now().Before(h.rest)
}

// pause is how long the host wants to be left alone.
func (h *host) pause() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return max(time.Until(h.wait), 0)
}

// byHealth puts candidates whose host did not answer lately last, and keeps the order otherwise.
func (hs *hosts) byHealth(cands []Candidate) []Candidate {
	rests := func(c Candidate) int {
		if u := candidateURL(c); u != nil && hs.get(u).resting() {
			return 1
		}
		return 0
	}
	out := slices.Clone(cands)
	slices.SortStableFunc(out, func(a, b Candidate) int { return rests(a) - rests(b) })
	return out
}

// candidateURL is where a candidate is asked first; nil when that is not a URL.
func candidateURL(c Candidate) *url.URL {
	s := c.URL
	if s == "" {
		s = c.Index
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil
	}
	return u
}
