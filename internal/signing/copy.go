package signing

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/internal/registry"
)

// Copy copies the signatures of an image, and of the images of an index, to the same image in another repository.
// Both are named by digest. Whoever reads the copy verifies it: Copy verifies nothing.
func Copy(ctx context.Context, c *registry.Client, from, to string) error {
	all, err := manifests(ctx, c, from)
	if err != nil {
		return fmt.Errorf("copy signatures of %q: %w", from, err)
	}
	for _, one := range all {
		d, err := digestOf(one)
		if err != nil {
			return err
		}
		there, err := registry.Pin(to, d.String())
		if err != nil {
			return err
		}
		if err := copySimple(ctx, c, one, there); err != nil {
			return fmt.Errorf("copy signatures of %q: %w", one, err)
		}
		if err := copyBundles(ctx, c, one, there); err != nil {
			return fmt.Errorf("copy signatures of %q: %w", one, err)
		}
	}
	return nil
}

// copySimple copies the simple signatures of one manifest.
func copySimple(ctx context.Context, c *registry.Client, from, to string) error {
	d, err := digestOf(from)
	if err != nil {
		return err
	}
	tag, err := registry.Tagged(from, signatureTag(d))
	if err != nil {
		return err
	}
	stored, ok, err := c.Manifest(ctx, tag)
	if err != nil || !ok {
		return err
	}
	layers, _ := simpleLayers(stored.Data) // what is no list of signatures is not copied
	layers = layers[:min(len(layers), maxSignatures)]
	var payloads [][]byte
	for i, l := range layers {
		if slices.ContainsFunc(layers[:i], func(d ocispecs.Descriptor) bool { return d.Digest == l.Digest }) {
			continue
		}
		data, err := c.SmallBlob(ctx, from, l, maxPayload)
		if err != nil {
			return err
		}
		payloads = append(payloads, data)
	}
	if len(layers) == 0 {
		return nil
	}
	return addSimple(ctx, c, to, layers, payloads...)
}

// copyBundles copies the bundles of signatures of one manifest.
func copyBundles(ctx context.Context, c *registry.Client, from, to string) error {
	all, err := bundlesOf(ctx, c, from)
	if err != nil {
		return err
	}
	var docs []registry.Document
	for _, d := range all {
		data, err := readBundle(ctx, c, from, d)
		if err != nil {
			continue // nobody could verify it there either
		}
		docs = append(docs, bundleDocument(data))
	}
	if len(docs) == 0 {
		return nil
	}
	_, err = c.Attach(ctx, to, docs...)
	return err
}

// bundleDocument is a bundle of a signature as a document of an image.
func bundleDocument(data []byte) registry.Document {
	return registry.Document{ArtifactType: bundleType, Data: data,
		Annotations: map[string]string{contentKey: "dsse-envelope", predicateKey: signPredicate}}
}

// bundlesOf lists the bundles of an image that may be signatures, as many as are looked at.
func bundlesOf(ctx context.Context, c *registry.Client, ref string) ([]ocispecs.Descriptor, error) {
	all, err := c.Referrers(ctx, ref, bundleType)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(d ocispecs.Descriptor) bool {
		kind, told := d.Annotations[predicateKey]
		return told && kind != signPredicate
	})
	return all[:min(len(all), maxSignatures)], nil
}

// readBundle reads a bundle of an image.
func readBundle(ctx context.Context, c *registry.Client, ref string, d ocispecs.Descriptor) ([]byte, error) {
	at, err := registry.Pin(ref, d.Digest.String())
	if err != nil {
		return nil, err
	}
	stored, ok, err := c.Manifest(ctx, at)
	if err != nil {
		return nil, err
	}
	var m ocispecs.Manifest
	if err := json.Unmarshal(stored.Data, &m); !ok || err != nil || len(m.Layers) != 1 {
		return nil, fmt.Errorf("read bundle %s: its manifest has no bundle", d.Digest)
	}
	return c.SmallBlob(ctx, ref, m.Layers[0], maxPayload)
}
