package signing

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/sigstore/pkg/signature/options"
	"golang.org/x/sync/errgroup"

	"github.com/raybuild/raybuild/internal/registry"
)

// Attest signs claims about an image. refs name it by its digest, one in each repository, and all get the claims. It
// leaves out what the key has signed before. Keyless claims are never the same twice, so of these it leaves out what
// known has verified. known may be nil.
func (k *Key) Attest(ctx context.Context, c *registry.Client, refs []string, claims []Claim, known *Trust) error {
	if k.keyless == nil {
		known = k.own
	}
	made := map[string][]byte{} // signed claims by type
	for _, ref := range refs {
		d, err := digestOf(ref)
		if err == nil {
			err = k.attest(ctx, c, ref, d, claims, known, made)
		}
		if err != nil {
			return fmt.Errorf("sign claims about %q: %w", ref, err)
		}
	}
	return nil
}

// attest signs what an image lacks of some claims, unless it is in made, and stores it.
func (k *Key) attest(ctx context.Context, c *registry.Client, ref string, d digest.Digest, claims []Claim,
	known *Trust, made map[string][]byte) error {
	found, err := k.found(ctx, c, ref)
	if err != nil {
		return err
	}
	claims = slices.DeleteFunc(slices.Clone(claims), func(claim Claim) bool {
		return slices.ContainsFunc(found, func(f foundClaim) bool { return known.has(ctx, f, claim, d) })
	})
	if len(claims) == 0 {
		return nil
	}
	if err := k.make(ctx, d, claims, made); err != nil {
		return err
	}
	if k.keyless == nil {
		var entries []ocispecs.Descriptor
		var data [][]byte
		for _, claim := range claims {
			entries, data = append(entries, claim.entry(made[claim.Type])), append(data, made[claim.Type])
		}
		return claimList().add(ctx, c, ref, entries, data...)
	}
	var docs []registry.Document
	for _, claim := range claims {
		docs = append(docs, bundleDocument(made[claim.Type], claim.Type))
	}
	_, err = c.Attach(ctx, ref, docs...)
	return err
}

// found lists the claims about an image that are where the key puts its own.
func (k *Key) found(ctx context.Context, c *registry.Client, ref string) ([]foundClaim, error) {
	if k.keyless == nil {
		return taggedClaims(ctx, c, ref)
	}
	return bundledClaims(ctx, c, ref)
}

// has tells whether an identity has signed this very claim.
func (t *Trust) has(ctx context.Context, f foundClaim, claim Claim, d digest.Digest) bool {
	if t == nil || f.kind != claim.Type {
		return false
	}
	s, err := t.claim(ctx, f, claim.Type, d)
	return err == nil && bytes.Equal(s.Predicate, bytes.TrimSpace(claim.Predicate))
}

// make signs claims that are not in made.
func (k *Key) make(ctx context.Context, d digest.Digest, claims []Claim, made map[string][]byte) error {
	out := make([][]byte, len(claims))
	g, gctx := errgroup.WithContext(ctx)
	for i, claim := range claims {
		if out[i] = made[claim.Type]; out[i] == nil {
			g.Go(func() (err error) {
				out[i], err = k.signed(gctx, d, claim)
				return err
			})
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, claim := range claims {
		made[claim.Type] = out[i]
	}
	return nil
}

// signed signs a claim: an envelope, or a keyless bundle.
func (k *Key) signed(ctx context.Context, d digest.Digest, claim Claim) ([]byte, error) {
	text, err := claim.statement(d)
	if err != nil {
		return nil, err
	}
	if k.keyless != nil {
		session, err := k.keyless.session(ctx)
		if err != nil {
			return nil, err
		}
		return session.bundle(ctx, text)
	}
	id := digest.FromBytes(text)
	k.mu.Lock()
	data := k.ahead[id]
	k.mu.Unlock()
	if data != nil {
		return data, nil
	}
	sig, err := k.signer.SignMessage(bytes.NewReader(dsse.PAE(statementType, text)), options.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	return json.Marshal(envelope{statementType, text, []envelopeSignature{{Sig: sig}}})
}

// SignAhead signs claims about an image that [Key.Attest] will be asked to sign. It returns documents whose bytes may
// be sent ahead. A keyless key signs nothing ahead, because its signatures are public at once.
func (k *Key) SignAhead(ctx context.Context, image digest.Digest, claims []Claim) ([]registry.Document, error) {
	if k.keyless != nil {
		return nil, nil
	}
	var docs []registry.Document
	for _, claim := range claims {
		text, err := claim.statement(image)
		if err != nil {
			return nil, err
		}
		data, err := k.signed(ctx, image, claim)
		if err != nil {
			return nil, fmt.Errorf("sign claims about %q: %w", image, err)
		}
		k.mu.Lock()
		if k.ahead == nil {
			k.ahead = map[digest.Digest][]byte{}
		}
		k.ahead[digest.FromBytes(text)] = data
		k.mu.Unlock()
		docs = append(docs, registry.Document{ArtifactType: envelopeType, Data: data})
	}
	return docs, nil
}

// HasAttested tells whether an image has claims of all types where the key puts its own. It reads none: it is a hint
// that costs one request.
func (k *Key) HasAttested(ctx context.Context, c *registry.Client, ref string) (bool, error) {
	found, err := k.found(ctx, c, ref)
	if err != nil {
		return false, fmt.Errorf("look for claims about %q: %w", ref, err)
	}
	return !slices.ContainsFunc(ClaimTypes(), func(kind string) bool {
		return !slices.ContainsFunc(found, func(f foundClaim) bool { return f.kind == kind })
	}), nil
}
