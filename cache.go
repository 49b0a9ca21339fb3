package raybuild

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/raybuild/raybuild/internal/builder"
	"github.com/raybuild/raybuild/internal/sources"
)

// The parts of raybuild's own directory, Options.Home.
const (
	engineDir    = builder.EngineDir
	artifactsDir = "artifacts"
	locksDir     = "locks"
	testedDir    = "tested" // a file for each test that an image has passed which was built here
	// RegistryDir is where "raybuild registry serve" keeps images unless told otherwise.
	RegistryDir = "registry"
)

// CachePart is one part of raybuild's own directory. Its JSON is that of "raybuild cache du --json".
type CachePart struct {
	Part  string `json:"part"` // engine, artifacts, locks, tested or registry
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"` // on disk
	What  string `json:"what"`  // in words
}

// CacheParts measures what raybuild keeps on this machine.
func CacheParts(o Options) ([]CachePart, error) {
	home, err := o.homeDir()
	if err != nil {
		return nil, err
	}
	var all []CachePart
	for _, part := range []struct{ name, what string }{
		{engineDir, "the embedded engine's build cache"},
		{artifactsDir, "fetched packages, wheels and installers"},
		{locksDir, "locks of recipes with --set"},
		{testedDir, "which tests the images that were built here have passed"},
		{RegistryDir, "images of raybuild registry serve; prune leaves them alone"},
	} {
		dir := filepath.Join(home, part.name)
		bytes, err := diskUse(dir)
		if err != nil {
			return nil, fmt.Errorf("measure %q: %w", dir, err)
		}
		all = append(all, CachePart{part.name, dir, bytes, part.what})
	}
	return all, nil
}

// PruneOptions say what [PruneCache] leaves. The zero value keeps the embedded engine's build cache, which has a limit
// of its own, and no artifact.
type PruneOptions struct {
	// Keep is how many bytes of artifacts stay: those that were used last.
	Keep int64
	// Engine ends the embedded engine, and removes its build cache, too.
	Engine bool
}

// PruneCache removes what raybuild keeps on this machine, and tells how many bytes that freed. Nothing is lost: what
// is needed again is fetched, built or tested again. Images stay.
func PruneCache(ctx context.Context, o Options, p PruneOptions) (freed int64, err error) {
	defer public(ctx, &err)
	home, err := o.homeDir()
	if err != nil {
		return 0, err
	}
	before, err := CacheParts(o)
	if err != nil {
		return 0, err
	}
	if err := sources.Prune(ctx, filepath.Join(home, artifactsDir), p.Keep); err != nil {
		return 0, fmt.Errorf("prune artifacts: %w", err)
	}
	for _, part := range []string{locksDir, testedDir} {
		if err := os.RemoveAll(filepath.Join(home, part)); err != nil {
			return 0, fmt.Errorf("prune %s: %w", part, err)
		}
	}
	if p.Engine {
		if err := builder.RemoveEngine(ctx, home); err != nil {
			return 0, err
		}
	}
	after, err := CacheParts(o)
	if err != nil {
		return 0, err
	}
	for i := range before {
		freed += before[i].Bytes - after[i].Bytes
	}
	return max(0, freed), nil
}

// diskUse is the space that the files below dir take on disk; each of several links to a file
// counts once. What vanishes while it is read, or belongs to another user of a rootless engine, is
// left out.
func diskUse(dir string) (int64, error) {
	seen, sum := map[fileID]bool{}, int64(0)
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return nil //nolint:nilerr // it vanished
		}
		id, taken := onDisk(info)
		if id == (fileID{}) || !seen[id] {
			seen[id] = true
			sum += taken
		}
		return nil
	})
	return sum, err
}

// fileID tells files apart that may have several names; zero where the system does not say.
type fileID struct{ device, file uint64 }
