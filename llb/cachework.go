package llb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
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

// What the names of these operations begin with in BuildKit.
const (
	importingCache    = "importing cache"
	exportingCache    = "exporting cache"
	exportingToGitHub = "exporting to GitHub Actions Cache"
)

// unfinished is the error of what was stopped.
const unfinished = "it did not come to its end"

func isExport(name string) bool {
	return strings.HasPrefix(name, exportingCache) || strings.HasPrefix(name, exportingToGitHub)
}

// cacheWork takes in an event of a cache's import or export, which BuildKit shows as an operation of that name.
func (c *collector) cacheWork(v *client.Vertex) {
	if !strings.HasPrefix(v.Name, importingCache) && !isExport(v.Name) {
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
		switch {
		case v.Started != nil && v.Completed != nil:
			w.Seconds = v.Completed.Sub(*v.Started).Seconds()
		case v.Error == "":
			w.Error = unfinished
		}
		all = append(all, w)
	}
	return all
}

// budgetKey is the attribute by which raybuild's own engine is told how long it may wait for a cache. Others ignore it.
const budgetKey = "budget"

// budgeted gives each import its time, where it has none of its own.
func (c *call) budgeted(in []CacheEntry) []CacheEntry {
	out := slices.Clone(in)
	for i, e := range out {
		if _, given := e.Attrs[budgetKey]; given || c.o.CacheBudget <= 0 {
			continue
		}
		out[i].Attrs = maps.Clone(e.Attrs)
		if out[i].Attrs == nil {
			out[i].Attrs = map[string]string{}
		}
		out[i].Attrs[budgetKey] = c.o.CacheBudget.String()
	}
	return out
}

// splitExports takes those exports out of the build that can wait until the image is where it should be: all but the cache
// that is a part of the image.
func (c *call) splitExports() (later []CacheEntry) {
	inline := func(e CacheEntry) bool { return e.Type == "inline" }
	later = slices.DeleteFunc(slices.Clone(c.o.CacheTo), inline)
	c.o.CacheTo = slices.DeleteFunc(slices.Clone(c.o.CacheTo), func(e CacheEntry) bool { return !inline(e) })
	return later
}

// withoutCache builds again with no import where it may have been a cache that made the build fail: one that says what it has,
// and then cannot give it.
func (c *call) withoutCache(ctx context.Context, failed error, again func() (*Result, error)) (*Result, error) {
	var (
		step  *StepError
		fetch *FetchError
		lost  *LostError
	)
	if len(c.o.CacheFrom) == 0 || ctx.Err() != nil || errors.As(failed, &step) && step.ExitCode > 0 || errors.As(failed, &fetch) || errors.As(failed, &lost) {
		return nil, failed
	}
	before := c.col
	c.o.CacheFrom, c.col = nil, newCollector()
	res, err := again()
	if err != nil {
		c.col.merge(before)
		return nil, failed
	}
	res.Caches = append(before.cacheResult(), CacheWork{Name: "reading from the cache", Error: failed.Error()})
	c.col.merge(before)
	res.Steps = c.col.result()
	return res, nil
}

// merge takes in what ran before a build was begun anew.
func (c *collector) merge(before *collector) {
	before.mu.Lock()
	defer before.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	for d, s := range before.by {
		if now := c.by[d]; now != nil && s.ran() && !now.ran() && s.vertex.Error == "" {
			*now = *s
		}
	}
}

// exportCaches writes caches. What fails or is too slow costs its time, and the build only where an export says so.
func (c *call) exportCaches(ctx context.Context, images []Image, o BuildOptions, res *Result, to []CacheEntry) error {
	if len(to) == 0 {
		return nil
	}
	c.o.CacheTo, c.o.NoCache, o.NoCache, o.OnSteps = to, false, false, nil
	builds := c.col
	defer func() { c.col = builds }()
	c.col = newCollector()
	limited := ctx
	if c.o.CacheBudget > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, c.o.CacheBudget)
		defer cancel()
	}
	_, err := c.image(limited, images, o, nil, true)
	all := slices.DeleteFunc(c.col.cacheResult(), func(w CacheWork) bool { return !isExport(w.Name) })
	if err == nil {
		res.Caches = append(res.Caches, all...)
		return nil
	}
	if ctx.Err() != nil || slices.ContainsFunc(to, func(e CacheEntry) bool { return e.Attrs["ignore-error"] != "true" }) {
		return fmt.Errorf("export cache: %w", err)
	}
	slow := limited.Err() != nil
	if slow {
		err = fmt.Errorf("the cache is too slow, and was given up after %v", c.o.CacheBudget)
	}
	if len(all) == 0 {
		all = []CacheWork{{Name: exportingCache}}
	}
	for i := range all {
		if all[i].Error == "" || all[i].Error == unfinished || slow && strings.Contains(all[i].Error, "context ") {
			all[i].Error = err.Error()
		}
		if slow && all[i].Seconds == 0 {
			all[i].Seconds = c.o.CacheBudget.Seconds()
		}
	}
	res.Caches = append(res.Caches, all...)
	return nil
}
