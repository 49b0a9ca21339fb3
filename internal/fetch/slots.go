package fetch

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
)

// slots are places for requests. Those who wait get them by their rank, the lowest first, and by
// when they came. While artifacts of rank 0 are missing all others have a third of the places at
// most, whether anybody waits for the rest or not: one that is large would keep for long what an
// artifact of rank 0 wants a moment later.
type slots struct {
	size   int
	urgent *atomic.Int64 // artifacts of rank 0 that are missing

	mu          sync.Mutex
	taken, late int // places, and those of them with a rank above 0
	waiting     []*waiter
}

type waiter struct {
	rank  int
	ready chan struct{} // closed when it has its place
}

// acquire waits for a place, which release gives back.
func (s *slots) acquire(ctx context.Context, rank int) error {
	w := &waiter{rank: rank, ready: make(chan struct{})}
	s.mu.Lock()
	at := slices.IndexFunc(s.waiting, func(o *waiter) bool { return o.rank > rank })
	if at < 0 {
		at = len(s.waiting)
	}
	s.waiting = slices.Insert(s.waiting, at, w)
	s.grant()
	s.mu.Unlock()
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	at = slices.Index(s.waiting, w)
	if at >= 0 {
		s.waiting = slices.Delete(s.waiting, at, at+1)
	}
	s.mu.Unlock()
	if at < 0 { // it got its place meanwhile
		s.release(rank)
	}
	return context.Cause(ctx)
}

func (s *slots) release(rank int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	if rank > 0 {
		s.late--
	}
	s.grant()
}

// settle looks again who may have a place, after the last artifact of rank 0 has come.
func (s *slots) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grant()
}

// grant gives places to those who wait. The caller holds s.mu.
func (s *slots) grant() {
	for len(s.waiting) > 0 && s.taken < s.size {
		w := s.waiting[0]
		if w.rank > 0 {
			if s.urgent.Load() > 0 && s.late >= max(s.size/3, 1) {
				return
			}
			s.late++
		}
		s.taken++
		s.waiting = s.waiting[1:]
		close(w.ready)
	}
}
