package layers

import (
	"archive/zip"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// localWheels are the recipe's own wheels, found by its patterns.
func localWheels(dir string, patterns []string) ([]Artifact, error) {
	var out []Artifact
	for _, pattern := range patterns {
		found, err := fs.Glob(os.DirFS(dir), path.Clean(pattern))
		if err != nil {
			return nil, fmt.Errorf("find wheels %q: %w", pattern, err)
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("find wheels %q: there is none in %s; build it first, or drop it from pip.wheels",
				pattern, dir)
		}
		for _, file := range found {
			name, version, ok := wheelFile(file)
			if !ok {
				return nil, fmt.Errorf("find wheels %q: %s is not named as a wheel "+
					"(name-version-python-abi-platform.whl)", pattern, file)
			}
			digests, err := fileDigests(dir, []string{file})
			if err != nil {
				return nil, err
			}
			size, err := wheelSize(filepath.Join(dir, filepath.FromSlash(file)))
			if err != nil {
				return nil, fmt.Errorf("find wheels %q: %s is no wheel: %w; build it again", pattern, file, err)
			}
			out = append(out, Artifact{
				Kind: KindWheel, Name: name, Version: version, Origin: originLocal, Path: file,
				SHA256: digests[0].Encoded(), Size: size,
			})
		}
	}
	sortArtifacts(out)
	return out, nil
}

// wheelSize is the size of a wheel, which is at least an archive that can be read.
func wheelSize(file string) (int64, error) {
	z, err := zip.OpenReader(file)
	if err != nil {
		return 0, err
	}
	if err := z.Close(); err != nil {
		return 0, err
	}
	info, err := os.Stat(file)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
