package llb

import (
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/client"
)

// readingCache is what was wrong with a cache when its layers were read.
const readingCache = "reading from the cache"

// lost takes in an event of an operation whose result a cache lists but cannot give. BuildKit then
// runs the operation and reports nothing more.
func (c *collector) lost(v *client.Vertex) {
	if !v.Cached || v.Completed == nil || v.Error == "" || strings.Contains(v.Error, "context canceled") {
		return
	}
	if c.unread == "" {
		c.unread = v.Error
	}
	if !slices.Contains(c.unreadOps, v.Digest) {
		c.unreadOps = append(c.unreadOps, v.Digest)
	}
}

// lostResult is what imported caches could not give.
func (c *collector) lostResult() []CacheWork {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unread == "" {
		return nil
	}
	return []CacheWork{
		{Name: readingCache, Error: fmt.Sprintf("%s (operations that ran because of this: %d)", c.unread,
			len(c.unreadOps))},
	}
}

// absent tells whether an import found no cache where it was told to look: the tag of a registry
// that nobody has pushed.
func absent(name, failure string) bool {
	ref, ok := strings.CutPrefix(name, importingCache+" manifest from ")
	return ok && strings.HasSuffix(failure, ref+": not found")
}

// exportsNone takes exports out of a build on a builder that has no exporter of caches, and says so.
func (c *call) exportsNone() (not []CacheWork) {
	if !c.b.store {
		return nil
	}
	for _, e := range c.o.CacheTo {
		not = append(not, CacheWork{Name: exportingCache + " to " + e.Type,
			Error: "this builder keeps images in a Docker Engine's graph driver and cannot export its cache"})
	}
	c.o.CacheTo = nil
	return not
}
