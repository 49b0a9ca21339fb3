package sources

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/llb"
)

// baseImages are images that builds begin with. Those whose registry has mirrors are given to the builder, which need
// not reach the registry, nor know its mirrors.
type baseImages struct {
	mu    sync.Mutex
	refs  map[digest.Digest]string  // of manifests: pinned references
	blobs map[digest.Digest]baseRef // of those manifests that were read
}

// baseRef is a blob of a base image.
type baseRef struct {
	ref  string
	size int64
}

// KnowBase makes a base image available to OpenImage, by the digest of its manifest, if its registry has mirrors.
func (s *Sources) KnowBase(ref string, manifest digest.Digest) {
	pinned, err := registry.Pin(ref, manifest.String())
	if err != nil || !s.registry.Mirrored(ref) {
		return
	}
	s.bases.mu.Lock()
	defer s.bases.mu.Unlock()
	if s.bases.refs == nil {
		s.bases.refs, s.bases.blobs = map[digest.Digest]string{}, map[digest.Digest]baseRef{}
	}
	s.bases.refs[manifest] = pinned
}

// HasImage implements llb.ImageSource: bundles have base images, and so have mirrors of registries.
func (s *Sources) HasImage(d digest.Digest) bool {
	if s == nil {
		return false
	}
	s.bases.mu.Lock()
	defer s.bases.mu.Unlock()
	return s.bases.refs[d] != "" || s.bundles.HasImage(d)
}

// OpenImage implements llb.ImageSource.
func (s *Sources) OpenImage(ctx context.Context, d digest.Digest) (llb.LayerReader, int64, error) {
	if r, size, err := s.bundles.OpenImage(ctx, d); !errors.Is(err, os.ErrNotExist) {
		return r, size, err
	}
	s.bases.mu.Lock()
	ref, blob := s.bases.refs[d], s.bases.blobs[d]
	s.bases.mu.Unlock()
	if ref != "" {
		data, err := s.readBase(ctx, ref)
		return inMemory{bytes.NewReader(data)}, int64(len(data)), err
	}
	if blob.ref == "" {
		return nil, 0, fmt.Errorf("open blob %s of a base image: %w", d, os.ErrNotExist)
	}
	return &streamedBlob{open: func(offset int64) (io.ReadCloser, error) {
		return s.registry.OpenBlob(ctx, blob.ref, d, offset)
	}}, blob.size, nil
}

// readBase reads the manifest of a base image, and notes its blobs.
func (s *Sources) readBase(ctx context.Context, ref string) ([]byte, error) {
	found, ok, err := s.registry.Manifest(ctx, ref)
	if err == nil && !ok {
		err = fmt.Errorf("read manifest %q: %w", ref, os.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	var m ocispecs.Manifest
	if err := json.Unmarshal(found.Data, &m); err != nil {
		return nil, fmt.Errorf("read manifest %q: %w", ref, err)
	}
	s.bases.mu.Lock()
	defer s.bases.mu.Unlock()
	for _, d := range append(m.Layers, m.Config) {
		s.bases.blobs[d.Digest] = baseRef{ref, d.Size}
	}
	return found.Data, nil
}

// inMemory is a blob that was read.
type inMemory struct{ *bytes.Reader }

// Close implements io.Closer.
func (inMemory) Close() error { return nil }

// streamedBlob reads a blob of a registry. What is read from its beginning to its end is asked for once.
type streamedBlob struct {
	open func(offset int64) (io.ReadCloser, error)

	mu   sync.Mutex
	body io.ReadCloser
	next int64 // where body is
}

// streamTries is how often a read is begun: a connection may end.
const streamTries = 3

// ReadAt implements io.ReaderAt.
func (b *streamedBlob) ReadAt(p []byte, off int64) (n int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range streamTries {
		if b.body == nil || b.next != off+int64(n) {
			b.end()
			if b.body, err = b.open(off + int64(n)); err != nil {
				return n, err
			}
			b.next = off + int64(n)
		}
		var more int
		more, err = io.ReadFull(b.body, p[n:])
		n += more
		b.next += int64(more)
		if err == nil {
			return n, nil
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && n > 0 && b.ended() {
			return n, io.EOF
		}
		b.end()
	}
	return n, err
}

// ended tells whether the body has no more bytes.
func (b *streamedBlob) ended() bool {
	n, err := b.body.Read(make([]byte, 1))
	return n == 0 && errors.Is(err, io.EOF)
}

func (b *streamedBlob) end() {
	if b.body != nil {
		_ = b.body.Close() // it was only read
		b.body = nil
	}
}

// Close implements io.Closer.
func (b *streamedBlob) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.end()
	return nil
}
