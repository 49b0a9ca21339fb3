package raybuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// oldLayers are layers of wheels that images in registries have. A builder that reads none of their
// files gets only their digests.
type oldLayers struct {
	read  func(ref string, d digest.Digest, offset int64) (io.ReadCloser, error)
	byKey map[digest.Digest]llb.StoredLayer
	image map[digest.Digest]string // by the digest of a layer, an image that has it
}

// findOld finds the graph's layers of wheels in images, as their records tell.
func (p *Project) findOld(ctx context.Context, graph *layers.Graph, images []*pushedImage) (*oldLayers, error) {
	old := &oldLayers{byKey: map[digest.Digest]llb.StoredLayer{}, image: map[digest.Digest]string{}}
	old.read = func(ref string, d digest.Digest, offset int64) (io.ReadCloser, error) {
		return p.registry.OpenBlob(ctx, ref, d, offset)
	}
	for _, image := range graph.Images {
		var given, keys []digest.Digest
		var stages []llb.Stage
		for _, l := range image.Layers {
			if key, ok := l.Stage.Given(); ok {
				given, stages = append(given, key), append(stages, l.Stage)
			}
		}
		keys, err := llb.Keys(ctx, image.Platform, stages...)
		if err != nil {
			return nil, err
		}
		for _, from := range images {
			for i, key := range keys {
				if l, ok := from.layerOf(image.Platform, key); ok && old.byKey[given[i]].Digest == "" {
					old.byKey[given[i]], old.image[l.Digest] = l, from.Ref
				}
			}
		}
	}
	return old, nil
}

// layerOf is the layer whose operations have a digest (layers.LayerRecord.Key).
func (c *pushedImage) layerOf(p llb.Platform, key digest.Digest) (llb.StoredLayer, bool) {
	if !usable(c) || c.record.Linear || len(c.record.Platforms) != 1 ||
		c.record.Platforms[0].Platform != llb.FormatPlatform(p) {
		return llb.StoredLayer{}, false
	}
	at, have := 0, c.Platforms[0].Layers
	for _, l := range c.record.Platforms[0].Layers {
		if l.Key == key && l.Count == 1 && at < len(have) && have[at].DiffID != "" {
			return llb.StoredLayer{Descriptor: descriptor(have[at]), DiffID: have[at].DiffID}, true
		}
		at += l.Count
	}
	return llb.StoredLayer{}, false
}

// open reads a layer's blob from its registry.
func (o *oldLayers) open(d digest.Digest) (llb.LayerReader, error) {
	ref, ok := o.image[d]
	if !ok {
		return nil, fmt.Errorf("layer %s: %w", d, os.ErrNotExist)
	}
	return &remoteLayer{old: o, ref: ref, digest: d}, nil
}

// remoteLayer reads a blob of a registry. It is read from its start to its end, mostly.
type remoteLayer struct {
	old    *oldLayers
	ref    string
	digest digest.Digest

	mu sync.Mutex
	r  io.ReadCloser
	at int64
}

// ReadAt implements io.ReaderAt.
func (l *remoteLayer) ReadAt(p []byte, offset int64) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.r == nil || l.at != offset {
		if err := l.close(); err != nil {
			return 0, err
		}
		r, err := l.old.read(l.ref, l.digest, offset)
		if err != nil {
			return 0, err
		}
		l.r, l.at = r, offset
	}
	n, err := io.ReadFull(l.r, p)
	l.at += int64(n)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

// Close implements io.Closer.
func (l *remoteLayer) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.close()
}

func (l *remoteLayer) close() error {
	if l.r == nil {
		return nil
	}
	r := l.r
	l.r = nil
	return r.Close()
}
