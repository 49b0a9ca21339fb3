package raybuild

import (
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/llb"
)

// sentLayers are the layers that were sent before the image was complete.
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

// pushedBefore notes layers that were sent before the image was complete.
func (t *tally) pushedBefore(done registry.Pushed) {
	s := &t.before
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

// sentBefore tells whether a layer was sent before the image was complete.
func (t *tally) sentBefore(d digest.Digest) bool {
	t.before.mu.Lock()
	defer t.before.mu.Unlock()
	return t.before.whole[d]
}

// again prepares the tally for a second attempt. It keeps what the first attempt sent and which steps it ran.
func (t *tally) again() {
	done := registry.Pushed{Bytes: t.res.BytesPushed - t.before.sum(), Reused: t.sent}
	if t.sent != nil {
		for d := range t.sent {
			done.Reused[d] = t.sent[d] && !t.sentBefore(d)
		}
		t.pushedBefore(done)
	}
	t.res.Pushing, t.sent, t.res.BytesPushed = false, nil, 0
	t.earlier = t.res.Ran
}

// withEarlier replaces cached steps by the same steps of an earlier attempt if that attempt ran them.
func (t *tally) withEarlier(steps []llb.Step) []llb.Step {
	ran := map[[2]string]llb.Step{}
	for _, s := range t.earlier {
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
