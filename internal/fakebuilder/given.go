package fakebuilder

import (
	"bytes"
	"context"
	"encoding/json"
	"io"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	sessioncontent "github.com/moby/buildkit/session/content"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// given is the filesystem of an image that the caller's session has.
func (s *solving) given(ctx context.Context, root string) (files, error) {
	id := <-s.session
	s.session <- id
	caller, err := s.b.sessions.Get(ctx, id, false)
	if err != nil {
		return nil, err
	}
	store := sessioncontent.NewCallerStore(caller, "oci:raybuild")
	read := func(d digest.Digest) ([]byte, error) {
		info, err := store.Info(ctx, d)
		if err != nil {
			return nil, err
		}
		return content.ReadBlob(ctx, store, ocispecs.Descriptor{Digest: d, Size: info.Size})
	}
	data, err := read(digest.Digest(root))
	if err != nil {
		return nil, err
	}
	var m ocispecs.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, err
	}
	var all files
	for _, d := range m.Layers {
		if data, err = read(d.Digest); err != nil {
			return nil, err
		}
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(data)), nil
		}, tarball.WithMediaType(types.MediaType(d.MediaType)))
		if err != nil {
			return nil, err
		}
		one, err := pulled(l)
		if err != nil {
			return nil, err
		}
		if err := content.WriteBlob(ctx, s.b.store, d.Digest.String(), bytes.NewReader(data), d); err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}
