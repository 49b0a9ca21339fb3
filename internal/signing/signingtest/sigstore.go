// Package signingtest is a Sigstore without network for tests: it certifies subjects, keeps a log, and serves both.
package signingtest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/rekor/pkg/generated/models"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"google.golang.org/protobuf/encoding/protojson"
)

// Who signs in tests.
const (
	Issuer  = "https://issuer.example"
	Subject = "ci@example.com"
)

// payloadType is that of statements.
const payloadType = "application/vnd.in-toto+json"

// SignPredicate is the type of a statement that is a signature of its subject.
const SignPredicate = "https://sigstore.dev/cosign/sign/v1"

// Sigstore is a certificate authority with a log.
type Sigstore struct {
	Root string // the file of its trusted root

	t         testing.TB
	virtual   *ca.VirtualSigstore
	authority *x509.Certificate
	key       *ecdsa.PrivateKey // of authority
}

// New makes a Sigstore that nobody else has.
func New(t testing.TB) *Sigstore {
	t.Helper()
	virtual, err := ca.NewVirtualSigstore()
	s := &Sigstore{t: t, virtual: virtual, Root: filepath.Join(t.TempDir(), "trusted_root.json")}
	s.ok(err)
	top, topKey, err := ca.GenerateRootCa()
	s.ok(err)
	s.authority, s.key, err = ca.GenerateFulcioIntermediate(top, topKey)
	s.ok(err)
	authorities := append(virtual.FulcioCertificateAuthorities(), &root.FulcioCertificateAuthority{Root: top,
		Intermediates: []*x509.Certificate{s.authority}, URI: "https://fulcio.example",
		ValidityPeriodStart: time.Now().Add(-time.Hour), ValidityPeriodEnd: time.Now().Add(time.Hour)})
	logs := virtual.RekorLogs()
	for id, l := range logs {
		l.ID, err = hex.DecodeString(id)
		s.ok(err)
	}
	trusted, err := root.NewTrustedRoot(root.TrustedRootMediaType01, authorities, nil, nil, logs)
	s.ok(err)
	text, err := trusted.MarshalJSON()
	s.ok(err)
	s.ok(os.WriteFile(s.Root, text, 0o600))
	return s
}

func (s *Sigstore) ok(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// holder has a public key and nothing else.
type holder struct {
	crypto.Signer
	public crypto.PublicKey
}

func (h holder) Public() crypto.PublicKey { return h.public }

// certify makes a certificate for a key. It is valid for ten minutes from begin.
func (s *Sigstore) certify(subject string, public crypto.PublicKey, begin time.Time) *x509.Certificate {
	s.t.Helper()
	leaf, err := ca.GenerateLeafCert(subject, Issuer, begin, holder{public: public}, s.authority, s.key)
	s.ok(err)
	return leaf
}

// entry puts a body into the log.
func (s *Sigstore) entry(body []byte, kind, version string, at time.Time) (*protorekor.TransparencyLogEntry,
	*models.InclusionProof) {
	s.t.Helper()
	id, err := s.virtual.RekorLogID()
	s.ok(err)
	raw, err := hex.DecodeString(id)
	s.ok(err)
	promise, err := s.virtual.RekorSignPayload(tlog.RekorPayload{LogID: id, IntegratedTime: at.Unix(),
		Body: base64.StdEncoding.EncodeToString(body)})
	s.ok(err)
	proof, err := s.virtual.GetInclusionProof(body)
	s.ok(err)
	sum, err := hex.DecodeString(*proof.RootHash)
	s.ok(err)
	return &protorekor.TransparencyLogEntry{LogId: &protocommon.LogId{KeyId: raw}, IntegratedTime: at.Unix(),
		KindVersion:       &protorekor.KindVersion{Kind: kind, Version: version},
		InclusionPromise:  &protorekor.InclusionPromise{SignedEntryTimestamp: promise},
		CanonicalizedBody: body,
		InclusionProof: &protorekor.InclusionProof{RootHash: sum, TreeSize: *proof.TreeSize,
			Checkpoint: &protorekor.Checkpoint{Envelope: *proof.Checkpoint}},
	}, proof
}

// dsseBody is the body of a log's entry for an envelope.
func (s *Sigstore) dsseBody(leaf *x509.Certificate, e *dsse.Envelope, sig []byte) []byte {
	s.t.Helper()
	entry, err := s.virtual.GenerateTlogEntry(leaf, e, sig, time.Now().Unix(), false)
	s.ok(err)
	return entry.TransparencyLogEntry().CanonicalizedBody
}

// Statement is a statement of a type about a digest. It says nothing.
func Statement(predicate string, d digest.Digest) []byte {
	return StatementOf(predicate, d, []byte("{}"))
}

// StatementOf is a statement of a type about a digest, with a predicate in JSON.
func StatementOf(predicate string, d digest.Digest, says json.RawMessage) []byte {
	data, _ := json.Marshal(map[string]any{"_type": "https://in-toto.io/Statement/v1", //nolint:errchkjson // plain
		"predicateType": predicate, "predicate": says,
		"subject": []any{map[string]any{"digest": map[string]string{d.Algorithm().String(): d.Encoded()}}}})
	return data
}

// Signed says what a signature of a test is.
type Signed struct {
	Subject   string        // default: the constant
	Predicate string        // default: SignPredicate
	Late      time.Duration // how long after its certificate began it is in the log
	Unlogged  bool          // it is in no log
	Says      []byte        // the predicate; default: {}
}

func (o *Signed) fill() {
	if o.Subject == "" {
		o.Subject = Subject
	}
	if o.Predicate == "" {
		o.Predicate = SignPredicate
	}
	if o.Says == nil {
		o.Says = []byte("{}")
	}
}

// Bundle makes a keyless signature of a digest, as cosign 3 does.
func (s *Sigstore) Bundle(d digest.Digest, o Signed) []byte {
	s.t.Helper()
	o.fill()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.ok(err)
	leaf := s.certify(o.Subject, key.Public(), time.Now().Add(-time.Minute))
	content, sig := s.envelope(StatementOf(o.Predicate, d, o.Says), key)
	b := &protobundle.Bundle{MediaType: "application/vnd.dev.sigstore.bundle.v0.3+json",
		VerificationMaterial: &protobundle.VerificationMaterial{Content: &protobundle.VerificationMaterial_Certificate{
			Certificate: &protocommon.X509Certificate{RawBytes: leaf.Raw}}}}
	content.Bundle(b, sig, nil, 0)
	if !o.Unlogged {
		body := s.dsseBody(leaf, &dsse.Envelope{PayloadType: content.PayloadType,
			Payload:    base64.StdEncoding.EncodeToString(content.Data),
			Signatures: []dsse.Signature{{Sig: base64.StdEncoding.EncodeToString(sig)}}}, sig)
		entry, _ := s.entry(body, "dsse", "0.0.1", time.Now().Add(o.Late))
		b.VerificationMaterial.TlogEntries = []*protorekor.TransparencyLogEntry{entry}
	}
	data, err := protojson.Marshal(b)
	s.ok(err)
	return data
}

// envelope signs a statement.
func (s *Sigstore) envelope(text []byte, key crypto.PrivateKey) (*sign.DSSEData, []byte) {
	s.t.Helper()
	content := &sign.DSSEData{Data: text, PayloadType: payloadType}
	signer, err := signature.LoadSigner(key, crypto.SHA256)
	s.ok(err)
	sig, err := signer.SignMessage(bytes.NewReader(content.PreAuthEncoding()))
	s.ok(err)
	return content, sig
}

// Simple makes a keyless signature of a payload, as cosign 2 does, and gives the annotations beside the payload.
func (s *Sigstore) Simple(payload []byte, late time.Duration) map[string]string {
	s.t.Helper()
	made, err := s.virtual.SignAtTime(Subject, Issuer, payload, time.Now().Add(time.Minute))
	s.ok(err)
	content, err := made.VerificationContent()
	s.ok(err)
	sig, err := made.SignatureContent()
	s.ok(err)
	entries, err := made.TlogEntries()
	s.ok(err)
	certificate, err := cryptoutils.MarshalCertificateToPEM(content.Certificate())
	s.ok(err)
	entry, _ := s.entry(entries[0].TransparencyLogEntry().CanonicalizedBody, "hashedrekord", "0.0.1",
		time.Now().Add(time.Minute+late))
	logged, err := json.Marshal(map[string]any{"SignedEntryTimestamp": entry.InclusionPromise.SignedEntryTimestamp,
		"Payload": map[string]any{"body": entry.CanonicalizedBody, "integratedTime": entry.IntegratedTime,
			"logIndex": entry.LogIndex, "logID": hex.EncodeToString(entry.LogId.KeyId)}})
	s.ok(err)
	return map[string]string{
		"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(sig.Signature()),
		"dev.sigstore.cosign/certificate":    string(certificate),
		"dev.sigstore.cosign/bundle":         string(logged),
	}
}

// KeyBundle makes a statement about a digest, signed by a key, as cosign 3 does.
func KeyBundle(t testing.TB, key crypto.PrivateKey, predicate string, d digest.Digest) []byte {
	t.Helper()
	s := &Sigstore{t: t}
	content, sig := s.envelope(Statement(predicate, d), key)
	data, err := protojson.Marshal(&protobundle.Bundle{MediaType: "application/vnd.dev.sigstore.bundle.v0.3+json",
		VerificationMaterial: &protobundle.VerificationMaterial{Content: &protobundle.VerificationMaterial_PublicKey{
			PublicKey: &protocommon.PublicKeyIdentifier{Hint: "test"}}},
		Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{Payload: content.Data,
			PayloadType: content.PayloadType, Signatures: []*protodsse.Signature{{Sig: sig}}}}})
	s.ok(err)
	return data
}

// Envelope signs a text as the payload of a DSSE envelope, as cosign 2 keeps it at a tag.
func Envelope(t testing.TB, key crypto.PrivateKey, text []byte) []byte {
	t.Helper()
	s := &Sigstore{t: t}
	signer, err := signature.LoadSigner(key, crypto.SHA256)
	s.ok(err)
	sig, err := signer.SignMessage(bytes.NewReader(dsse.PAE(payloadType, text)))
	s.ok(err)
	data, err := json.Marshal(dsse.Envelope{PayloadType: payloadType, Payload: base64.StdEncoding.EncodeToString(text),
		Signatures: []dsse.Signature{{Sig: base64.StdEncoding.EncodeToString(sig)}}})
	s.ok(err)
	return data
}

// Keys writes a private key in PEM and its public key to a directory, as NAME.key and NAME.pub.
func Keys(t testing.TB, dir, name string) *ecdsa.PrivateKey {
	t.Helper()
	s := &Sigstore{t: t}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.ok(err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	s.ok(err)
	public, err := cryptoutils.MarshalPublicKeyToPEM(key.Public())
	s.ok(err)
	s.ok(os.MkdirAll(dir, 0o755))
	s.ok(os.WriteFile(filepath.Join(dir, name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY",
		Bytes: der}), 0o600))
	s.ok(os.WriteFile(filepath.Join(dir, name+".pub"), public, 0o600))
	return key
}
