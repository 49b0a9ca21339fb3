package signing

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/signing/signingtest"
)

// fuzzTrust trusts one key and one subject.
func fuzzTrust(f *testing.F) *Trust {
	f.Helper()
	s, dir := signingtest.New(f), f.TempDir()
	signingtest.Keys(f, dir, "ours")
	key, err := OpenKey(f.Context(), KeyOptions{Key: dir + "/ours.key"})
	if err != nil {
		f.Fatal(err)
	}
	t, err := NewTrust([]Identity{{Issuer: signingtest.Issuer, Subject: "nobody@example.com"}},
		TrustOptions{Root: s.Root})
	if err != nil {
		f.Fatal(err)
	}
	t.keys = key.own.keys
	return t
}

// Whatever a registry has as a bundle, reading it ends, and nobody has signed it.
func FuzzBundle(f *testing.F) {
	t := fuzzTrust(f)
	d := digest.FromString("image")
	s := signingtest.New(f)
	f.Add(s.Bundle(d, signingtest.Signed{}))
	f.Add(signingtest.KeyBundle(f, signingtest.Keys(f, f.TempDir(), "a"), signingtest.SignPredicate, d))
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{}}`))
	f.Fuzz(func(test *testing.T, data []byte) {
		b, err := bundleSigned(data)
		if err != nil {
			return
		}
		if who, err := t.signer(b, d); err == nil {
			test.Errorf("%q has signed it", who)
		}
	})
}

// Whatever a registry has as a list of simple signatures, reading it ends, and nobody has signed it.
func FuzzSimpleSignatures(f *testing.F) {
	t := fuzzTrust(f)
	d := digest.FromString("image")
	payload, err := simplePayload("registry.example/ray", d)
	if err != nil {
		f.Fatal(err)
	}
	annotations, err := json.Marshal(signingtest.New(f).Simple(payload, 0))
	if err != nil {
		f.Fatal(err)
	}
	layer := `{"mediaType":"` + simpleSigningType + `","digest":"` + digest.FromBytes(payload).String() +
		`","size":1,"annotations":`
	f.Add([]byte(`{"layers":[`+layer+string(annotations)+`}]}`), payload)
	f.Add([]byte(`{"layers":[`+layer+`{"`+signatureKey+`":"AAAA"}}]}`), payload)
	f.Add([]byte(`{"layers":[{}]}`), []byte(`{}`))
	f.Fuzz(func(test *testing.T, manifest, payload []byte) {
		layers, err := signatureList().entries(manifest)
		if err != nil {
			return
		}
		for _, l := range layers[:min(len(layers), 4)] {
			s, err := simpleSigned(bytes.Clone(payload), l.Annotations)
			if err != nil {
				continue
			}
			if who, err := t.signer(s, d); err == nil {
				test.Errorf("%q has signed it", who)
			}
		}
	})
}

// Whatever a registry has as an envelope of a claim, reading it ends, and nobody has signed it.
func FuzzEnvelope(f *testing.F) {
	t := fuzzTrust(f)
	d := digest.FromString("image")
	f.Add(signingtest.Envelope(f, signingtest.Keys(f, f.TempDir(), "a"), signingtest.Statement(SPDXClaim, d)))
	f.Add([]byte(`{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[{"sig":"AAAA"}]}`))
	f.Fuzz(func(test *testing.T, data []byte) {
		s, err := envelopeSigned(data, nil)
		if err != nil {
			return
		}
		s.kind = SPDXClaim
		if who, err := t.signer(s, d); err == nil {
			test.Errorf("%q has signed it", who)
		}
		_, _ = ClaimOf(s.bundle.GetDsseEnvelope().GetPayload())
	})
}
