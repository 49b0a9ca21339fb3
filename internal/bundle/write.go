package bundle

import (
	"cmp"
	"context"
	"crypto/sha256"
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
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/internal/diskspace"
	"github.com/raybuild/raybuild/internal/wholefile"
)

// Writer writes a bundle into a directory. What an earlier, interrupted run wrote there is kept. Its methods may be
// called by several goroutines at once, but Finish is the last.
type Writer struct {
	dir directory

	mu   sync.Mutex
	used map[digest.Digest]bool // blobs of the bundle
	done Written
}

// Written counts what a writer did.
type Written struct {
	Bytes int64 // of all blobs of the bundle
	New   int64 // of those that were not there before
	Blobs int   // of the bundle
}

// Create prepares a directory, which is made if it is missing. A directory that holds anything but a bundle is an
// error, and stays as it is.
func Create(dir string) (*Writer, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("make bundle %q: %w", dir, err)
	}
	own := []string{ocispecs.ImageLayoutFile, ocispecs.ImageIndexFile, ocispecs.ImageBlobsDir, RecipeName, LockName}
	for _, e := range entries {
		if !slices.Contains(own, e.Name()) && !strings.HasPrefix(e.Name(), ".raybuild.") {
			return nil, fmt.Errorf("make bundle %q: the directory holds %q, which is of no bundle: name an empty "+
				"directory, or one that is not there", dir, e.Name())
		}
	}
	if len(entries) > 0 {
		if err := mayContinue(dir); err != nil {
			return nil, fmt.Errorf("make bundle %q: %w", dir, err)
		}
	}
	w := &Writer{dir: directory(dir), used: map[digest.Digest]bool{}}
	blobs := filepath.Dir(w.dir.path(digest.FromString("")))
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return nil, fmt.Errorf("make bundle %q: %w", dir, err)
	}
	layout, err := json.Marshal(ocispecs.ImageLayout{Version: ocispecs.ImageLayoutVersion})
	if err == nil {
		err = wholefile.Write(filepath.Join(dir, ocispecs.ImageLayoutFile), layout, 0o644)
	}
	if err == nil {
		err = w.sweep(func(name string) bool { return strings.HasPrefix(name, ".") })
	}
	if err != nil {
		return nil, fmt.Errorf("make bundle %q: %w", dir, err)
	}
	return w, nil
}

// mayContinue tells whether a directory that is not empty holds a bundle, or the beginning of one.
func mayContinue(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, ocispecs.ImageLayoutFile)); err != nil {
		return errors.New("the directory is not empty, and holds no bundle: name an empty directory, or one that is " +
			"not there")
	}
	if _, err := os.Stat(filepath.Join(dir, ocispecs.ImageIndexFile)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if _, err := rootOf(dir); err != nil {
		return errors.New("the directory holds another OCI layout: name an empty directory, or one that is not there")
	}
	return nil
}

// sweep removes files of blobs.
func (w *Writer) sweep(gone func(name string) bool) error {
	dir := filepath.Dir(w.dir.path(digest.FromString("")))
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if gone(e.Name()) {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// Room returns an error if the disk has not room for those of some blobs that are not there yet.
func (w *Writer) Room(blobs map[digest.Digest]int64) error {
	var need int64
	for d, size := range blobs {
		if w.dir.lacks(d, size) {
			need += size
		}
	}
	if free := diskspace.Free(string(w.dir)); free >= 0 && free < need {
		return fmt.Errorf("make bundle %q: it needs %d MB more, and its disk has %d MB: name a directory on another "+
			"disk", string(w.dir), need>>20, free>>20)
	}
	return nil
}

// Put adds a blob. If it is not there yet, open gives its bytes. What is there is read, and compared with the digest.
func (w *Writer) Put(ctx context.Context, d digest.Digest, name string,
	open func(context.Context) (io.ReadCloser, error)) (size int64, err error) {
	if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 {
		return 0, fmt.Errorf("put %q into bundle: digest %q is no sha256", name, d)
	}
	size, ok := w.intact(ctx, d)
	if !ok {
		if size, err = w.copy(ctx, d, name, open); err != nil {
			return 0, fmt.Errorf("put %q into bundle %q: %w", name, string(w.dir), err)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.used[d] {
		w.used[d] = true
		w.done.Blobs++
		w.done.Bytes += size
		if !ok {
			w.done.New += size
		}
	}
	return size, nil
}

// intact tells whether a blob is there and has its digest.
func (w *Writer) intact(ctx context.Context, d digest.Digest) (int64, bool) {
	f, err := w.dir.open(ctx, d)
	if err != nil {
		return 0, false
	}
	sum := sha256.New()
	n, err := io.Copy(sum, until{ctx, f})
	err = errors.Join(err, f.Close())
	return n, err == nil && digest.NewDigest(digest.SHA256, sum) == d
}

func (w *Writer) copy(ctx context.Context, d digest.Digest, name string,
	open func(context.Context) (io.ReadCloser, error)) (n int64, err error) {
	r, err := open(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	out, err := wholefile.Create(w.dir.path(d))
	if err != nil {
		return 0, err
	}
	out.Lasting = true
	sum := sha256.New()
	n, failed := io.Copy(io.MultiWriter(out, sum), until{ctx, r})
	if got := digest.NewDigest(digest.SHA256, sum); failed == nil && got != d {
		failed = fmt.Errorf("%q has digest %s, want %s: run again", name, got, d)
	}
	return n, errors.Join(failed, out.Finish(0o644, failed))
}

// until ends a read when its context has ended.
type until struct {
	//nolint:containedctx // it lives as long as one copy
	ctx context.Context
	io.Reader
}

// Read implements io.Reader.
func (u until) Read(p []byte) (int, error) {
	if err := context.Cause(u.ctx); err != nil {
		return 0, err
	}
	return u.Reader.Read(p)
}

// Bytes adds a small blob.
func (w *Writer) Bytes(ctx context.Context, mediaType string, data []byte) (ocispecs.Descriptor, error) {
	d := ocispecs.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	_, err := w.Put(ctx, d.Digest, mediaType, func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(string(data))), nil
	})
	return d, err
}

// Content is what a bundle is made of. All blobs of Artifacts and Images were put before.
type Content struct {
	// Recipe and Lock are their texts.
	Recipe, Lock []byte
	// Needs are the paths of local files that the recipe names.
	Needs []string
	// Artifacts in any order.
	Artifacts []File
	// Images with what is attached to them.
	Images []Image
}

// Finish writes the lists, and index.json last. It removes blobs that an earlier bundle of this directory had and this
// one does not. The same content gives the same digest.
func (w *Writer) Finish(ctx context.Context, c Content) (digest.Digest, Written, error) {
	root, err := w.lists(ctx, c)
	if err != nil {
		return "", w.done, err
	}
	index := ocispecs.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageIndex}
	index.Manifests = append(index.Manifests, named(root, refName))
	for _, i := range sorted(c.Images) {
		if i.Role == RoleImage {
			d := i.Manifest
			d.Annotations = nil
			index.Manifests = append(index.Manifests, named(d, i.Ref))
		}
	}
	data, err := json.Marshal(index)
	for _, f := range []struct {
		name string
		data []byte
	}{{RecipeName, c.Recipe}, {LockName, c.Lock}, {ocispecs.ImageIndexFile, data}} {
		if err == nil {
			err = wholefile.WriteLasting(filepath.Join(string(w.dir), f.name), f.data, 0o644)
		}
	}
	if err == nil {
		err = w.sweep(func(name string) bool {
			return !w.used[digest.NewDigestFromEncoded(digest.SHA256, name)]
		})
	}
	if err != nil {
		return "", w.done, fmt.Errorf("write bundle %q: %w", string(w.dir), err)
	}
	return root.Digest, w.done, nil
}

// lists writes the list of files and the bundle's index.
func (w *Writer) lists(ctx context.Context, c Content) (root ocispecs.Descriptor, err error) {
	files, err := w.files(ctx, c)
	if err != nil {
		return root, err
	}
	index := ocispecs.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageIndex,
		ArtifactType: IndexType, Manifests: []ocispecs.Descriptor{files}}
	var attached []ocispecs.Descriptor
	for _, i := range sorted(c.Images) {
		d := i.Manifest
		d.Annotations = map[string]string{ImageAnnotation: i.Ref, RoleAnnotation: i.Role}
		index.Manifests = append(index.Manifests, d)
		attached = append(attached, i.Attached...)
	}
	slices.SortFunc(attached, func(a, b ocispecs.Descriptor) int { return cmp.Compare(a.Digest, b.Digest) })
	index.Manifests = append(index.Manifests, slices.CompactFunc(attached, func(a, b ocispecs.Descriptor) bool {
		return a.Digest == b.Digest
	})...)
	data, err := json.Marshal(index)
	if err != nil {
		return root, err
	}
	root, err = w.Bytes(ctx, ocispecs.MediaTypeImageIndex, data)
	root.ArtifactType = IndexType
	return root, err
}

// files writes the manifest that lists recipe, lock and artifacts.
func (w *Writer) files(ctx context.Context, c Content) (at ocispecs.Descriptor, err error) {
	m := ocispecs.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageManifest,
		ArtifactType: FilesType}
	if m.Config, err = w.Bytes(ctx, ocispecs.MediaTypeEmptyJSON, ocispecs.DescriptorEmptyJSON.Data); err != nil {
		return at, err
	}
	if len(c.Needs) > 0 {
		m.Annotations = map[string]string{NeedsAnnotation: strings.Join(c.Needs, "\n")}
	}
	for _, text := range []struct {
		name, mediaType string
		data            []byte
	}{{RecipeName, recipeType, c.Recipe}, {LockName, lockType, c.Lock}} {
		d, err := w.Bytes(ctx, text.mediaType, text.data)
		if err != nil {
			return at, err
		}
		d.Annotations = map[string]string{ocispecs.AnnotationTitle: text.name}
		m.Layers = append(m.Layers, d)
	}
	artifacts := slices.Clone(c.Artifacts)
	slices.SortFunc(artifacts, func(a, b File) int { return cmp.Compare(a.Digest, b.Digest) })
	for i, f := range artifacts {
		if i > 0 && f.Digest == artifacts[i-1].Digest {
			continue
		}
		m.Layers = append(m.Layers, ocispecs.Descriptor{MediaType: artifactType, Digest: f.Digest, Size: f.Size,
			Annotations: map[string]string{ocispecs.AnnotationTitle: f.Name, URLAnnotation: f.URL}})
	}
	data, err := json.Marshal(m)
	if err != nil {
		return at, err
	}
	at, err = w.Bytes(ctx, ocispecs.MediaTypeImageManifest, data)
	at.ArtifactType = FilesType
	return at, err
}

func named(d ocispecs.Descriptor, name string) ocispecs.Descriptor {
	d.Annotations = map[string]string{ocispecs.AnnotationRefName: name}
	return d
}

// sorted are images in one order.
func sorted(images []Image) []Image {
	images = slices.Clone(images)
	slices.SortFunc(images, func(a, b Image) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Ref, b.Ref),
			cmp.Compare(a.Manifest.Digest, b.Manifest.Digest))
	})
	return slices.CompactFunc(images, func(a, b Image) bool {
		return a.Role == b.Role && a.Ref == b.Ref && a.Manifest.Digest == b.Manifest.Digest
	})
}
