package signing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	"github.com/sigstore/sigstore-go/pkg/bundle"

	"github.com/raybuild/raybuild/internal/registry"
)

// SignedClaim is a claim about an image that an identity has signed.
type SignedClaim struct {
	Claim
	Who string // the identity
}

// Claims gives the claims of a type about the image ref (by digest) that one of the identities has signed, the newest
// first. For each other claim of this type it gives the error that says why it is not believed, and an error if the
// registry cannot tell. It reads a claim when it is asked for.
func (t *Trust) Claims(ctx context.Context, c *registry.Client, ref, kind string) iter.Seq2[SignedClaim, error] {
	return func(yield func(SignedClaim, error) bool) {
		d, err := digestOf(ref)
		if err != nil {
			yield(SignedClaim{}, err)
			return
		}
		looks := []func(context.Context, *registry.Client, string) ([]foundClaim, error){taggedClaims, bundledClaims}
		if len(t.keys) == 0 { // each look costs a request
			looks[0], looks[1] = looks[1], looks[0]
		}
		for _, look := range looks {
			all, err := look(ctx, c, ref)
			if err != nil {
				yield(SignedClaim{}, err)
				return
			}
			for _, f := range all {
				if f.kind != "" && f.kind != kind {
					continue
				}
				if !yield(t.claim(ctx, f, kind, d)) {
					return
				}
			}
		}
	}
}

// claim reads a claim, and returns an error if no identity has signed it for the digest.
func (t *Trust) claim(ctx context.Context, f foundClaim, kind string, d digest.Digest) (out SignedClaim, err error) {
	s, err := f.read(ctx)
	if err != nil {
		return out, err
	}
	s.kind = kind
	if out.Who, err = t.signer(s, d); err != nil {
		return SignedClaim{}, err
	}
	out.Claim, err = ClaimOf(s.bundle.GetDsseEnvelope().GetPayload())
	return out, err
}

// foundClaim is a claim that was found in a registry. Nothing of it is verified.
type foundClaim struct {
	kind string // what the registry says that it is; "": it does not say
	read func(ctx context.Context) (signed, error)
}

// taggedClaims lists the claims that keys have signed: those at the tag of the image's digest.
func taggedClaims(ctx context.Context, c *registry.Client, ref string) ([]foundClaim, error) {
	entries, _, err := claimList().read(ctx, c, ref) // what is no list has no claims
	if err != nil {
		return nil, err
	}
	var all []foundClaim
	for _, e := range entries {
		all = append(all, foundClaim{e.Annotations[envelopeKey], func(ctx context.Context) (signed, error) {
			data, err := c.SmallBlob(ctx, ref, e, maxClaim)
			if err != nil {
				return signed{}, err
			}
			return envelopeSigned(data, e.Annotations)
		}})
	}
	return all, nil
}

// bundledClaims lists the claims that belong to an image as referrers.
func bundledClaims(ctx context.Context, c *registry.Client, ref string) ([]foundClaim, error) {
	found, err := bundlesOf(ctx, c, ref, ClaimTypes()...)
	if err != nil {
		return nil, err
	}
	var all []foundClaim
	for _, d := range found[:min(len(found), maxClaims)] {
		all = append(all, foundClaim{d.Annotations[predicateKey], func(ctx context.Context) (signed, error) {
			data, err := readBundle(ctx, c, ref, d, maxClaim)
			if err != nil {
				return signed{}, err
			}
			return bundleSigned(data)
		}})
	}
	return all, nil
}

// envelope is a DSSE envelope (https://github.com/secure-systems-lab/dsse/blob/v1.0.2/envelope.md).
type envelope struct {
	PayloadType string              `json:"payloadType"`
	Payload     []byte              `json:"payload"`
	Signatures  []envelopeSignature `json:"signatures"`
}

type envelopeSignature struct {
	KeyID string `json:"keyid"`
	Sig   []byte `json:"sig"`
}

// envelopeSigned makes a bundle of an envelope, and of what cosign 2 puts beside it.
func envelopeSigned(data []byte, annotations map[string]string) (signed, error) {
	var e envelope
	if err := json.Unmarshal(data, &e); err != nil {
		return signed{}, fmt.Errorf("read envelope: %w", err)
	}
	if len(e.Signatures) == 0 {
		return signed{}, errors.New("read envelope: it has no signature")
	}
	material, err := materialOf(annotations)
	if err != nil {
		return signed{}, err
	}
	content := &protodsse.Envelope{PayloadType: e.PayloadType, Payload: e.Payload}
	for _, s := range e.Signatures {
		content.Signatures = append(content.Signatures, &protodsse.Signature{Keyid: s.KeyID, Sig: s.Sig})
	}
	b, err := bundle.NewBundle(&protobundle.Bundle{
		MediaType:            "application/vnd.dev.sigstore.bundle+json;version=0.1",
		VerificationMaterial: material,
		Content:              &protobundle.Bundle_DsseEnvelope{DsseEnvelope: content},
	})
	if err != nil {
		return signed{}, fmt.Errorf("read envelope: %w", err)
	}
	return signed{bundle: b}, nil
}

// entry is an envelope as an entry of the list of claims.
func (c Claim) entry(envelope []byte) ocispecs.Descriptor {
	return ocispecs.Descriptor{MediaType: envelopeType, Digest: digest.FromBytes(envelope), Size: int64(len(envelope)),
		Annotations: map[string]string{envelopeKey: c.Type, signatureKey: ""}} // cosign wants both
}
