package cli

import (
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/llb"
)

// sentLayers are the layers that were sent before the image was whole.
type sentLayers struct {
	mu    sync.Mutex
	bytes int64
	whole map[digest.Digest]bool
}

func (s *sentLayers) sum() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes
}

// pushedBefore notes what was sent before the image was whole.
func (r *report) pushedBefore(done registry.Pushed) {
	s := &r.before
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes += done.Bytes
	for d, reused := range done.Reused {
		if s.whole == nil {
			s.whole = map[digest.Digest]bool{}
		}
		s.whole[d] = !reused
	}
}

// sentBefore tells whether a layer was sent before the image was whole.
func (r *report) sentBefore(d digest.Digest) bool {
	r.before.mu.Lock()
	defer r.before.mu.Unlock()
	return r.before.whole[d]
}

// again begins anew what a first attempt could not end: what it sent was sent, and what it ran was run.
func (r *report) again() {
	m := &r.meta.Raybuild
	done := registry.Pushed{Bytes: m.BytesPushed - r.before.sum(), Reused: r.sent}
	if r.sent != nil {
		for d := range r.sent {
			done.Reused[d] = r.sent[d] && !r.sentBefore(d)
		}
		r.pushedBefore(done)
	}
	r.pushing, r.sent, m.BytesPushed = false, nil, 0
	r.earlier = r.times.steps
}

// withEarlier puts the steps that an earlier attempt ran in the place of those that found them in the cache.
func (r *report) withEarlier(steps []llb.Step) []llb.Step {
	ran := map[[2]string]llb.Step{}
	for _, s := range r.earlier {
		if !s.Cached {
			ran[[2]string{s.Layer, s.Name}] = s
		}
	}
	out := make([]llb.Step, len(steps))
	for i, s := range steps {
		if before, ok := ran[[2]string{s.Layer, s.Name}]; ok && s.Cached {
			s = before
		}
		out[i] = s
	}
	return out
}
