package llb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	bkllb "github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/apicaps"
	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// LayerSource gives the layers of [GivenLayer] stages.
type LayerSource interface {
	// Layer gives the layer of a key, and waits until it is made. If only is set, it makes no layer: for one
	// that is not there the error is os.ErrNotExist.
	Layer(ctx context.Context, key digest.Digest, only bool) (StoredLayer, error)
	// OpenLayer gives the bytes of a layer that Layer has given, by the digest of its blob.
	OpenLayer(d digest.Digest) (LayerReader, error)
}

// TreeSource is a [LayerSource] that has the files of some layers on this machine.
type TreeSource interface {
	// Tree is the directory with the files of a key's layer. It waits for a layer that is being made, and makes
	// none. An error says that there is no such directory.
	Tree(ctx context.Context, key digest.Digest) (dir string, err error)
}

// LayerReader reads a layer's blob.
type LayerReader interface {
	io.ReaderAt
	io.Closer
}

// GivenLayer is a stage of one layer that the session gives ready-made. key is the digest of all that the layer is
// made of, so the graph is known before the layer is. The builder takes the blob as it is: it unpacks it only for a
// step that reads it, and it packs it never.
func GivenLayer(title string, key digest.Digest) Stage {
	if err := key.Validate(); err != nil {
		return Stage{err: wrapStep(title, fmt.Errorf("key %q: %w", key, err))}
	}
	return Stage{n: &node{title: title, layers: 1, contentAddressed: true, given: key}}
}

// Given is the key of a [GivenLayer]; false: the stage is another one.
func (s Stage) Given() (digest.Digest, bool) {
	if s.n == nil || s.n.given == "" {
		return "", false
	}
	return s.n.given, true
}

// givenURL stands for a given layer in a graph that is not solved.
func givenURL(key digest.Digest) string { return "http://buildkit-session/layer/" + key.Encoded() }

// givenStore is the name that builders know the session's layers by.
const givenStore = "raybuild"

// giving says how a solve takes the layers that the session gives. The zero value takes none: the graph then only
// names them.
type giving struct {
	layer func(key digest.Digest) (StoredLayer, error)
	// unpack: the builder cannot read layers of the session, so it gets them as archives, and packs them anew.
	unpack bool
	// image tells whether the builder takes an image from the session. nil: it takes none.
	image func(manifest digest.Digest) bool
}

// given lays out a given layer.
func (l *layout) given(n *node) bkllb.State {
	l.givenUsed = true
	if l.give.layer == nil {
		return bkllb.HTTP(givenURL(n.given), named(n.title))
	}
	stored, err := l.give.layer(n.given)
	if err != nil {
		l.err = errors.Join(l.err, wrapStep(n.title, err))
		return bkllb.Scratch()
	}
	if l.give.unpack {
		const file = "layer.tar.gz"
		archive := bkllb.HTTP(artifactURL(stored.Digest), bkllb.Checksum(stored.Digest), bkllb.Filename(file),
			named(n.title+" (fetch)"))
		unpack := bkllb.Copy(archive, "/"+file, "/", &bkllb.CopyInfo{AttemptUnpack: true})
		return bkllb.Scratch().File(unpack, l.opts(n.title)...)
	}
	image := imageOf(stored)
	return bkllb.OCILayout("raybuild/layer@"+image.root.String(), bkllb.OCIStore("", givenStore), named(n.title))
}

// oneLayer is an image that has one layer and nothing else.
type oneLayer struct {
	root digest.Digest
	docs map[digest.Digest][]byte // manifest and config
}

func imageOf(l StoredLayer) oneLayer {
	config := mustJSON(ocispecs.Image{Platform: ocispecs.Platform{OS: "linux", Architecture: "amd64"},
		RootFS: ocispecs.RootFS{Type: "layers", DiffIDs: []digest.Digest{l.DiffID}}})
	manifest := mustJSON(ocispecs.Manifest{Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispecs.MediaTypeImageManifest,
		Config: ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageConfig, Digest: digest.FromBytes(config),
			Size: int64(len(config))},
		Layers: []ocispecs.Descriptor{l.Descriptor}})
	root := digest.FromBytes(manifest)
	return oneLayer{root, map[digest.Digest][]byte{root: manifest, digest.FromBytes(config): config}}
}

func mustJSON(v any) []byte {
	dt, err := json.Marshal(v)
	if err != nil { // these types can always be written
		panic("llb: write document: " + err.Error()) //nolint:forbidigo // cannot be
	}
	return dt
}

// give is how this call's solves take given layers.
func (c *call) give(ctx context.Context, caps apicaps.CapSet) giving {
	unpack := c.b.store || caps.Supports(pb.CapSourceOCILayout) != nil
	return giving{
		unpack: unpack,
		image:  func(d digest.Digest) bool { return !unpack && c.sess.atHand(d) },
		layer: func(key digest.Digest) (StoredLayer, error) {
			if c.sess.Layers == nil {
				return StoredLayer{}, errors.New("nothing was given that makes layers")
			}
			l, err := c.sess.Layers.Layer(ctx, key, c.sess.Artifacts == nil)
			if err == nil {
				c.sess.knowLayer(l)
			}
			return l, err
		},
	}
}

// layout is a layout for a solve of this call.
func (c *call) layout(ctx context.Context, gw gateway.Client, line, noCache bool) *layout {
	l := newLayout(line, noCache)
	l.limits, l.proxy = c.o.Limits, c.o.Proxy
	if !line {
		l.over = c.b.overDir(ctx)
	}
	l.give = c.give(ctx, gw.BuildOpts().LLBCaps)
	l.tree = func(n *node) string { return c.tree(ctx, n) }
	return l
}

// tree is the name of a given layer's tree, if the builder can lay it over a root; "": it cannot.
func (c *call) tree(ctx context.Context, n *node) string {
	source, ok := c.sess.Layers.(TreeSource)
	trees := c.b.treesDir(ctx)
	if !ok || trees == "" || n.given == "" {
		return ""
	}
	dir, err := source.Tree(ctx, n.given)
	if err != nil || filepath.Dir(dir) != trees {
		return ""
	}
	return filepath.Base(dir)
}

// knowLayer makes a layer available to the builder.
func (s *session) knowLayer(l StoredLayer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blobs == nil {
		s.blobs, s.docs = map[digest.Digest]int64{}, map[digest.Digest][]byte{}
	}
	s.blobs[l.Digest] = l.Size
	for d, dt := range imageOf(l).docs {
		s.docs[d] = dt
	}
}

// givenBlob is the archive of a given layer, for a builder that takes it so; nil: d is none.
func (s *session) givenBlob(d digest.Digest) io.ReadCloser {
	s.mu.Lock()
	size, ok := s.blobs[d]
	s.mu.Unlock()
	if !ok {
		return nil
	}
	r, err := s.Layers.OpenLayer(d)
	if err != nil {
		return nil
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(r, 0, size), r}
}

// layerStore serves given layers and images at hand to a builder, which may only read them.
type layerStore struct {
	readOnly
	s *session
}

// readOnly refuses all that a builder has no business with.
type readOnly struct{}

var errReadOnly = fmt.Errorf("layers can only be read: %w", errdefs.ErrPermissionDenied)

// Update implements content.Store.
func (readOnly) Update(context.Context, content.Info, ...string) (content.Info, error) {
	return content.Info{}, errReadOnly
}

// Walk implements content.Store.
func (readOnly) Walk(context.Context, content.WalkFunc, ...string) error { return errReadOnly }

// Delete implements content.Store.
func (readOnly) Delete(context.Context, digest.Digest) error { return errReadOnly }

// Status implements content.Store.
func (readOnly) Status(context.Context, string) (content.Status, error) {
	return content.Status{}, errReadOnly
}

// ListStatuses implements content.Store.
func (readOnly) ListStatuses(context.Context, ...string) ([]content.Status, error) {
	return nil, errReadOnly
}

// Abort implements content.Store.
func (readOnly) Abort(context.Context, string) error { return errReadOnly }

// Writer implements content.Store.
func (readOnly) Writer(context.Context, ...content.WriterOpt) (content.Writer, error) {
	return nil, errReadOnly
}

// Info implements content.Store.
func (c layerStore) Info(ctx context.Context, d digest.Digest) (content.Info, error) {
	if size, ok := c.size(d); ok {
		return content.Info{Digest: d, Size: size}, nil
	}
	r, err := c.s.imageBlob(ctx, d)
	if err != nil {
		return content.Info{}, err
	}
	return content.Info{Digest: d, Size: r.Size()}, r.Close()
}

// size is that of a given layer, or of a document of one.
func (c layerStore) size(d digest.Digest) (int64, bool) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if dt, ok := c.s.docs[d]; ok {
		return int64(len(dt)), true
	}
	size, ok := c.s.blobs[d]
	return size, ok
}

// ReaderAt implements content.Store.
func (c layerStore) ReaderAt(ctx context.Context, desc ocispecs.Descriptor) (content.ReaderAt, error) {
	size, ok := c.size(desc.Digest)
	if !ok {
		return c.s.imageBlob(ctx, desc.Digest)
	}
	c.s.mu.Lock()
	dt, ok := c.s.docs[desc.Digest]
	c.s.mu.Unlock()
	if ok {
		return sizedReader{nopCloser{bytesAt(dt)}, size}, nil
	}
	r, err := c.s.Layers.OpenLayer(desc.Digest)
	if err != nil {
		return nil, err
	}
	return sizedReader{r, size}, nil
}

type sizedReader struct {
	LayerReader
	size int64
}

// Size implements content.ReaderAt.
func (r sizedReader) Size() int64 { return r.size }

type bytesAt []byte

// ReadAt implements io.ReaderAt.
func (b bytesAt) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(b)) {
		return 0, io.EOF
	}
	n := copy(p, b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

type nopCloser struct{ io.ReaderAt }

// Close implements io.Closer.
func (nopCloser) Close() error { return nil }
