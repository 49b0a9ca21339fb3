package cli

import (
	"fmt"
	"slices"
	"strings"

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

// caches tells what caches cost, and which of them did not work.
func (r *report) caches(done []llb.CacheWork) {
	if len(done) == 0 {
		return
	}
	m := &cacheMetadata{}
	for _, c := range done {
		m.Seconds += c.Seconds
		switch {
		case c.Error == "":
		case c.Absent && r.o.parsed.ownCache(c.Name):
			r.j.app.say("note: there is no cache yet where --cache keeps it: %s", strings.TrimPrefix(c.Name, "importing cache manifest from "))
		default:
			m.Failed++
			r.j.app.warn("%s: %s", c.Name, printable(c.Error))
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
