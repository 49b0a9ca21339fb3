package registry

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// listByTag names referrers, all in one step, in the tag that stands for the referrers API where a
// registry has none (OCI distribution specification 1.1, "Referrers Tag Schema"). A registry that
// has the API and only does not say so is left alone.
func (t *target) listByTag(ctx context.Context, subject v1.Hash, referrers []manifestToPush) error {
	tag := t.repo.Tag(strings.Replace(subject.String(), ":", "-", 1))
	var (
		lists  bool
		index  *v1.IndexManifest
		failed error // to read the tag, which matters only where it is needed
		read   sync.WaitGroup
	)
	reading, stop := context.WithCancel(ctx)
	defer read.Wait()
	defer stop()
	read.Go(func() { index, failed = t.referrersAt(reading, tag) })
	err := t.retry(ctx, func(ctx context.Context) (err error) {
		lists, err = t.listsReferrers(ctx, subject)
		return err
	})
	if err != nil || lists {
		return err
	}
	if read.Wait(); failed != nil {
		return failed
	}
	before := len(index.Manifests)
	for _, m := range referrers {
		d, err := v1.NewHash(m.Digest.String())
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(index.Manifests, func(have v1.Descriptor) bool { return have.Digest == d }) {
			index.Manifests = append(index.Manifests, v1.Descriptor{MediaType: types.MediaType(m.MediaType),
				ArtifactType: m.ArtifactType, Digest: d, Size: m.Size, Annotations: m.Annotations})
		}
	}
	if len(index.Manifests) == before {
		return nil
	}
	slices.SortFunc(index.Manifests, func(a, b v1.Descriptor) int {
		return cmp.Compare(a.Digest.String(), b.Digest.String())
	})
	data, err := json.Marshal(index)
	if err != nil {
		return err
	}
	list := ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageIndex, Digest: digest.FromBytes(data),
		Size: int64(len(data))}
	_, err = t.putManifest(ctx, manifestToPush{list, data}, tag.TagStr())
	return err
}

// listsReferrers tells whether the registry has the referrers API.
func (t *target) listsReferrers(ctx context.Context, subject v1.Hash) (bool, error) {
	said, err := t.ask(ctx, request{method: http.MethodGet, url: t.url("/referrers/" + subject.String()),
		header: http.Header{"Accept": {ocispecs.MediaTypeImageIndex}},
		want:   []int{http.StatusOK, http.StatusNotFound, http.StatusBadRequest, http.StatusNotAcceptable},
		unread: true})
	if err != nil {
		return false, err
	}
	return said.status == http.StatusOK && said.header.Get("Content-Type") == ocispecs.MediaTypeImageIndex, nil
}

// referrersAt is the index under a fallback tag, an empty one where there is no such tag.
func (t *target) referrersAt(ctx context.Context, tag name.Tag) (*v1.IndexManifest, error) {
	desc, err := t.p.c.puller.Get(ctx, tag)
	if statusOf(err) == http.StatusNotFound {
		return &v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}, nil
	}
	if err != nil {
		return nil, err
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(desc.Manifest))
	if err != nil {
		return nil, fmt.Errorf("read the list of referrers at tag %s: %w", tag.TagStr(), err)
	}
	if index.MediaType != types.OCIImageIndex {
		return nil, fmt.Errorf("the tag %s must be an OCI index of referrers, but it is %q: remove it", tag.TagStr(),
			index.MediaType)
	}
	return index, nil
}
