package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// image is what is pushed, as a directory in the OCI image layout.
type image struct {
	dir   string
	root  ocispecs.Descriptor
	large ocispecs.Descriptor // its larger layer
	bytes int64               // of its layers and config
}

// readImage reads a layout that holds one image.
func readImage(dir string) (*image, error) {
	var index ocispecs.Index
	if err := readJSON(filepath.Join(dir, "index.json"), &index); err != nil {
		return nil, err
	}
	if len(index.Manifests) != 1 {
		return nil, fmt.Errorf("read %q: it holds %d images, not one", dir, len(index.Manifests))
	}
	m := &image{dir: dir, root: index.Manifests[0]}
	var manifest ocispecs.Manifest
	if err := readJSON(m.file(m.root), &manifest); err != nil {
		return nil, err
	}
	m.bytes = manifest.Config.Size
	for _, l := range manifest.Layers {
		m.bytes += l.Size
		if l.Size > m.large.Size {
			m.large = l
		}
	}
	return m, nil
}

func readJSON(file string, into any) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("read %q: %w", file, err)
	}
	return nil
}

func (m *image) file(d ocispecs.Descriptor) string {
	return filepath.Join(m.dir, "blobs", d.Digest.Algorithm().String(), d.Digest.Encoded())
}

// open is the image as raybuild's pusher reads it.
func (m *image) open(_ context.Context, d ocispecs.Descriptor, offset int64) (io.ReadCloser, error) {
	f, err := os.Open(m.file(d))
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
