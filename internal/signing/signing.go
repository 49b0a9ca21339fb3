// Package signing signs what a registry has under a digest, as cosign does, and tells who has signed it.
//
// A key signs the payload "simple signing", which is kept at the tag sha256-….sig: the default of cosign 1 and 2,
// which cosign 3 also reads. A keyless signature is a bundle of Sigstore that belongs to the image as an OCI
// referrer: the default of cosign 3, which cosign 2.4 also reads. [Trust.Verify] reads both forms, whoever made
// them.
//
// A [Claim] about an image is signed as an in-toto statement, in the same two places: a key's in a DSSE envelope at the
// tag sha256-….att, a keyless one in a bundle. An image never has both of one signer, because cosign looks for nothing
// at the tags of an image that has a bundle.
//
// A signature is of one digest. It does not say which name the image should have: [Trust.Verify] does not compare
// the repository that the payload names, and neither does cosign.
package signing

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore/pkg/signature/payload"

	"github.com/raybuild/raybuild/internal/registry"
)

// Media types, annotations and limits of signatures in a registry.
const (
	simpleSigningType = "application/vnd.dev.cosign.simplesigning.v1+json"
	bundleType        = "application/vnd.dev.sigstore.bundle.v0.3+json"
	envelopeType      = "application/vnd.dsse.envelope.v1+json"
	statementType     = "application/vnd.in-toto+json"
	signPredicate     = "https://sigstore.dev/cosign/sign/v1" // the statement is a signature of its subject

	signatureKey   = "dev.cosignproject.cosign/signature"
	certificateKey = "dev.sigstore.cosign/certificate"
	logEntryKey    = "dev.sigstore.cosign/bundle"
	timestampKey   = "dev.sigstore.cosign/rfc3161timestamp"
	contentKey     = "dev.sigstore.bundle.content"
	predicateKey   = "dev.sigstore.bundle.predicateType"
	envelopeKey    = "predicateType" // of an envelope at a tag

	maxSignatures = 64        // of an image that are looked at
	maxPayload    = 1 << 20   // of a signature that is read, in bytes
	maxClaims     = 24        // of an image that are looked at
	maxClaim      = 96 << 20  // of a claim that is read, in bytes; in base64 it is a third longer than its document
	maxCopied     = 256 << 20 // of all claims that are copied, in bytes
)

// ErrUnsigned says that an image has no signature.
var ErrUnsigned = errors.New("it has no signature")

// Getenv returns an environment variable, or "" if it is not set.
type Getenv = func(string) string

// simplePayload is what a key signs of an image.
func simplePayload(ref string, d digest.Digest) ([]byte, error) {
	repository, err := registry.Repository(ref)
	if err != nil {
		return nil, err
	}
	var p payload.SimpleContainerImage
	p.Critical.Identity.DockerReference = repository
	p.Critical.Image.DockerManifestDigest = d.String()
	p.Critical.Type = payload.CosignSignatureType
	return json.Marshal(p)
}

// checkPayload returns an error if a payload is not that of a signature of the digest.
func checkPayload(data []byte, d digest.Digest) error {
	var p payload.SimpleContainerImage
	if err := json.Unmarshal(data, &p); err != nil {
		return fmt.Errorf("read payload: %w", err)
	}
	if p.Critical.Type != payload.CosignSignatureType {
		return fmt.Errorf("its payload has the type %q, not that of an image's signature", p.Critical.Type)
	}
	if p.Critical.Image.DockerManifestDigest != d.String() {
		return fmt.Errorf("it is a signature of %q", p.Critical.Image.DockerManifestDigest)
	}
	return nil
}

// digestOf returns the digest by which a reference names an image.
func digestOf(ref string) (digest.Digest, error) {
	d, err := registry.DigestOf(ref)
	if err != nil {
		return "", err
	}
	if d.Algorithm() != digest.SHA256 {
		return "", fmt.Errorf("read digest of image %q: it is of %s, and signatures are of sha256", ref, d.Algorithm())
	}
	return d, nil
}
