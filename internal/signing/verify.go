package signing

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tuf"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// signed is a signature that was found in a registry. Nothing of it is verified.
type signed struct {
	bundle  *bundle.Bundle
	payload []byte // of a simple signature; nil: the bundle has a statement
	kind    string // the type that the statement must have; "": it must be a signature
	err     error  // why it cannot be read
}

// certified tells whether the signature has a certificate in place of a key.
func (s signed) certified() bool { return s.bundle.GetVerificationMaterial().GetPublicKey() == nil }

// artifact returns what the signature must be of.
func (s signed) artifact(d digest.Digest) (verify.ArtifactPolicyOption, error) {
	if s.payload != nil {
		return verify.WithArtifact(bytes.NewReader(s.payload)), checkPayload(s.payload, d)
	}
	if s.bundle.GetDsseEnvelope() == nil {
		return nil, errors.New("its bundle has no statement")
	}
	raw, err := hex.DecodeString(d.Encoded())
	return verify.WithArtifactDigest(d.Algorithm().String(), raw), err
}

// signer returns the name of the identity that made a signature of the digest.
func (t *Trust) signer(s signed, d digest.Digest) (string, error) {
	if s.err != nil {
		return "", s.err
	}
	if s.certified() {
		return t.subject(s, d)
	}
	err := errors.New("it is signed by a key, and no key is trusted")
	for _, key := range t.keys {
		artifact, failed := s.artifact(d)
		if failed != nil {
			return "", failed
		}
		var done *verify.VerificationResult
		done, err = key.verifier.Verify(s.bundle, verify.NewPolicy(artifact, verify.WithKey()))
		if err == nil {
			return key.name, s.isOfKind(done)
		}
	}
	return "", fmt.Errorf("its signature is by another key, or was altered: %w", err)
}

// subject returns the name of the identity whose certificate made a signature of the digest.
func (t *Trust) subject(s signed, d digest.Digest) (string, error) {
	if len(t.subjects) == 0 {
		return "", errors.New("it is signed by a certificate, and no subject of certificates is trusted")
	}
	material, err := t.material()
	if err != nil {
		return "", err
	}
	verifier, err := verify.NewVerifier(material, rootRules(material)...)
	if err != nil {
		return "", fmt.Errorf("use root of keyless signatures: %w", err)
	}
	artifact, err := s.artifact(d)
	if err != nil {
		return "", err
	}
	var allowed []verify.PolicyOption
	for _, subject := range t.subjects {
		allowed = append(allowed, verify.WithCertificateIdentity(subject.identity))
	}
	done, err := verifier.Verify(s.bundle, verify.NewPolicy(artifact, allowed...))
	if err != nil {
		return "", fmt.Errorf("its keyless signature is by somebody else, or was altered: %w", err)
	}
	if err := s.isOfKind(done); err != nil {
		return "", err
	}
	for _, subject := range t.subjects {
		if subject.identity.Verify(*done.Signature.Certificate) == nil {
			return subject.name, nil
		}
	}
	return "", errors.New("its certificate is of nobody who is trusted")
}

// isOfKind returns an error if a verified bundle says something else of its subject than what is asked for. So a claim
// is no signature of an image, and provenance is no bill of materials.
func (s signed) isOfKind(done *verify.VerificationResult) error {
	if s.payload != nil {
		return nil
	}
	switch kind := done.Statement.GetPredicateType(); {
	case s.kind == "" && kind != signPredicate:
		return fmt.Errorf("what is signed is the statement %q, not the image", kind)
	case s.kind != "" && kind != s.kind:
		return fmt.Errorf("what is signed is a statement of another type, %q", kind)
	}
	return nil
}

// rootRules returns what a keyless signature needs beside a certificate: an entry in a log, a time that somebody
// else tells, and a certificate that is in a log, as far as the root has such logs.
func rootRules(material root.TrustedMaterial) []verify.VerifierOption {
	rules := []verify.VerifierOption{verify.WithObserverTimestamps(1)}
	if len(material.RekorLogs()) > 0 {
		rules = append(rules, verify.WithTransparencyLog(1))
	}
	if len(material.CTLogs()) > 0 {
		rules = append(rules, verify.WithSignedCertificateTimestamps(1))
	}
	return rules
}

// trustedRoot reads the root of keyless signatures.
func trustedRoot(o TrustOptions) (root.TrustedMaterial, error) {
	if o.Root != "" {
		material, err := root.NewTrustedRootFromPath(o.Root)
		if err != nil {
			return nil, fmt.Errorf("read root of keyless signatures %q: %w: it is a trusted_root.json", o.Root, err)
		}
		return material, nil
	}
	material, err := root.FetchTrustedRootWithOptions(publicSigstore(o.Cache))
	if err != nil {
		return nil, fmt.Errorf("fetch root of keyless signatures: %w: a site without network needs a "+
			"trusted_root.json, under trust.root", err)
	}
	return material, nil
}

// publicSigstore says how the public Sigstore's own files are fetched. They are kept in the directory cache for a
// day.
func publicSigstore(cache string) *tuf.Options {
	if cache == "" {
		return tuf.DefaultOptions().WithDisableLocalCache()
	}
	return tuf.DefaultOptions().WithCachePath(cache).WithCacheValidity(1)
}
