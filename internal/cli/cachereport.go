package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/raybuild/raybuild/internal/show"
	"github.com/raybuild/raybuild/llb"
)

// cacheMetadata says how long the build's caches took, and how many failed.
type cacheMetadata struct {
	Seconds float64 `json:"seconds"`
	Failed  int     `json:"failed"` // imports and exports that failed; the build continued
	all     int
}

// ownCache tells whether a cache import is from a reference that a bare --cache chose. There may be no cache yet.
func (p *parsedOptions) ownCache(work string) bool {
	return slices.ContainsFunc(p.besides, func(ref string) bool { return strings.HasSuffix(work, " "+ref) })
}

// cacheMetadata sums up the cache imports and exports; nil: there were none.
func (p *parsedOptions) cacheMetadata(done []llb.CacheWork) *cacheMetadata {
	if len(done) == 0 {
		return nil
	}
	m := &cacheMetadata{all: len(done)}
	for _, c := range done {
		m.Seconds += c.Seconds
		if c.Error != "" && !p.notYet(c) {
			m.Failed++
		}
	}
	return m
}

// notYet tells whether a cache of a bare --cache is missing because no build has written
// it yet. This is no failure.
func (p *parsedOptions) notYet(c llb.CacheWork) bool { return c.Absent && p.ownCache(c.Name) }

// tellCaches prints how long caches took, and which of them failed.
func (a *app) tellCaches(p *parsedOptions, done []llb.CacheWork, m *cacheMetadata) {
	if m == nil {
		return
	}
	for _, c := range done {
		switch {
		case c.Error == "":
		case p.notYet(c):
			a.say("note: --cache found no cache yet: %s",
				strings.TrimPrefix(c.Name, "importing cache manifest from "))
		default:
			a.warn("%s: %s", c.Name, show.Printable(c.Error))
		}
	}
	a.say("cache: %s", m)
}

// String describes the caches in one line.
func (m *cacheMetadata) String() string {
	if m == nil {
		return ""
	}
	return fmt.Sprintf("%.1f s, %d of %d imports and exports failed", m.Seconds, m.Failed, m.all)
}
