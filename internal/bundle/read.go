package bundle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Bundle is an opened bundle. It is safe for concurrent use.
type Bundle struct {
	name   string
	from   place
	digest digest.Digest // of its index
	files  map[digest.Digest]File
	needs  []string
	images []Image
	blobs  map[digest.Digest]blob                   // of images: manifests, configs and layers
	parts  map[digest.Digest]map[digest.Digest]bool // blobs of each image, by its manifest's digest

	mu   sync.Mutex
	good map[digest.Digest]bool // blobs that were compared with their digest
}

// blob is a blob of an image.
type blob struct {
	ocispecs.Descriptor
	name string // for messages
	doc  []byte // of a manifest or an index
}

// place is where the blobs of a bundle are.
type place interface {
	// open gives the bytes of a blob, which are not checked. The error is os.ErrNotExist if it is not there.
	open(ctx context.Context, d digest.Digest) (io.ReadCloser, error)
	// document does the same for a manifest or an index.
	document(ctx context.Context, d digest.Digest) (io.ReadCloser, error)
	// lacks tells that the place surely lacks a blob of this size. It may ask nobody.
	lacks(d digest.Digest, size int64) bool
}

// directory is a bundle in a directory.
type directory string

func (d directory) path(of digest.Digest) string {
	return filepath.Join(string(d), "blobs", "sha256", of.Encoded())
}

func (d directory) open(_ context.Context, of digest.Digest) (io.ReadCloser, error) {
	return os.Open(d.path(of))
}

func (d directory) document(ctx context.Context, of digest.Digest) (io.ReadCloser, error) {
	return d.open(ctx, of)
}

func (d directory) lacks(of digest.Digest, size int64) bool {
	st, err := os.Stat(d.path(of))
	return err != nil || !st.Mode().IsRegular() || size > 0 && st.Size() != size
}

// Open opens the bundle in a directory. It reads all manifests, and looks whether the other blobs are there.
func Open(ctx context.Context, dir string) (*Bundle, error) {
	root, err := rootOf(dir)
	if err != nil {
		return nil, fmt.Errorf("open bundle %q: %w", dir, err)
	}
	return load(ctx, dir, directory(dir), root)
}

// errNoBundle says that a directory holds no bundle.
var errNoBundle = errors.New("it is no bundle: raybuild bundle -o DIR makes one, where there is a network")

// rootOf reads index.json of a layout, and gives the descriptor of the bundle's index.
func rootOf(dir string) (root ocispecs.Descriptor, err error) {
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		return root, errors.Join(errNoBundle, err)
	}
	data, err := readSmall(filepath.Join(dir, ocispecs.ImageLayoutFile))
	var layout ocispecs.ImageLayout
	if err != nil || json.Unmarshal(data, &layout) != nil || layout.Version != ocispecs.ImageLayoutVersion {
		return root, errNoBundle
	}
	data, err = readSmall(filepath.Join(dir, ocispecs.ImageIndexFile))
	if errors.Is(err, os.ErrNotExist) {
		return root, errors.New("it is not complete: run raybuild bundle again, which goes on where it was")
	}
	if err != nil {
		return root, err
	}
	var index ocispecs.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return root, fmt.Errorf("read %s: %w", ocispecs.ImageIndexFile, err)
	}
	at := slices.IndexFunc(index.Manifests, func(d ocispecs.Descriptor) bool {
		return d.ArtifactType == IndexType && d.Annotations[ocispecs.AnnotationRefName] == refName
	})
	if at < 0 {
		return root, errNoBundle
	}
	return index.Manifests[at], nil
}

func readSmall(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxDocument))
	return data, errors.Join(err, f.Close())
}

// load reads a bundle whose index is root.
func load(ctx context.Context, name string, from place, root ocispecs.Descriptor) (*Bundle, error) {
	b := &Bundle{name: name, from: from, digest: root.Digest, files: map[digest.Digest]File{},
		blobs: map[digest.Digest]blob{}, parts: map[digest.Digest]map[digest.Digest]bool{},
		good: map[digest.Digest]bool{}}
	if err := b.read(ctx, root); err != nil {
		return nil, fmt.Errorf("open bundle %q: %w", name, err)
	}
	return b, nil
}

func (b *Bundle) read(ctx context.Context, root ocispecs.Descriptor) error {
	data, err := b.document(ctx, root, "the bundle's index")
	if err != nil {
		return err
	}
	var index ocispecs.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return fmt.Errorf("read the bundle's index: %w", err)
	}
	if index.ArtifactType != IndexType {
		return errNoBundle
	}
	var attached []ocispecs.Descriptor
	for _, d := range index.Manifests {
		switch role := d.Annotations[RoleAnnotation]; {
		case d.ArtifactType == FilesType:
			err = b.readFiles(ctx, d)
		case role == RoleBase || role == RoleImage:
			b.images = append(b.images, Image{Ref: d.Annotations[ImageAnnotation], Role: role, Manifest: d})
			b.parts[d.Digest] = map[digest.Digest]bool{}
			err = b.walk(ctx, d, b.parts[d.Digest], d.Annotations[ImageAnnotation])
		default:
			attached = append(attached, d)
		}
		if err != nil {
			return err
		}
	}
	for _, d := range attached {
		if err := b.attach(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// readFiles reads the list of recipe, lock and artifacts.
func (b *Bundle) readFiles(ctx context.Context, d ocispecs.Descriptor) error {
	data, err := b.document(ctx, d, "the list of files")
	if err != nil {
		return err
	}
	var m ocispecs.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return fmt.Errorf("read the list of files: %w", err)
	}
	if needs := m.Annotations[NeedsAnnotation]; needs != "" {
		b.needs = strings.Split(needs, "\n")
	}
	for _, l := range m.Layers {
		f := File{Name: l.Annotations[ocispecs.AnnotationTitle], URL: l.Annotations[URLAnnotation], Digest: l.Digest,
			Size: l.Size}
		if err := b.present(l, f.Name); err != nil {
			return err
		}
		b.files[l.Digest] = f
	}
	return nil
}

// present checks a descriptor, and that the place does not lack its blob.
func (b *Bundle) present(d ocispecs.Descriptor, name string) error {
	if err := d.Digest.Validate(); err != nil || d.Digest.Algorithm() != digest.SHA256 || d.Size < 0 {
		return fmt.Errorf("read digest %q of %q: want sha256, and a size", d.Digest, name)
	}
	if b.from.lacks(d.Digest, d.Size) {
		return &DamagedError{Bundle: b.name, Name: name, Digest: d.Digest}
	}
	return nil
}

// walk notes all blobs of an image in parts.
func (b *Bundle) walk(ctx context.Context, d ocispecs.Descriptor, parts map[digest.Digest]bool, name string) error {
	if parts[d.Digest] {
		return nil
	}
	data, err := b.document(ctx, d, "manifest of "+name)
	if err != nil {
		return err
	}
	var m struct {
		MediaType string                `json:"mediaType"`
		Manifests []ocispecs.Descriptor `json:"manifests"`
		Config    *ocispecs.Descriptor  `json:"config"`
		Layers    []ocispecs.Descriptor `json:"layers"`
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return fmt.Errorf("read manifest %s of %q: %w", d.Digest, name, err)
	}
	if d.MediaType == "" {
		d.MediaType = m.MediaType
	}
	d.Size = int64(len(data))
	b.blobs[d.Digest], parts[d.Digest] = blob{Descriptor: d, name: "manifest of " + name, doc: data}, true
	for _, child := range m.Manifests {
		if err := b.walk(ctx, child, parts, name); err != nil {
			return err
		}
	}
	if m.Config != nil {
		m.Layers = append(m.Layers, *m.Config)
	}
	for _, l := range m.Layers {
		if err := b.present(l, "layer of "+name); err != nil {
			return err
		}
		parts[l.Digest] = true
		if _, known := b.blobs[l.Digest]; !known {
			b.blobs[l.Digest] = blob{Descriptor: l, name: "layer of " + name}
		}
	}
	return nil
}

// attach notes a manifest that is attached to images, or to images of their indexes.
func (b *Bundle) attach(ctx context.Context, d ocispecs.Descriptor) error {
	data, err := b.document(ctx, d, "what is attached to an image")
	if err != nil {
		return err
	}
	var m ocispecs.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return fmt.Errorf("read manifest %s: %w", d.Digest, err)
	}
	if m.Subject == nil {
		return nil // of a later version of the format
	}
	for i := range b.images {
		parts := b.parts[b.images[i].Manifest.Digest]
		if !parts[m.Subject.Digest] {
			continue
		}
		b.images[i].Attached = append(b.images[i].Attached, d)
		if err := b.walk(ctx, d, parts, b.images[i].Ref); err != nil {
			return err
		}
	}
	return nil
}

// document reads a manifest or an index, and checks it.
func (b *Bundle) document(ctx context.Context, d ocispecs.Descriptor, name string) ([]byte, error) {
	if known, ok := b.blobs[d.Digest]; ok && known.doc != nil {
		return known.doc, nil
	}
	if err := b.present(ocispecs.Descriptor{Digest: d.Digest, Size: d.Size}, name); err != nil {
		return nil, err
	}
	r, err := b.from.document(ctx, d.Digest)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	data, err := io.ReadAll(io.LimitReader(r, maxDocument))
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if got := digest.FromBytes(data); got != d.Digest {
		return nil, &DamagedError{Bundle: b.name, Name: name, Digest: d.Digest, Got: got}
	}
	return data, nil
}

// Name is the directory or the reference by which the bundle was opened.
func (b *Bundle) Name() string { return b.name }

// Digest is that of the bundle's index. It names all of its content.
func (b *Bundle) Digest() digest.Digest { return b.digest }

// Needs are the paths of local files that the recipe names, and that the bundle does not have.
func (b *Bundle) Needs() []string { return b.needs }

// Images are its images.
func (b *Bundle) Images() []Image { return slices.Clone(b.images) }

// File gives the recipe or the lock, by its name.
func (b *Bundle) File(ctx context.Context, name string) ([]byte, error) {
	for _, f := range b.files {
		if f.Name == name {
			r, err := b.openFile(ctx, f.Digest)
			if err != nil {
				return nil, err
			}
			var buf bytes.Buffer
			_, err = io.Copy(&buf, r)
			return buf.Bytes(), errors.Join(err, r.Close())
		}
	}
	return nil, fmt.Errorf("read %q of bundle %q: %w", name, b.name, os.ErrNotExist)
}
