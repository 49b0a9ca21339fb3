package llb

import (
	"strings"

	"github.com/moby/buildkit/client"
	digest "github.com/opencontainers/go-digest"
)

// CacheWork is an import or export of a cache. One that failed costs its time and not the build.
type CacheWork struct {
	Name    string  // "importing cache manifest from …", "exporting cache to registry"
	Seconds float64 // that it took
	Error   string  // why it failed; "" where it did not
}

// cacheWork takes in an event of a cache's import or export, which BuildKit shows as an operation of that name.
func (c *collector) cacheWork(v *client.Vertex) {
	if !strings.HasPrefix(v.Name, "importing cache") && !strings.HasPrefix(v.Name, "exporting cache") {
		return
	}
	if c.caches == nil {
		c.caches = map[digest.Digest]*client.Vertex{}
	}
	if c.caches[v.Digest] == nil {
		c.cacheOrder = append(c.cacheOrder, v.Digest)
	}
	c.caches[v.Digest] = v
}

// cacheResult is how the caches' imports and exports went.
func (c *collector) cacheResult() []CacheWork {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []CacheWork
	for _, d := range c.cacheOrder {
		v := c.caches[d]
		w := CacheWork{Name: v.Name, Error: v.Error}
		if v.Started != nil && v.Completed != nil {
			w.Seconds = v.Completed.Sub(*v.Started).Seconds()
		}
		all = append(all, w)
	}
	return all
}
