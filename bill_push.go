package raybuild

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/raybuild/raybuild/internal/provenance"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/sbom"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// billWait is the longest time for which a push waits for layers to be read.
const billWait = 5 * time.Minute

// claims are the documents of a push that follow from the finished image: bills of materials and provenance.
type claims struct {
	of   digest.Digest // of the image
	docs []registry.Document
	errs []error
	stop context.CancelFunc
	done chan struct{} // closed when docs and errs are there
}

// startClaims begins to make the claims of an image, and to send their bytes, while the image is pushed. waitClaims
// gives them. built opens layers of the builder.
func (p *Project) startClaims(ctx context.Context, o *BuildOptions, graph *layers.Graph, res *llb.Result,
	built opener) {
	p.stopClaims()
	image, ok := billedResult(graph, res)
	if o.NoSBOM || !ok {
		return
	}
	out := &claims{of: image.digest, done: make(chan struct{})}
	// The build's context ends when its layers are pushed. stopClaims ends this one.
	ctx, out.stop = context.WithTimeout(context.WithoutCancel(ctx), billWait)
	p.claims = out
	b, err := p.biller(ctx, graph, image)
	if err != nil {
		out.errs = append(out.errs, err)
		close(out.done)
		return
	}
	more := []opener{built, p.opener(o.Names[0], image.digest.String())}
	for _, base := range p.bases(graph) {
		more = append(more, func(ctx context.Context, d digest.Digest) (io.ReadCloser, error) {
			return p.registry.OpenBlob(ctx, base, d, 0)
		})
	}
	go func() {
		defer close(out.done)
		out.make(ctx, p, o, b, graph, more)
		p.sendClaims(ctx, o.Names, p.signAhead(ctx, out))
	}()
}

// make makes the documents. Layers are read from more if nothing else tells what is in them.
func (c *claims) make(ctx context.Context, p *Project, o *BuildOptions, b *biller, graph *layers.Graph, more []opener) {
	statement, err := provenanceOf(o, graph, b)
	if err != nil {
		c.errs = append(c.errs, err)
	} else {
		c.docs = append(c.docs, statement)
	}
	if before := p.billHere(); before != nil {
		b.hint = func() *sbom.Bill { return before }
	}
	bills, err := billDocuments(ctx, b)
	if err != nil {
		b.store.Sweep(time.Now())
		b.hint = sync.OnceValue(func() *sbom.Bill { return p.billBefore(ctx) })
		b.open = more
		bills, err = billDocuments(ctx, b)
	}
	if err != nil {
		c.errs = append(c.errs, err)
	}
	c.docs = append(c.docs, bills...)
}

// sendClaims sends the documents ahead. It reports no error: attaching them sends what is missing.
func (p *Project) sendClaims(ctx context.Context, names []string, docs []registry.Document) {
	var g errgroup.Group
	for i, name := range names {
		if len(docs) > 0 && !slices.ContainsFunc(names[:i], func(n string) bool { return sameRepository(n, name) }) {
			g.Go(func() error { return p.registry.SendNew(ctx, name, docs...) })
		}
	}
	_ = g.Wait()
}

// opener opens layers of an image in a registry.
func (p *Project) opener(name, image string) opener {
	return func(ctx context.Context, d digest.Digest) (io.ReadCloser, error) {
		ref, err := registry.Pin(name, image)
		if err != nil {
			return nil, err
		}
		return p.registry.OpenBlob(ctx, ref, d, 0)
	}
}

// biller returns what makes the bill of an image of the graph, from what is known without reading its layers.
func (p *Project) biller(ctx context.Context, graph *layers.Graph, image billedImage) (*biller, error) {
	record, err := p.inputs(ctx, graph)
	if err != nil {
		return nil, err
	}
	home, err := p.env.MakeHome()
	if err != nil {
		return nil, err
	}
	return &biller{store: sbom.Store{Dir: filepath.Join(home, factsDir)}, image: image, record: record, lock: p.lock,
		artifacts: filepath.Join(home, artifactsDir), warn: p.env.warn}, nil
}

// billDocuments makes the bill of an image in both forms.
func billDocuments(ctx context.Context, b *biller) ([]registry.Document, error) {
	bill, err := b.bill(ctx)
	if err != nil {
		return nil, err
	}
	var (
		spdx, cdx []byte
		g         errgroup.Group
	)
	g.Go(func() (err error) { spdx, err = bill.SPDX(); return err })
	g.Go(func() (err error) { cdx, err = bill.CycloneDX(); return err })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return []registry.Document{{ArtifactType: sbom.SPDXType, Data: spdx},
		{ArtifactType: sbom.CycloneDXType, Data: cdx}}, nil
}

// billTypes are the types of bills that are read with the image before: one, if this machine does not know all that its
// lock names. It would have to read layers for it. A signed bill is not read with the image, but when it is needed.
func (p *Project) billTypes(o *BuildOptions) []string {
	home, err := p.env.homeDir()
	if o.NoSBOM || err != nil || p.trust.mode == TrustSigned {
		return nil
	}
	store := sbom.Store{Dir: filepath.Join(home, factsDir)}
	for _, locked := range p.locked() {
		for _, d := range locked.Base.LayerDigests {
			if !store.HasLayer(d) {
				return []string{sbom.SPDXType}
			}
		}
		for _, l := range locked.Layers {
			for _, a := range l.Artifacts {
				if a.Kind == layers.KindWheel && !store.HasLicense(a.Digest()) {
					return []string{sbom.SPDXType}
				}
			}
		}
	}
	return nil
}

// billHere is the bill that was read with an image that this build takes layers from; nil: none was.
func (p *Project) billHere() *sbom.Bill {
	for _, image := range p.tried {
		var all []attachedBill
		for _, a := range image.Attached[sbom.SPDXType] {
			all = append(all, attachedBill{data: a.Data})
		}
		if bill := billAmong(all, image.Digest); bill != nil {
			return bill
		}
	}
	return nil
}

// billAmong is the bill of an image among what is attached to it; nil: there is none.
func billAmong(attached []attachedBill, image digest.Digest) *sbom.Bill {
	for _, a := range attached {
		if bill, err := sbom.ReadSPDX(a.data); err == nil && bill.Digest == image {
			return bill
		}
	}
	return nil
}

// billBefore is the bill that is attached to an image that this build takes layers from; nil: there is none. It is as
// good as the layers: both are the work of whoever may push to the repository, or of an identity that has signed both.
func (p *Project) billBefore(ctx context.Context) *sbom.Bill {
	before := p.tried
	if p.ofImage != nil {
		before = append(before[:len(before):len(before)], p.ofImage)
	}
	for _, image := range before {
		found, refused, err := p.attachedBills(ctx, image.Ref)
		if err != nil {
			continue // what it would tell is read
		}
		if refused != nil && len(found) == 0 {
			p.env.note("the bill of materials of %s is not believed: %v", image.Ref, refused)
		}
		if bill := billAmong(found, image.Digest); bill != nil {
			return bill
		}
	}
	return nil
}

// waitClaims gives the bills and the provenance of the image that was pushed. An error is a warning: the image is
// there.
func (p *Project) waitClaims(ctx context.Context, o *BuildOptions, graph *layers.Graph,
	pushed digest.Digest) []registry.Document {
	if o.NoSBOM {
		return nil
	}
	if p.claims == nil || p.claims.of != pushed {
		p.claimStored(ctx, o, graph, pushed)
	}
	if p.claims == nil {
		return nil
	}
	select {
	case <-p.claims.done:
	case <-ctx.Done():
		return nil
	}
	for _, err := range p.claims.errs {
		p.env.warn("the image lacks a bill of materials or its provenance: %v", err)
	}
	return p.claims.docs
}

// claimStored begins to make the claims of an image that somebody else has pushed, such as a Docker Engine.
func (p *Project) claimStored(ctx context.Context, o *BuildOptions, graph *layers.Graph, pushed digest.Digest) {
	ref, err := registry.Pin(o.Names[0], pushed.String())
	if err != nil {
		return
	}
	image, err := p.registry.Inspect(ctx, ref)
	if err != nil {
		p.env.warn("the image lacks bills of materials and provenance: %v", err)
		return
	}
	res := &llb.Result{Digest: pushed}
	for _, i := range image.Platforms {
		one := llb.ImageResult{Platform: i.Platform, Manifest: i.Digest}
		for _, l := range i.Layers {
			one.Layers = append(one.Layers, llb.LayerResult{Digest: l.Digest})
		}
		res.Images = append(res.Images, one)
	}
	p.startClaims(ctx, o, graph, res, func(context.Context, digest.Digest) (io.ReadCloser, error) {
		return nil, os.ErrNotExist
	})
}

// stopClaims ends what makes claims.
func (p *Project) stopClaims() {
	if p.claims != nil {
		p.claims.stop()
		<-p.claims.done
		p.claims = nil
	}
}

// notAttached is the warning for an image whose documents a registry does not keep.
const notAttached = "the image is pushed, but its lock and the record of its inputs are not attached to it, so that " +
	"inspect and why know less of it, and later builds take no layers from it"

// attachAll attaches documents and claims to the pushed image. An image that has its names is done: what its registry
// does not keep is one warning. The error is that of a context that ended.
func (p *Project) attachAll(ctx context.Context, names []string, image digest.Digest, docs,
	claims []registry.Document) error {
	err := p.attach(ctx, names, image.String(), append(docs[:len(docs):len(docs)], claims...))
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return err
	case len(claims) > 0 && p.attach(ctx, names, image.String(), docs) == nil:
		p.env.warn("the image has no bills of materials and no provenance: %v", err)
	default:
		p.env.warn("%s: %v", notAttached, err)
	}
	return ctx.Err()
}

// attachedClaims are the bills and the provenance that are attached to an image, for its copy in another repository.
func (p *Project) attachedClaims(ctx context.Context, ref string) ([]registry.Document, error) {
	var out []registry.Document
	for _, kind := range []string{sbom.SPDXType, sbom.CycloneDXType, provenance.ArtifactType} {
		found, err := p.registry.Attached(ctx, ref, kind)
		if err != nil {
			return nil, err
		}
		for _, d := range found {
			out = append(out, registry.Document{ArtifactType: kind, MediaType: d.MediaType, Data: d.Data})
		}
	}
	return out, nil
}

// knowWheel keeps what a wheel says of itself.
func (p *Project) knowWheel(home string) func(a layers.Artifact, metadata []byte) {
	store := sbom.Store{Dir: filepath.Join(home, factsDir)}
	return func(a layers.Artifact, metadata []byte) {
		if store.HasLicense(a.Digest()) {
			return
		}
		if part, err := sbom.ReadMetadata(metadata); err == nil {
			_ = store.KeepLicense(a.Digest(), part.License) // it is read again when it is needed
		}
	}
}
