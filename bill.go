package raybuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/raybuild/raybuild/internal/convert"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/sbom"
	"github.com/raybuild/raybuild/internal/sources"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// A bill of materials is made of record and lock: they say which artifact is in which layer. What they do not say, such
// as the base's packages, raybuild reads out of the layers, once for each digest, and keeps it.

// billedImage is an image that a bill is made of.
type billedImage struct {
	digest    digest.Digest
	created   time.Time
	platforms []billedPlatform
}

// billedPlatform is the image of one platform. Its layers are named by digest, lowest first.
type billedPlatform struct {
	name   string
	digest digest.Digest
	layers []digest.Digest
	titles []string // of the image's history
}

// billedResult is the image that a build has made. ok is false if the builder does not say what its layers are.
func billedResult(graph *layers.Graph, res *llb.Result) (out billedImage, ok bool) {
	out = billedImage{digest: res.Digest, created: graph.Images[0].Created}
	for _, i := range res.Images {
		if i.Layers == nil {
			return out, false
		}
		p := billedPlatform{name: llb.FormatPlatform(i.Platform), digest: i.Manifest}
		for _, l := range i.Layers {
			p.layers = append(p.layers, l.Digest)
		}
		out.platforms = append(out.platforms, p)
	}
	return out, len(out.platforms) > 0
}

// billedOf is an image as a registry has it.
func billedOf(image *registry.Image) billedImage {
	out := billedImage{digest: image.Digest}
	for _, i := range image.Platforms {
		if i.Created != nil && out.created.IsZero() {
			out.created = *i.Created
		}
		p := billedPlatform{name: llb.FormatPlatform(i.Platform), digest: i.Digest}
		for _, l := range i.Layers {
			p.layers, p.titles = append(p.layers, l.Digest), append(p.titles, l.History)
		}
		out.platforms = append(out.platforms, p)
	}
	return out
}

// errUnread says that a bill needs what was not read yet.
var errUnread = errors.New("a layer of the image was not read yet")

// biller makes the bill of one image.
type biller struct {
	store  sbom.Store
	image  billedImage
	record *layers.BuildRecord // nil: the image is not raybuild's
	lock   *layers.Lock

	artifacts string                           // the directory of fetched artifacts; "": none
	hint      func() *sbom.Bill                // the bill of an image that has some of the layers; may return nil
	open      []opener                         // places of layers in their order; none: layers are not read
	licences  bool                             // layers of wheels are read if nobody else knows their licences
	files     bool                             // files are listed
	warn      func(format string, args ...any) // gets what cannot be read

	lacks bool // the licence of a wheel is not known
}

// opener opens a layer. The error is os.ErrNotExist if it is not there.
type opener func(ctx context.Context, d digest.Digest) (io.ReadCloser, error)

// bill makes the bill. If a layer has to be read and must not be, the error is errUnread.
func (b *biller) bill(ctx context.Context) (*sbom.Bill, error) {
	out := &sbom.Bill{Digest: b.image.digest, Created: b.image.created}
	for i := range b.image.platforms {
		var (
			p   sbom.Platform
			err error
		)
		if b.record != nil {
			p, err = b.recorded(ctx, i)
		} else {
			p, err = b.foreign(ctx, i)
		}
		if err != nil {
			return nil, err
		}
		out.Platforms = append(out.Platforms, p)
	}
	if b.lacks && b.hint == nil {
		return nil, errUnread
	}
	return out, nil
}

// foreign makes the bill of a platform from its layers alone.
func (b *biller) foreign(ctx context.Context, i int) (sbom.Platform, error) {
	image := b.image.platforms[i]
	found := make([]*sbom.Found, len(image.layers))
	if err := b.findAll(ctx, i, found, func(int) bool { return true }); err != nil {
		return sbom.Platform{}, err
	}
	out := sbom.Platform{Name: image.name, Digest: image.digest}
	for n, parts := range sbom.Combine(found) {
		out.Layers = append(out.Layers, sbom.Layer{Digest: image.layers[n], Title: image.titles[n], Parts: parts})
	}
	if b.files {
		out.Unowned = sbom.Unowned(found, func(int) bool { return false })
	}
	return out, nil
}

// readAtOnce is how many layers are read at once.
const readAtOnce = 2

// findAll finds what the wanted layers of a platform say.
func (b *biller) findAll(ctx context.Context, i int, found []*sbom.Found, wanted func(layer int) bool) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readAtOnce)
	for n := range b.image.platforms[i].layers {
		if !wanted(n) {
			continue
		}
		g.Go(func() (err error) {
			found[n], err = b.find(ctx, i, n)
			return err
		})
	}
	return g.Wait()
}

// find gives what one layer says: what was kept, what another image's bill says, or what its bytes say.
func (b *biller) find(ctx context.Context, i, n int) (*sbom.Found, error) {
	d := b.image.platforms[i].layers[n]
	if !b.files {
		if f, ok := b.store.Layer(d); ok {
			return f, nil
		}
		if f := b.hinted(d); f != nil {
			return f, nil
		}
	}
	if len(b.open) == 0 {
		return nil, errUnread
	}
	var errs []error
	for _, open := range b.open {
		f, err := readLayer(ctx, open, d, sbom.ReadOptions{Files: b.files})
		if err == nil {
			for _, bad := range f.Bad {
				b.warn("the bill of materials lacks a package: %s", bad)
			}
			return f, b.store.KeepLayer(d, f)
		}
		if errs = append(errs, err); ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("read layer %s: %w", d, errors.Join(errs...))
}

// readLayer reads a layer, and checks its digest.
func readLayer(ctx context.Context, open opener, d digest.Digest, o sbom.ReadOptions) (*sbom.Found, error) {
	r, err := open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	check := d.Verifier()
	in := io.TeeReader(r, check)
	f, err := sbom.ReadLayer(ctx, in, o)
	if err == nil {
		_, err = io.Copy(io.Discard, in)
	}
	if err == nil && !check.Verified() {
		err = errors.New("its bytes are not those of its digest")
	}
	return f, err
}

// hinted is what the bill of another image says of a layer; nil: it does not have it. Of Debian packages a bill names
// those that a layer brings, and dpkg's status those below as well.
func (b *biller) hinted(d digest.Digest) *sbom.Found {
	if b.hint == nil {
		return nil
	}
	bill := b.hint()
	if bill == nil {
		return nil
	}
	for _, p := range bill.Platforms {
		at := slices.IndexFunc(p.Layers, func(l sbom.Layer) bool { return l.Digest == d })
		if at < 0 {
			continue
		}
		f := &sbom.Found{Rules: sbom.Rules}
		for n, l := range p.Layers[:at+1] {
			for _, part := range l.Parts {
				switch {
				case part.Kind == sbom.Deb && part.Path == "":
					f.Distro, f.HasStatus = part.Distro, f.HasStatus || n == at
					part.Distro = ""
					f.Status = append(f.Status, part)
				case n == at && slices.Contains(sbom.Packages(), part.Kind) && part.Path != "":
					f.Parts = append(f.Parts, part)
				}
			}
		}
		return f
	}
	return nil
}

// licence gives the licence of a wheel. ok is false if nobody knows it.
func (b *biller) licence(d digest.Digest) (licence string, ok bool) {
	if l, ok := b.store.License(d); ok {
		return l, true
	}
	if metadata, err := metadataOf(b.artifacts, d); err == nil {
		if part, err := sbom.ReadMetadata(metadata); err == nil {
			_ = b.store.KeepLicense(d, part.License) // it is read again
			return part.License, true
		}
	}
	if b.hint == nil {
		return "", false
	}
	if bill := b.hint(); bill != nil {
		for _, l := range bill.List() {
			if l.Kind == sbom.Python && l.SHA256 == d.Encoded() {
				return l.License, true
			}
		}
	}
	return "", false
}

// metadataOf reads METADATA of a wheel that was fetched before.
func metadataOf(artifacts string, d digest.Digest) ([]byte, error) {
	if artifacts == "" || d.Validate() != nil {
		return nil, os.ErrNotExist
	}
	return convert.Metadata(sources.StoredFile(artifacts, d))
}
