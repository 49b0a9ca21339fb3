package signing

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/signers"
)

// Identity is somebody who may sign: the holder of a key, or the subject of a certificate.
type Identity struct {
	// Name is how messages name the identity. Default: "a key", or the subject.
	Name string
	// Key is a public key in PEM: ECDSA, RSA or ed25519. It excludes the other fields.
	Key string
	// Issuer is the OIDC issuer that has told who the subject is, as
	// https://token.actions.githubusercontent.com.
	Issuer string
	// Subject is the subject of the certificate: an e-mail address, or the URL of a workflow.
	Subject string
	// SubjectRegexp is a regular expression (RE2) that the whole subject must match, in place of Subject.
	SubjectRegexp string
}

// TrustOptions say where the root of keyless signatures comes from. The zero value is the public Sigstore.
type TrustOptions struct {
	// Root is a file with a trusted root (trusted_root.json) of a private Sigstore, or for a site without
	// network. Default: the root of the public Sigstore, which its TUF repository gives.
	Root string
	// Cache is a directory that keeps the root of the public Sigstore for a day. Default: it is not kept.
	Cache string
}

// Trust tells whether one of some identities has signed an image. It is safe for concurrent use.
type Trust struct {
	keys     []trustedKey
	subjects []trustedSubject
	material func() (root.TrustedMaterial, error) // for subjects; read once
}

// trustedKey is an identity with a key.
type trustedKey struct {
	name     string
	verifier *verify.Verifier
}

// trustedSubject is an identity with a subject.
type trustedSubject struct {
	name     string
	identity verify.CertificateIdentity
}

// NewTrust makes a Trust. It reads no file and asks no network: the root of keyless signatures is read when a
// keyless signature is found. It is an error if an identity has neither a key nor issuer and subject, or both, or
// a key that cannot be read.
func NewTrust(identities []Identity, o TrustOptions) (*Trust, error) {
	t := &Trust{material: sync.OnceValues(func() (root.TrustedMaterial, error) { return trustedRoot(o) })}
	for _, id := range identities {
		keyless := id.Issuer != "" && (id.Subject == "") != (id.SubjectRegexp == "")
		switch {
		case id.Key != "" && id.Issuer+id.Subject+id.SubjectRegexp == "":
			keys, err := keysOf(id)
			if err != nil {
				return nil, err
			}
			t.keys = append(t.keys, keys...)
		case id.Key == "" && keyless:
			s, err := subjectOf(id)
			if err != nil {
				return nil, err
			}
			t.subjects = append(t.subjects, s)
		default:
			return nil, fmt.Errorf("read identity %q: it needs a key, or an issuer with a subject or a regular "+
				"expression", id.Name)
		}
	}
	return t, nil
}

// RootOf returns where the trust of a file in dir takes the root of keyless signatures from. cache is the directory
// that keeps the root of the public Sigstore.
func RootOf(t signers.Trust, dir, cache string) TrustOptions {
	if t.Root != "" {
		return TrustOptions{Root: filepath.Join(dir, filepath.FromSlash(t.Root))}
	}
	return TrustOptions{Cache: cache}
}

// ReadTrust makes a Trust of the trust of a file in dir: a recipe or a cluster file. It reads the public keys.
func ReadTrust(t signers.Trust, dir string, o TrustOptions) (*Trust, error) {
	var all []Identity
	for _, s := range t.SignedBy {
		id := Identity{Name: s.Name(), Issuer: s.Issuer, Subject: s.Subject, SubjectRegexp: s.SubjectRegexp}
		if s.Key != "" {
			var err error
			if id.Key, err = s.PublicKey(dir); err != nil {
				return nil, err
			}
		}
		all = append(all, id)
	}
	return NewTrust(all, o)
}

// keysOf reads the public key of an identity. A key of a larger curve may have signed with SHA-256, as cosign does
// by default, or with the hash of its size.
func keysOf(id Identity) ([]trustedKey, error) {
	name := id.Name
	if name == "" {
		name = "a key"
	}
	public, err := cryptoutils.UnmarshalPEMToPublicKey([]byte(id.Key))
	if err != nil {
		return nil, fmt.Errorf("read public key %q: %w: it is a PEM of type PUBLIC KEY, as cosign.pub", name, err)
	}
	plain, err := signature.LoadVerifier(public, crypto.SHA256)
	verifiers := []signature.Verifier{plain}
	if ec, ok := public.(*ecdsa.PublicKey); ok && err == nil && ec.Curve != elliptic.P256() {
		var sized signature.Verifier
		sized, err = signature.LoadDefaultVerifier(public)
		verifiers = append(verifiers, sized)
	}
	if err != nil {
		return nil, fmt.Errorf("read public key %q: %w: use a key of ECDSA, RSA or ed25519", name, err)
	}
	var all []trustedKey
	for _, v := range verifiers {
		key, err := keyVerifier(v)
		if err != nil {
			return nil, fmt.Errorf("read public key %q: %w", name, err)
		}
		all = append(all, trustedKey{name, key})
	}
	return all, nil
}

// keyVerifier verifies signatures of a key, whatever a bundle calls it, and asks for no log.
func keyVerifier(v signature.Verifier) (*verify.Verifier, error) {
	key := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
		return root.NewExpiringKey(v, time.Time{}, time.Time{}), nil
	})
	return verify.NewVerifier(key, verify.WithNoObserverTimestamps())
}

// subjectOf reads the subject of an identity.
func subjectOf(id Identity) (trustedSubject, error) {
	name, expr := id.Name, ""
	if name == "" {
		name = id.Subject + id.SubjectRegexp
	}
	if id.SubjectRegexp != "" {
		expr = "^(?:" + id.SubjectRegexp + ")$"
	}
	identity, err := verify.NewShortCertificateIdentity(id.Issuer, "", id.Subject, expr)
	if err != nil {
		return trustedSubject{}, fmt.Errorf("read subject of identity %q: %w", name, err)
	}
	return trustedSubject{name, identity}, nil
}

// Verify returns the name of an identity that has signed the image ref, which is named by its digest. The error is
// [ErrUnsigned] if the image has no signature. If it has signatures and none is by an identity, the error says
// why the last one is not.
func (t *Trust) Verify(ctx context.Context, c *registry.Client, ref string) (who string, err error) {
	d, err := digestOf(ref)
	if err != nil {
		return "", err
	}
	// Each look costs requests, so the one that is likely to find something comes first.
	looks := []func(context.Context, *registry.Client, string) ([]signed, error){simpleSignatures, bundles}
	if len(t.keys) == 0 {
		looks[0], looks[1] = looks[1], looks[0]
	}
	err = ErrUnsigned
	for _, look := range looks {
		found, failed := look(ctx, c, ref)
		for _, s := range found {
			who, refused := t.signer(s, d)
			if refused == nil {
				return who, nil
			}
			err = refused
		}
		if failed != nil {
			return "", failed
		}
	}
	if len(t.keys)+len(t.subjects) == 0 {
		return "", errors.New("nobody is trusted")
	}
	return "", err
}
