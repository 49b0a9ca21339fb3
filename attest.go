package raybuild

import (
	"context"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/provenance"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/sbom"
	"github.com/raybuild/raybuild/internal/signing"
	"github.com/raybuild/raybuild/layers"
)

// signedClaims are bills and provenance as what a key signs.
func signedClaims(docs []registry.Document) ([]signing.Claim, error) {
	var out []signing.Claim
	for _, d := range docs {
		switch d.ArtifactType {
		case sbom.SPDXType:
			out = append(out, signing.Claim{Type: signing.SPDXClaim, Predicate: d.Data})
		case sbom.CycloneDXType:
			out = append(out, signing.Claim{Type: signing.CycloneDXClaim, Predicate: d.Data})
		case provenance.ArtifactType:
			claim, err := signing.ClaimOf(d.Data)
			if err != nil {
				return nil, err
			}
			out = append(out, claim)
		}
	}
	return out, nil
}

// signAhead signs the claims of an image that will be pushed, and adds what may be sent ahead. It reports no error:
// attest signs what is not signed.
func (p *Project) signAhead(ctx context.Context, c *claims) []registry.Document {
	all, err := signedClaims(c.docs)
	if p.key == nil || err != nil {
		return c.docs
	}
	signed, _ := p.key.SignAhead(ctx, c.of, all)
	return append(c.docs[:len(c.docs):len(c.docs)], signed...)
}

// attest signs bills and provenance of an image, if images are signed. An error is a warning: the image is there, and
// signed.
func (p *Project) attest(ctx context.Context, names []string, image digest.Digest, docs []registry.Document) {
	if p.key == nil || len(docs) == 0 {
		return
	}
	all, err := signedClaims(docs)
	if err == nil {
		var refs []string
		if refs, err = pinned(names, image); err == nil {
			err = p.key.Attest(ctx, p.registry, refs, all, p.trust.signers)
		}
	}
	switch {
	case err == nil:
		p.env.info("signed the bills of materials and the provenance of %s", image)
	case ctx.Err() == nil:
		p.env.warn("the bills of materials and the provenance are attached, and not signed: %v", err)
	}
}

// pinned names an image by its digest in each repository of some names.
func pinned(names []string, image digest.Digest) ([]string, error) {
	var out []string
	for _, name := range names {
		ref, err := registry.Pin(name, image.String())
		if err != nil {
			return nil, err
		}
		if !slices.Contains(out, ref) {
			out = append(out, ref)
		}
	}
	return out, nil
}

// attestFound signs bills and provenance of an image that was found under its graph, if images are signed and these are
// not. It makes them again: what is attached may be anybody's.
func (p *Project) attestFound(ctx context.Context, o *BuildOptions, graph *layers.Graph, image digest.Digest) {
	if p.key == nil || o.NoSBOM {
		return
	}
	refs, err := pinned(o.Names, image)
	if err == nil {
		refs = slices.DeleteFunc(refs, func(ref string) bool {
			has, failed := p.key.HasAttested(ctx, p.registry, ref)
			if failed != nil {
				err = failed
			}
			return has
		})
	}
	if err != nil {
		p.env.warn("the bills of materials and the provenance are not signed: %v", err)
		return
	}
	if len(refs) == 0 {
		return
	}
	defer p.stopClaims()
	p.attest(ctx, refs, image, p.waitClaims(ctx, o, graph, image))
}

// copyClaims copies the signed claims of an image to its copies in other repositories.
func (p *Project) copyClaims(ctx context.Context, from string, names []string, image digest.Digest) {
	refs, err := pinned(names, image)
	for _, ref := range refs {
		if err == nil && ref != from {
			err = signing.CopyClaims(ctx, p.registry, from, ref)
		}
	}
	if err != nil && ctx.Err() == nil {
		p.env.warn("the copy of the image has no signed bills of materials and provenance: %v", err)
	}
}

// attachedBill is a bill that is attached to an image.
type attachedBill struct {
	data []byte // SPDX
	who  string // the identity that has signed it; "": nobody needs to
}

// attachedBills are the bills of an image that are believed. If signatures are asked for, they are those that an
// identity has signed, and refused says why another one is not among them.
func (p *Project) attachedBills(ctx context.Context, ref string) (out []attachedBill, refused, err error) {
	if p.trust.mode == TrustNone {
		return nil, nil, nil
	}
	if p.trust.mode != TrustSigned {
		found, err := p.registry.Attached(ctx, ref, sbom.SPDXType)
		for _, a := range found {
			out = append(out, attachedBill{data: a.Data})
		}
		return out, nil, err
	}
	for claim, err := range p.trust.signers.Claims(ctx, p.registry, ref, signing.SPDXClaim) {
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		if err != nil {
			refused = err
			continue
		}
		out = append(out, attachedBill{claim.Predicate, claim.Who})
	}
	return out, refused, nil
}
