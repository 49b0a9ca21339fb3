package signing

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"golang.org/x/sync/errgroup"

	"github.com/raybuild/raybuild/internal/registry"
)

// readAtOnce is how many signatures are read in parallel.
const readAtOnce = 8

// simpleSignatures reads the simple signatures of an image: those at the tag of its digest.
func simpleSignatures(ctx context.Context, c *registry.Client, ref string) ([]signed, error) {
	d, err := digestOf(ref)
	if err != nil {
		return nil, err
	}
	layers, unread, err := signatureList().read(ctx, c, ref)
	if err != nil {
		return nil, err
	}
	if unread != nil {
		return []signed{{err: unread}}, nil //nolint:nilerr // it is a signature that does not count
	}
	usual, err := simplePayload(ref, d)
	if err != nil {
		return nil, err
	}
	return readAll(ctx, layers, func(ctx context.Context, l ocispecs.Descriptor) (signed, error) {
		payload := usual // as raybuild and cosign write it: then it need not be read
		if l.Digest != digest.FromBytes(usual) {
			var err error
			if payload, err = c.SmallBlob(ctx, ref, l, maxPayload); err != nil {
				return signed{}, err
			}
		}
		return simpleSigned(payload, l.Annotations)
	})
}

// bundles reads the bundles of signatures that belong to an image as referrers.
func bundles(ctx context.Context, c *registry.Client, ref string) ([]signed, error) {
	all, err := bundlesOf(ctx, c, ref, signPredicate)
	if err != nil {
		return nil, err
	}
	return readAll(ctx, all, func(ctx context.Context, d ocispecs.Descriptor) (signed, error) {
		data, err := readBundle(ctx, c, ref, d, maxPayload)
		if err != nil {
			return signed{}, err
		}
		return bundleSigned(data)
	})
}

// readAll reads signatures in parallel. A signature that cannot be read has an error.
func readAll(ctx context.Context, all []ocispecs.Descriptor,
	read func(context.Context, ocispecs.Descriptor) (signed, error)) ([]signed, error) {
	out := make([]signed, len(all))
	var g errgroup.Group
	g.SetLimit(readAtOnce)
	for i, d := range all {
		g.Go(func() error {
			s, err := read(ctx, d)
			if err != nil {
				s = signed{err: err}
			}
			out[i] = s
			return nil
		})
	}
	return out, errors.Join(g.Wait(), ctx.Err())
}

// bundleSigned reads a bundle.
func bundleSigned(data []byte) (signed, error) {
	b := &bundle.Bundle{}
	if err := b.UnmarshalJSON(data); err != nil {
		return signed{}, fmt.Errorf("read bundle: %w", err)
	}
	return signed{bundle: b}, nil
}

// simpleSigned makes a bundle of a simple signature: of its payload, and of what cosign puts beside it.
func simpleSigned(payload []byte, annotations map[string]string) (signed, error) {
	sig, err := base64.StdEncoding.DecodeString(annotations[signatureKey])
	if err != nil {
		return signed{}, fmt.Errorf("read signature: %w", err)
	}
	sum := sha256.Sum256(payload)
	material, err := materialOf(annotations)
	if err != nil {
		return signed{}, err
	}
	b, err := bundle.NewBundle(&protobundle.Bundle{
		MediaType:            "application/vnd.dev.sigstore.bundle+json;version=0.1",
		VerificationMaterial: material,
		Content: &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
			MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: sum[:]},
			Signature:     sig}},
	})
	if err != nil {
		return signed{}, fmt.Errorf("read signature: %w", err)
	}
	return signed{bundle: b, payload: payload}, nil
}

// materialOf reads by what a signature at a tag is verified: a key, or what is beside the signature.
func materialOf(annotations map[string]string) (*protobundle.VerificationMaterial, error) {
	if text := annotations[certificateKey]; text != "" {
		return certificateOf(text, annotations)
	}
	return &protobundle.VerificationMaterial{Content: &protobundle.VerificationMaterial_PublicKey{
		PublicKey: &protocommon.PublicKeyIdentifier{}}}, nil
}

// certificateOf reads what cosign 2 puts beside a keyless signature: the certificate, an entry of Rekor 1 and a
// timestamp.
func certificateOf(text string, annotations map[string]string) (*protobundle.VerificationMaterial, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("read signature: its certificate is no PEM")
	}
	material := &protobundle.VerificationMaterial{Content: &protobundle.VerificationMaterial_Certificate{
		Certificate: &protocommon.X509Certificate{RawBytes: block.Bytes}}}
	if text := annotations[logEntryKey]; text != "" {
		entry, err := logEntry([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("read entry of the log: %w", err)
		}
		material.TlogEntries = []*protorekor.TransparencyLogEntry{entry}
	}
	if text := annotations[timestampKey]; text != "" {
		var stamp struct{ SignedRFC3161Timestamp []byte }
		if err := json.Unmarshal([]byte(text), &stamp); err != nil {
			return nil, fmt.Errorf("read timestamp of a signature: %w", err)
		}
		material.TimestampVerificationData = &protobundle.TimestampVerificationData{
			Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: stamp.SignedRFC3161Timestamp}}}
	}
	return material, nil
}

// logEntry reads an entry of Rekor 1, as cosign 2 writes it.
func logEntry(text []byte) (*protorekor.TransparencyLogEntry, error) {
	var e struct {
		SignedEntryTimestamp []byte
		Payload              struct {
			Body           []byte `json:"body"`
			IntegratedTime int64  `json:"integratedTime"`
			LogIndex       int64  `json:"logIndex"`
			LogID          string `json:"logID"`
		}
	}
	if err := json.Unmarshal(text, &e); err != nil {
		return nil, err
	}
	var kind struct {
		Kind       string `json:"kind"`
		APIVersion string `json:"apiVersion"`
	}
	if err := json.Unmarshal(e.Payload.Body, &kind); err != nil {
		return nil, err
	}
	id, err := hex.DecodeString(e.Payload.LogID)
	if err != nil {
		return nil, err
	}
	return &protorekor.TransparencyLogEntry{
		LogIndex: e.Payload.LogIndex, LogId: &protocommon.LogId{KeyId: id}, IntegratedTime: e.Payload.IntegratedTime,
		KindVersion:       &protorekor.KindVersion{Kind: kind.Kind, Version: kind.APIVersion},
		InclusionPromise:  &protorekor.InclusionPromise{SignedEntryTimestamp: e.SignedEntryTimestamp},
		CanonicalizedBody: e.Payload.Body,
	}, nil
}
