package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/raybuild/raybuild/internal/show"
	"github.com/raybuild/raybuild/llb"
)

// cacheMetadata is what the build's caches cost.
type cacheMetadata struct {
	Seconds float64 `json:"seconds"`
	Failed  int     `json:"failed"` // imports and exports that did not work; the build went on
	all     int
}

// ownCache tells whether an import is of a place that a bare --cache chose: nobody may have written one there.
func (p *parsedOptions) ownCache(work string) bool {
	return slices.ContainsFunc(p.besides, func(ref string) bool { return strings.HasSuffix(work, " "+ref) })
}

// cacheMetadata sums up what caches cost; nil: there were none.
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

// notYet tells a cache that --cache looked for and that nobody has written yet from one that failed.
func (p *parsedOptions) notYet(c llb.CacheWork) bool { return c.Absent && p.ownCache(c.Name) }

// tellCaches tells what caches cost, and which of them did not work.
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

// String says it in a line.
func (m *cacheMetadata) String() string {
	if m == nil {
		return ""
	}
	return fmt.Sprintf("%.1f s, %d of %d imports and exports failed", m.Seconds, m.Failed, m.all)
}
