package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// ociType is the OCI name of one of Docker's media types, whose content is the same.
func ociType(mediaType string) string {
	switch types.MediaType(mediaType) {
	case types.DockerConfigJSON:
		return ocispecs.MediaTypeImageConfig
	case types.DockerLayer:
		return ocispecs.MediaTypeImageLayerGzip
	case types.DockerUncompressedLayer:
		return ocispecs.MediaTypeImageLayer
	}
	return mediaType
}

// Annotate stores a copy of the image from (a tag or a digest, of one platform) with other annotations,
// under the tag to in the same repository. Layers and config stay as they are. A manifest of Docker's own
// type has no annotations, so it becomes an OCI manifest. Annotate returns the bytes of the new manifest.
func (c *Client) Annotate(ctx context.Context, from, to string, annotations map[string]string) ([]byte, error) {
	source, _, err := c.parse(from)
	if err != nil {
		return nil, err
	}
	target, _, err := c.parse(to)
	if err != nil {
		return nil, err
	}
	desc, err := c.puller.Get(ctx, source)
	if err != nil {
		return nil, c.fail("read", from, source.Context().RegistryStr(), err)
	}
	data, err := annotate(desc.Manifest, annotations)
	if err != nil {
		return nil, fmt.Errorf("annotate %q: %w", from, err)
	}
	made := ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageManifest, Digest: digest.FromBytes(data),
		Size: int64(len(data))}
	if _, err := c.target(target.Context()).putManifest(ctx, manifestToPush{made, data},
		target.Identifier()); err != nil {
		return nil, c.fail("annotate", to, target.Context().RegistryStr(), err)
	}
	return data, nil
}

func annotate(manifest []byte, annotations map[string]string) ([]byte, error) {
	var m ocispecs.Manifest
	if err := json.Unmarshal(manifest, &m); err != nil {
		return nil, fmt.Errorf("read its manifest: %w", err)
	}
	if m.Config.Digest == "" {
		return nil, fmt.Errorf("it is no image of one platform (%s)", m.MediaType)
	}
	m.Versioned, m.MediaType = specs.Versioned{SchemaVersion: 2}, ocispecs.MediaTypeImageManifest
	all := []*ocispecs.Descriptor{&m.Config}
	for i := range m.Layers {
		all = append(all, &m.Layers[i])
	}
	for _, d := range all {
		d.MediaType = ociType(d.MediaType)
	}
	if m.Annotations == nil {
		m.Annotations = map[string]string{}
	}
	maps.Copy(m.Annotations, annotations)
	return json.MarshalIndent(m, "", "  ")
}
