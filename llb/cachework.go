package llb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/moby/buildkit/client"
	digest "github.com/opencontainers/go-digest"
)

// CacheWork is an import or export of a cache. If it fails, the build goes on.
type CacheWork struct {
	Name    string  // "importing cache manifest from …", "exporting cache to registry"
	Seconds float64 // that it took
	Error   string  // why it failed; "" where it did not
	Absent  bool    // it failed because there is no such cache (yet)
}

// What the names of these operations begin with in BuildKit.
const (
	importingCache    = "importing cache"
	exportingCache    = "exporting cache"
	exportingToGitHub = "exporting to GitHub Actions Cache"
)

// unfinished is the error of what was stopped.
const unfinished = "it did not finish"

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
		w.Absent = absent(w.Name, w.Error)
		all = append(all, w)
	}
	return all
}

// budgetKey is the attribute that tells raybuild's own engine how long it may wait for a cache. Other builders
// ignore it.
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

// errSlowExport ends a solve whose cache export takes longer than its budget.
var errSlowExport = errors.New("export of the cache is too slow")

// limitExport ends a solve when its exports of caches have run for the budget. BuildKit makes them
// when the image is made.
func (c *call) limitExport(cancel context.CancelCauseFunc) func(*client.SolveStatus) {
	var timer *time.Timer
	return func(ss *client.SolveStatus) {
		if timer == nil && c.o.CacheBudget > 0 &&
			slices.ContainsFunc(ss.Vertexes, func(v *client.Vertex) bool {
				return isExport(v.Name) && v.Started != nil
			}) {
			timer = time.AfterFunc(c.o.CacheBudget, func() { cancel(errSlowExport) })
		}
	}
}

// splitExports takes out the exports of caches, if the build writes archives and so cannot begin again.
func (c *call) splitExports(o BuildOptions) (later []CacheEntry) {
	if o.OCI == nil && o.Docker == nil && o.Local == "" {
		return nil
	}
	later = slices.DeleteFunc(slices.Clone(c.o.CacheTo), CacheEntry.inline)
	c.o.CacheTo = slices.DeleteFunc(slices.Clone(c.o.CacheTo), CacheEntry.apart)
	return later
}

// inline tells whether the cache is a part of the image.
func (e CacheEntry) inline() bool { return e.Type == "inline" }

func (e CacheEntry) apart() bool { return !e.inline() }

// withoutCache builds again where a cache made the build fail: without exports where those are too
// slow, and without imports where it may have been one that says what it has, and then cannot give
// it.
func (c *call) withoutCache(ctx context.Context, failed error, again func() (*Result, error)) (*Result, error) {
	var (
		step  *StepError
		fetch *FetchError
		lost  *LostError
		check *CheckError
	)
	if ctx.Err() != nil || errors.As(failed, &check) ||
		errors.As(failed, &step) && (step.ExitCode > 0 || step.Limit != "") || errors.As(failed, &fetch) ||
		errors.As(failed, &lost) {
		return nil, failed
	}
	before := c.col
	works := before.cacheResult()
	switch {
	case errors.Is(failed, errSlowExport):
		if slices.ContainsFunc(c.o.CacheTo, CacheEntry.mustBeWritten) {
			return nil, failed
		}
		works = c.tooSlow(works)
		c.o.CacheTo = slices.DeleteFunc(slices.Clone(c.o.CacheTo), CacheEntry.apart)
	case len(c.o.CacheFrom) > 0:
		works = append(works, CacheWork{Name: readingCache, Error: failed.Error()})
		c.o.CacheFrom = nil
	default:
		return nil, failed
	}
	c.col = newCollector()
	res, err := again()
	c.col.merge(before)
	if err != nil {
		return nil, failed
	}
	if errors.Is(failed, errSlowExport) {
		res.Caches = works
	} else {
		res.Caches = append(works, res.Caches...)
	}
	res.Steps = c.col.result()
	return res, nil
}

// mustBeWritten tells whether a build is to fail with the cache's export.
func (e CacheEntry) mustBeWritten() bool { return e.apart() && e.Attrs["ignore-error"] != "true" }

// tooSlow marks exports that did not end as given up.
func (c *call) tooSlow(all []CacheWork) []CacheWork {
	for i, w := range all {
		if isExport(w.Name) && (w.Error == unfinished || strings.Contains(w.Error, "context ")) {
			all[i].Error = fmt.Sprintf("the cache is too slow, and was given up after %v", c.o.CacheBudget)
			all[i].Seconds = c.o.CacheBudget.Seconds()
		}
	}
	return all
}

// merge takes in the steps that ran before the build began again.
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

// exportCaches writes caches by a solve of their own. What fails or is too slow costs its time, and
// the build only where an export says so.
func (c *call) exportCaches(ctx context.Context, images []Image, o BuildOptions, res *Result, to []CacheEntry) error {
	if len(to) == 0 {
		return nil
	}
	c.o.CacheTo, c.o.NoCache, o.NoCache = to, false, false
	builds := c.col
	defer func() { c.col = builds }()
	c.col = newCollector()
	// An export of the image comes before that of its caches, and packs layers as they are packed for it.
	_, err := c.image(ctx, images, o, []client.ExportEntry{o.imageExport(false, len(images))}, true)
	all := slices.DeleteFunc(c.col.cacheResult(), func(w CacheWork) bool { return !isExport(w.Name) })
	if err != nil && (ctx.Err() != nil || slices.ContainsFunc(to, CacheEntry.mustBeWritten)) {
		return fmt.Errorf("export cache: %w", err)
	}
	if all = c.tooSlow(all); err != nil && len(all) == 0 {
		all = []CacheWork{{Name: exportingCache, Error: err.Error()}}
	}
	res.Caches = append(res.Caches, all...)
	return nil
}
