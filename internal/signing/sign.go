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
	"github.com/opencontainers/image-spec/specs-go"
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
		session, err := k.keyless.begin(ctx)
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
	return addSimple(ctx, c, ref, []ocispecs.Descriptor{layer}, payload)
}

// addSimple puts simple signatures before those at the image's tag. Of these it keeps as many as are looked at.
func addSimple(ctx context.Context, c *registry.Client, ref string, layers []ocispecs.Descriptor,
	payloads ...[]byte) error {
	d, err := digestOf(ref)
	if err != nil {
		return err
	}
	tag, err := registry.Tagged(ref, signatureTag(d))
	if err != nil {
		return err
	}
	stored, ok, err := c.Manifest(ctx, tag)
	if err != nil {
		return err
	}
	if ok {
		others, _ := simpleLayers(stored.Data) // what is no list of signatures is replaced
		layers = append(slices.Clone(layers), others...)
	}
	manifest, config, err := simpleManifest(layers[:min(len(layers), maxSignatures)])
	if err != nil {
		return err
	}
	return c.Store(ctx, tag, ocispecs.MediaTypeImageManifest, manifest, append(payloads, config)...)
}

// simpleManifest makes the manifest and the config by which cosign lists simple signatures.
func simpleManifest(layers []ocispecs.Descriptor) (manifest, config []byte, err error) {
	image := ocispecs.Image{RootFS: ocispecs.RootFS{Type: "layers"}}
	for _, l := range layers {
		image.RootFS.DiffIDs = append(image.RootFS.DiffIDs, l.Digest)
	}
	if config, err = json.Marshal(image); err != nil {
		return nil, nil, fmt.Errorf("write config: %w", err)
	}
	manifest, err = json.Marshal(ocispecs.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageManifest,
		Config: ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageConfig, Digest: digest.FromBytes(config),
			Size: int64(len(config))},
		Layers: layers,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("write manifest: %w", err)
	}
	return manifest, config, nil
}
