package main

import (
	"fmt"

	"github.com/raybuild/raybuild/llb"
)

// cacheMetadata is what the build's caches cost.
type cacheMetadata struct {
	Seconds float64 `json:"seconds"`
	Failed  int     `json:"failed"` // imports and exports that did not work; the build went on
	all     int
}

// caches tells what caches cost, and which of them did not work.
func (r *report) caches(done []llb.CacheWork) {
	if len(done) == 0 {
		return
	}
	m := &cacheMetadata{}
	for _, c := range done {
		m.Seconds += c.Seconds
		if c.Error != "" {
			m.Failed++
			r.j.app.say("warning: %s: %s", c.Name, printable(c.Error))
		}
	}
	r.meta.Raybuild.Cache = m
	m.all = len(done)
	r.j.app.say("cache: %s", m)
}

// String says it in a line.
func (m *cacheMetadata) String() string {
	if m == nil {
		return ""
	}
	return fmt.Sprintf("%.1f s, %d of %d imports and exports failed", m.Seconds, m.Failed, m.all)
}
