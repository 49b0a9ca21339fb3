package signing

import (
	"cmp"
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
		if err := signatureList().copy(ctx, c, one, there, maxPayload); err != nil {
			return fmt.Errorf("copy signatures of %q: %w", one, err)
		}
		if err := copyBundles(ctx, c, one, there, signPredicate); err != nil {
			return fmt.Errorf("copy signatures of %q: %w", one, err)
		}
	}
	return nil
}

// CopyClaims copies the claims of an image to the same image in another repository. Both are named by digest. Whoever
// reads the copy verifies it: CopyClaims verifies nothing.
func CopyClaims(ctx context.Context, c *registry.Client, from, to string) error {
	if err := claimList().copy(ctx, c, from, to, maxClaim); err != nil {
		return fmt.Errorf("copy signed claims of %q: %w", from, err)
	}
	if err := copyBundles(ctx, c, from, to, ClaimTypes()...); err != nil {
		return fmt.Errorf("copy signed claims of %q: %w", from, err)
	}
	return nil
}

// copyBundles copies the bundles of some types of one manifest. One that does not tell its type is a signature.
func copyBundles(ctx context.Context, c *registry.Client, from, to string, kinds ...string) error {
	all, err := bundlesOf(ctx, c, from, kinds...)
	if err != nil {
		return err
	}
	var docs []registry.Document
	for _, d := range all {
		kind := d.Annotations[predicateKey]
		if kind == "" && kinds[0] != signPredicate {
			continue
		}
		data, err := readBundle(ctx, c, from, d, mostOf(kind))
		if err != nil {
			continue // nobody could verify it there either
		}
		docs = append(docs, bundleDocument(data, cmp.Or(kind, signPredicate)))
	}
	if len(docs) == 0 {
		return nil
	}
	_, err = c.Attach(ctx, to, docs...)
	return err
}

// bundleDocument is a bundle with a statement of a type as a document of an image.
func bundleDocument(data []byte, kind string) registry.Document {
	return registry.Document{ArtifactType: bundleType, Data: data,
		Annotations: map[string]string{contentKey: "dsse-envelope", predicateKey: kind}}
}

// mostOf is how long a bundle of a type may be that is read, in bytes.
func mostOf(kind string) int64 {
	if slices.Contains(ClaimTypes(), kind) {
		return maxClaim
	}
	return maxPayload
}

// bundlesOf lists the bundles of an image that may be statements of some types, as many as are looked at.
func bundlesOf(ctx context.Context, c *registry.Client, ref string, kinds ...string) ([]ocispecs.Descriptor, error) {
	all, err := c.Referrers(ctx, ref, bundleType)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(d ocispecs.Descriptor) bool {
		kind, told := d.Annotations[predicateKey]
		return told && !slices.Contains(kinds, kind)
	})
	return all[:min(len(all), maxSignatures)], nil
}

// readBundle reads a bundle of an image that has at most some bytes.
func readBundle(ctx context.Context, c *registry.Client, ref string, d ocispecs.Descriptor, most int64) ([]byte,
	error) {
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
	return c.SmallBlob(ctx, ref, m.Layers[0], most)
}
