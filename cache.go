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
	layersDir    = "layers"
	basesDir     = "bases"  // one file for each layer of a base that was compared with one as eStargz
	testedDir    = "tested" // one file for each test that an image built here has passed
	factsDir     = "facts"  // one file for each layer and artifact that a bill of materials was made of
	// RegistryDir is the default directory of "raybuild registry serve".
	RegistryDir = "registry"
)

// CachePart is one part of raybuild's own directory. Its JSON is that of "raybuild cache du --json".
type CachePart struct {
	Part  string `json:"part"` // engine, artifacts, layers, uv, locks, bases, tested, facts or registry
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"` // on disk
	What  string `json:"what"`  // what the part contains, in words
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
		{layersDir, "layers that were made of wheels"},
		{uvDir, "uv, which resolves Python packages, and what it keeps"},
		{locksDir, "locks of recipes with --set"},
		{basesDir, "which digests the layers of bases have as eStargz"},
		{testedDir, "which tests the images that were built here have passed"},
		{factsDir, "what layers and packages say of themselves, for bills of materials"},
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

// PruneOptions say what [PruneCache] keeps. The zero value removes all artifacts. It keeps the
// embedded engine's build cache, because that cache has its own limit.
type PruneOptions struct {
	// Keep is how many bytes of artifacts stay. Those that were used last stay.
	Keep int64
	// Engine stops the embedded engine and removes its build cache too.
	Engine bool
}

// PruneCache removes files that raybuild keeps on this machine, and returns how many bytes this
// freed. Nothing is lost: raybuild fetches, builds or tests again what it needs. Images stay.
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
	for _, part := range []string{layersDir, uvDir, locksDir, basesDir, testedDir, factsDir} {
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

// diskUse returns the space that the files below dir take on disk, in bytes. A file with several
// links counts once. Files that vanish during the walk, or that this user may not read (files of a
// rootless engine), are not counted.
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

// fileID identifies a file that may have several names. It is zero if the system does not tell.
type fileID struct{ device, file uint64 }
