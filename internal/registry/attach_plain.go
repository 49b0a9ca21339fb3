package registry

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Some registries refuse a manifest whose artifact type or config type they do not know: GitLab's with 400
// "unknown media type" (its list is in docs-gitlab/supported-media-types.md of gitlab-org/container-registry), Quay,
// Nexus and pulp by lists of their own. All take images. So what they refuse is stored as an image: each document is
// the one file of a layer, and the layer's annotation says what it is. The config is that of BuildKit's attestations,
// which these registries know. The image is a referrer too, so a registry that lists referrers lists it.

// Annotations of the image that holds documents.
const (
	plainAnnotation = "dev.raybuild.documents" // of the manifest: the version of this form
	plainVersion    = "1"
	// of a layer: the artifact type and the media type of its document
	plainArtifact  = "dev.raybuild.document.artifact-type"
	plainMediaType = "dev.raybuild.document.media-type"
)

// plainFile is the document's name in its layer.
const plainFile = "document"

// unwanted tells whether a registry refuses a manifest for what it is, so that another form of it may be taken.
func unwanted(err error) bool {
	status := statusOf(err)
	return status >= 400 && status < 500 && status != http.StatusUnauthorized && !temporary(status) ||
		status == http.StatusNotImplemented
}

// plainImage is the image that holds documents, with its blobs.
func plainImage(subject v1.Descriptor, docs []Document) (manifestToPush, [][]byte, error) {
	type history struct {
		Created   time.Time `json:"created"`
		CreatedBy string    `json:"created_by"`
	}
	config := struct {
		Architecture string          `json:"architecture"`
		OS           string          `json:"os"`
		Config       struct{}        `json:"config"`
		RootFS       ocispecs.RootFS `json:"rootfs"`
		History      []history       `json:"history"`
	}{Architecture: "unknown", OS: "unknown", RootFS: ocispecs.RootFS{Type: "layers"}}
	manifest := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1,
		Annotations: map[string]string{plainAnnotation: plainVersion},
		Subject:     &v1.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size}}
	var blobs [][]byte
	for _, doc := range docs {
		layer, err := plainLayer(doc.Data)
		if err != nil {
			return manifestToPush{}, nil, err
		}
		d, err := describeBytes(layer, types.OCIUncompressedLayer)
		if err != nil {
			return manifestToPush{}, nil, err
		}
		d.Annotations = map[string]string{plainArtifact: doc.ArtifactType,
			plainMediaType: cmp.Or(doc.MediaType, doc.ArtifactType)}
		manifest.Layers, blobs = append(manifest.Layers, d), append(blobs, layer)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.Digest(d.Digest.String()))
		config.History = append(config.History, history{time.Unix(0, 0).UTC(), "raybuild: " + doc.ArtifactType})
	}
	data, err := json.Marshal(config)
	if err != nil {
		return manifestToPush{}, nil, err
	}
	if manifest.Config, err = describeBytes(data, types.OCIConfigJSON); err != nil {
		return manifestToPush{}, nil, err
	}
	blobs = append(blobs, data)
	if data, err = json.Marshal(manifest); err != nil {
		return manifestToPush{}, nil, err
	}
	at := ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageManifest,
		// what OCI says for a manifest without artifactType
		ArtifactType: string(types.OCIConfigJSON),
		Digest:       digest.FromBytes(data), Size: int64(len(data)), Annotations: manifest.Annotations}
	return manifestToPush{at, data}, blobs, nil
}

// plainLayer is a layer with one file.
func plainLayer(data []byte) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: plainFile, Mode: 0o644, Size: int64(len(data)),
		ModTime: time.Unix(0, 0)})
	if err == nil {
		_, err = w.Write(data)
	}
	return out.Bytes(), errors.Join(err, w.Close())
}

func describeBytes(data []byte, mediaType types.MediaType) (v1.Descriptor, error) {
	hash, err := v1.NewHash(digest.FromBytes(data).String())
	return v1.Descriptor{MediaType: mediaType, Digest: hash, Size: int64(len(data))}, err
}

// referPlain stores documents that the registry has refused as they are.
func (t *target) referPlain(ctx context.Context, subject v1.Descriptor, docs []Document) (manifestToPush, bool, error) {
	m, blobs, err := plainImage(subject, docs)
	if err != nil {
		return m, false, err
	}
	t.p.addBlobs(blobs...)
	if err := t.p.fill(ctx, t, false); err != nil {
		return m, false, err
	}
	answer, err := t.putManifest(ctx, m, m.Digest.String())
	return m, err == nil && answer.header.Get("OCI-Subject") != "", err
}

// mayBePlain tells whether a referrer may be an image that holds documents.
func mayBePlain(d v1.Descriptor) bool {
	return d.Annotations[plainAnnotation] != "" || d.ArtifactType == string(types.OCIConfigJSON)
}

// plainAttachments reads the documents of some types that an image holds.
func (c *Client) plainAttachments(ctx context.Context, repo name.Repository, d v1.Descriptor,
	artifactTypes []string) (map[string][]Attachment, error) {
	manifest, err := c.referrerManifest(ctx, repo, d)
	if err != nil {
		return nil, err
	}
	all := map[string][]Attachment{}
	for _, l := range manifest.Layers {
		kind := l.Annotations[plainArtifact]
		if !slices.Contains(artifactTypes, kind) || manifest.Annotations[plainAnnotation] != plainVersion {
			continue
		}
		layer, err := c.attachedBlob(ctx, repo, l)
		if err != nil {
			return nil, err
		}
		data, err := readPlainLayer(layer)
		if err != nil {
			return nil, fmt.Errorf("read %s of referrer %s: %w", kind, d.Digest, err)
		}
		all[kind] = append(all[kind], Attachment{Digest: digest.FromBytes(data),
			MediaType: l.Annotations[plainMediaType], Data: data})
	}
	return all, nil
}

// readPlainLayer reads the one file of a layer.
func readPlainLayer(layer []byte) ([]byte, error) {
	r := tar.NewReader(bytes.NewReader(layer))
	h, err := r.Next()
	if err != nil {
		return nil, fmt.Errorf("its layer is no archive: %w", err)
	}
	if h.Name != plainFile || h.Typeflag != tar.TypeReg {
		return nil, fmt.Errorf("its layer has %q instead of the file %q", clean(h.Name), plainFile)
	}
	if h.Size > maxAttachment { // of a sparse file
		return nil, fmt.Errorf("its document has %d bytes, more than the %d that are read", h.Size, maxAttachment)
	}
	return io.ReadAll(r)
}
