package fetch

import (
	"maps"
	"sync"
)

// counts is a Stats that several goroutines write.
type counts struct {
	mu sync.Mutex
	s  Stats
}

func (c *counts) on(mirror string, change func(*MirrorStats)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.s.Mirrors == nil {
		c.s.Mirrors = map[string]MirrorStats{}
	}
	m := c.s.Mirrors[mirror]
	change(&m)
	c.s.Mirrors[mirror] = m
}

func (c *counts) resume(mirror string) { c.on(mirror, func(m *MirrorStats) { m.Resumes++ }) }

func (c *counts) bytes(mirror string, n int) {
	c.on(mirror, func(m *MirrorStats) {
		m.Bytes += int64(n)
		c.s.Bytes += int64(n)
	})
}

func (c *counts) lie(mirror string) { c.on(mirror, func(m *MirrorStats) { m.Lies++ }) }

func (c *counts) hit() {
	c.mu.Lock()
	c.s.StoreHits++
	c.mu.Unlock()
}

func (c *counts) snapshot() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.s
	s.Mirrors = maps.Clone(s.Mirrors)
	return s
}
