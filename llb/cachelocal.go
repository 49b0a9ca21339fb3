package llb

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/moby/buildkit/client/ociindex"
	digest "github.com/opencontainers/go-digest"
)

const localCache = "local"

// localLast puts exports to directories behind all others. BuildKit answers a solve with the
// manifest of its last export alone, and the client writes that one into the directories'
// index.json.
func localLast(in []CacheEntry) []CacheEntry {
	order := map[bool]int{true: 1}
	return slices.SortedStableFunc(slices.Values(in), func(a, b CacheEntry) int {
		return cmp.Compare(order[a.Type == localCache], order[b.Type == localCache])
	})
}

// absentLocal are the imports from directories that have no cache. BuildKit's client leaves them out without a word.
func absentLocal(from []CacheEntry) []CacheWork {
	var out []CacheWork
	for _, e := range from {
		if e.Type != localCache || e.Attrs["src"] == "" {
			continue
		}
		if err := hasCache(e); err != nil {
			out = append(out, CacheWork{Name: importingCache + " from " + e.Attrs["src"], Error: err.Error(),
				Absent: errors.Is(err, os.ErrNotExist)})
		}
	}
	return out
}

// hasCache looks for a cache's manifest in a directory, as BuildKit's client does.
func hasCache(e CacheEntry) error {
	dir, manifest := e.Attrs["src"], e.Attrs["digest"]
	if manifest == "" {
		tag := cmp.Or(e.Attrs["tag"], "latest")
		found, err := ociindex.NewStoreIndex(dir).Get(tag)
		if err != nil {
			return fmt.Errorf("find cache: %w", err)
		}
		if found == nil {
			return fmt.Errorf("find cache %q: %w", tag, os.ErrNotExist)
		}
		manifest = found.Digest.String()
	}
	d, err := digest.Parse(manifest)
	if err != nil {
		return fmt.Errorf("find cache %q: %w", manifest, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "blobs", d.Algorithm().String(), d.Encoded())); err != nil {
		return fmt.Errorf("find cache: %w", err)
	}
	return nil
}
