package signing

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/sigstore/pkg/signature/options"

	"github.com/raybuild/raybuild/internal/registry"
)

// Sign signs the image ref, which is named by its digest: its manifest, or an index and the manifests of all its
// platforms. It leaves out what the key has signed before. A keyless signature is always another one, so keyless
// signing leaves out what known has verified; known may be nil.
func (k *Key) Sign(ctx context.Context, c *registry.Client, ref string, known *Trust) error {
	all, err := manifests(ctx, c, ref)
	if err != nil {
		return fmt.Errorf("sign %q: %w", ref, err)
	}
	if k.keyless == nil {
		known = k.own
	}
	all = slices.DeleteFunc(all, func(one string) bool {
		if known == nil {
			return false
		}
		_, err := known.Verify(ctx, c, one)
		return err == nil
	})
	if len(all) == 0 {
		return nil
	}
	sign := k.signSimple
	if k.keyless != nil {
		session, err := k.keyless.session(ctx)
		if err != nil {
			return fmt.Errorf("sign %q: %w", ref, err)
		}
		sign = session.sign
	}
	for _, one := range all {
		if err := sign(ctx, c, one); err != nil {
			return fmt.Errorf("sign %q: %w", one, err)
		}
	}
	return nil
}

// manifests returns references of what is signed of an image, all by digest.
func manifests(ctx context.Context, c *registry.Client, ref string) ([]string, error) {
	if _, err := digestOf(ref); err != nil {
		return nil, err
	}
	stored, ok, err := c.Manifest(ctx, ref)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errors.New("the registry has no such image")
	}
	var index ocispecs.Index
	if err := json.Unmarshal(stored.Data, &index); err != nil {
		return nil, fmt.Errorf("read its manifest: %w", err)
	}
	all := []string{ref}
	for _, child := range index.Manifests {
		if child.Platform != nil && child.Platform.OS == "unknown" { // an attestation of BuildKit
			continue
		}
		one, err := registry.Pin(ref, child.Digest.String())
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// signSimple adds a simple signature to those at the image's tag.
func (k *Key) signSimple(ctx context.Context, c *registry.Client, ref string) error {
	d, err := digestOf(ref)
	if err != nil {
		return err
	}
	payload, err := simplePayload(ref, d)
	if err != nil {
		return err
	}
	sig, err := k.signer.SignMessage(bytes.NewReader(payload), options.WithContext(ctx))
	if err != nil {
		return err
	}
	layer := ocispecs.Descriptor{MediaType: simpleSigningType, Digest: digest.FromBytes(payload),
		Size:        int64(len(payload)),
		Annotations: map[string]string{signatureKey: base64.StdEncoding.EncodeToString(sig)}}
	return signatureList().add(ctx, c, ref, []ocispecs.Descriptor{layer}, payload)
}
