package bundle

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Set is bundles, the first ones first. The zero value has nothing.
type Set []*Bundle

// String names the bundles, for messages: `bundle "a"`.
func (s Set) String() string {
	var names []string
	for _, b := range s {
		names = append(names, strconv.Quote(b.name))
	}
	if len(s) == 1 {
		return "bundle " + names[0]
	}
	return "the bundles " + strings.Join(names, ", ")
}

// Has tells whether a bundle has an artifact.
func (s Set) Has(d digest.Digest) bool {
	return slices.ContainsFunc(s, func(b *Bundle) bool { _, ok := b.files[d]; return ok })
}

// Open opens an artifact. Its reader fails at its end if the bytes are not those of the digest. The error is
// os.ErrNotExist if no bundle has it.
func (s Set) Open(ctx context.Context, d digest.Digest) (io.ReadCloser, error) {
	for _, b := range s {
		if _, ok := b.files[d]; ok {
			return b.openFile(ctx, d)
		}
	}
	return nil, fmt.Errorf("open artifact %s: %w", d, os.ErrNotExist)
}

// HasImage tells whether a bundle has the base image whose manifest d is.
func (s Set) HasImage(d digest.Digest) bool {
	for _, b := range s {
		for _, i := range b.images {
			if i.Role == RoleBase && i.Manifest.Digest == d {
				return true
			}
		}
	}
	return false
}

// OpenImage opens a blob of an image, and compares it with its digest first.
func (s Set) OpenImage(ctx context.Context, d digest.Digest) (ReaderAt, int64, error) {
	for _, b := range s {
		if _, ok := b.blobs[d]; ok {
			return b.openImage(ctx, d)
		}
	}
	return nil, 0, fmt.Errorf("open blob %s: %w", d, os.ErrNotExist)
}

// Bases are the base images, by the references that the lock has for them.
func (s Set) Bases() Images { return Images{set: s, role: RoleBase, full: true} }

// Finished are the finished images, by their names without the registry: "team/ray".
func (s Set) Finished() Images { return Images{set: s, role: RoleImage} }

// Images are some images of bundles, as a registry has them.
type Images struct {
	set  Set
	role string
	full bool // repositories have their registry: "docker.io/library/ubuntu"
}

// found is an image of a repository.
type found struct {
	*Bundle
	Image
	tag string
}

// part tells whether a blob is one of the image.
func (f found) part(d digest.Digest) bool { return f.parts[f.Manifest.Digest][d] }

// in are the images of a repository.
func (v Images) in(repository string) (all []found) {
	for _, b := range v.set {
		for _, i := range b.images {
			named, err := reference.ParseNormalizedNamed(i.Ref)
			if err != nil || i.Role != v.role || v.name(named) != repository {
				continue
			}
			f := found{Bundle: b, Image: i}
			if tagged, ok := named.(reference.Tagged); ok {
				f.tag = tagged.Tag()
			}
			all = append(all, f)
		}
	}
	return all
}

func (v Images) name(named reference.Named) string {
	if v.full {
		return named.Name()
	}
	return reference.Path(named)
}

// Repositories lists the repositories, and the tags of each, sorted.
func (v Images) Repositories() map[string][]string {
	all := map[string][]string{}
	for _, b := range v.set {
		for _, i := range b.images {
			named, err := reference.ParseNormalizedNamed(i.Ref)
			if err != nil || i.Role != v.role {
				continue
			}
			name := v.name(named)
			tags := all[name]
			if tagged, ok := named.(reference.Tagged); ok && !slices.Contains(tags, tagged.Tag()) {
				tags = append(tags, tagged.Tag())
			}
			slices.Sort(tags)
			all[name] = tags
		}
	}
	return all
}

// Manifest gives the manifest or index that target, a tag or a digest, names in a repository. false: there is none. If
// the images of several platforms have one tag, it gives an index of them.
func (v Images) Manifest(repository, target string) (ocispecs.Descriptor, []byte, bool) {
	var tagged []ocispecs.Descriptor
	for _, f := range v.in(repository) {
		if m, ok := f.blobs[digest.Digest(target)]; ok && m.doc != nil && f.part(m.Digest) {
			return m.Descriptor, m.doc, true
		}
		if f.tag == target && !slices.ContainsFunc(tagged, func(d ocispecs.Descriptor) bool {
			return d.Digest == f.Manifest.Digest
		}) {
			d := f.blobs[f.Manifest.Digest].Descriptor
			tagged = append(tagged, ocispecs.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size,
				Platform: f.Manifest.Platform})
		}
	}
	switch len(tagged) {
	case 0:
		return ocispecs.Descriptor{}, nil, false
	case 1:
		return v.Manifest(repository, tagged[0].Digest.String())
	}
	data, err := json.Marshal(ocispecs.Index{Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispecs.MediaTypeImageIndex, Manifests: tagged})
	return ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageIndex, Digest: digest.FromBytes(data),
		Size: int64(len(data))}, data, err == nil
}

// Blob opens a blob of a repository's images, and compares it with its digest first. The error is os.ErrNotExist if
// it has none such.
func (v Images) Blob(ctx context.Context, repository string, d digest.Digest) (io.ReadSeekCloser, int64, error) {
	for _, f := range v.in(repository) {
		if f.part(d) {
			r, size, err := f.openImage(ctx, d)
			if err != nil {
				return nil, 0, err
			}
			return section{io.NewSectionReader(r, 0, size), r}, size, nil
		}
	}
	return nil, 0, fmt.Errorf("open blob %s of %q: %w", d, repository, os.ErrNotExist)
}

type section struct {
	*io.SectionReader
	io.Closer
}

// Referrers lists what is attached to an image of a repository.
func (v Images) Referrers(repository string, subject digest.Digest) []ocispecs.Descriptor {
	all := []ocispecs.Descriptor{}
	for _, f := range v.in(repository) {
		for _, d := range f.Attached {
			var m ocispecs.Manifest
			if json.Unmarshal(f.blobs[d.Digest].doc, &m) != nil || m.Subject == nil || m.Subject.Digest != subject {
				continue
			}
			d.Annotations = m.Annotations
			all = append(all, d)
		}
	}
	return all
}
