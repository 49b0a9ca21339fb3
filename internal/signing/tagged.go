package signing

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/internal/registry"
)

// tagged is a list that cosign keeps at a tag of an image's digest. Each layer of its manifest is an entry.
type tagged struct {
	suffix    string // of the tag
	mediaType string // of an entry
	needs     string // an annotation that no entry lacks
	most      int    // entries are kept and looked at
}

// signatureList has the simple signatures of an image.
func signatureList() tagged { return tagged{".sig", simpleSigningType, signatureKey, maxSignatures} }

// claimList has the claims about an image that keys have signed.
func claimList() tagged { return tagged{".att", envelopeType, envelopeKey, maxClaims} }

// Tags are the references, by tag, of what cosign keeps about an image beside it: its signatures, and the claims that
// keys have signed. ref names the image by digest. It is an error if it does not. Either may not be there.
func Tags(ref string) ([]string, error) {
	var all []string
	for _, l := range []tagged{signatureList(), claimList()} {
		at, err := l.at(ref)
		if err != nil {
			return nil, err
		}
		all = append(all, at)
	}
	return all, nil
}

// at is the reference of the list of an image, which is named by its digest.
func (l tagged) at(ref string) (string, error) {
	d, err := digestOf(ref)
	if err != nil {
		return "", err
	}
	return registry.Tagged(ref, d.Algorithm().String()+"-"+d.Encoded()+l.suffix)
}

// read reads the list of an image. unread says that there is something else at the tag.
func (l tagged) read(ctx context.Context, c *registry.Client, ref string) (all []ocispecs.Descriptor, unread,
	err error) {
	at, err := l.at(ref)
	if err != nil {
		return nil, nil, err
	}
	stored, ok, err := c.Manifest(ctx, at)
	if err != nil || !ok {
		return nil, nil, err
	}
	all, unread = l.entries(stored.Data)
	return all[:min(len(all), l.most)], unread, nil
}

// entries are the entries that a manifest names.
func (l tagged) entries(manifest []byte) ([]ocispecs.Descriptor, error) {
	var m ocispecs.Manifest
	if err := json.Unmarshal(manifest, &m); err != nil {
		return nil, fmt.Errorf("read manifest of its signatures: %w", err)
	}
	return slices.DeleteFunc(m.Layers, func(e ocispecs.Descriptor) bool {
		return e.MediaType != l.mediaType || e.Annotations[l.needs] == "" || e.Digest.Validate() != nil
	}), nil
}

// add puts entries before those of an image's list. Of these it keeps as many as are looked at. What is no list is
// replaced.
func (l tagged) add(ctx context.Context, c *registry.Client, ref string, entries []ocispecs.Descriptor,
	data ...[]byte) error {
	others, _, err := l.read(ctx, c, ref)
	if err != nil {
		return err
	}
	return l.store(ctx, c, ref, append(slices.Clone(entries), others...), data...)
}

// store writes the list of an image. data are the entries that the repository may lack.
func (l tagged) store(ctx context.Context, c *registry.Client, ref string, entries []ocispecs.Descriptor,
	data ...[]byte) error {
	at, err := l.at(ref)
	if err != nil {
		return err
	}
	manifest, config, err := listManifest(entries[:min(len(entries), l.most)])
	if err != nil {
		return err
	}
	return c.Store(ctx, at, ocispecs.MediaTypeImageManifest, manifest, append(slices.Clone(data), config)...)
}

// listManifest makes the manifest and the config by which cosign lists entries.
func listManifest(entries []ocispecs.Descriptor) (manifest, config []byte, err error) {
	image := ocispecs.Image{RootFS: ocispecs.RootFS{Type: "layers"}}
	for _, l := range entries {
		image.RootFS.DiffIDs = append(image.RootFS.DiffIDs, l.Digest)
	}
	if config, err = json.Marshal(image); err != nil {
		return nil, nil, fmt.Errorf("write config: %w", err)
	}
	manifest, err = json.Marshal(ocispecs.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageManifest,
		Config: ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageConfig, Digest: digest.FromBytes(config),
			Size: int64(len(config))},
		Layers: entries,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("write manifest: %w", err)
	}
	return manifest, config, nil
}

// copy copies the list of an image to the same image in another repository. Of equal entries the data is copied once.
func (l tagged) copy(ctx context.Context, c *registry.Client, from, to string, most int64) error {
	entries, _, err := l.read(ctx, c, from) // what is no list is not copied
	if err != nil || len(entries) == 0 {
		return err
	}
	var (
		all  [][]byte
		size int64
	)
	for i, e := range entries {
		if size += e.Size; size > maxCopied {
			entries = entries[:i]
			break
		}
		if slices.ContainsFunc(entries[:i], func(d ocispecs.Descriptor) bool { return d.Digest == e.Digest }) {
			continue
		}
		data, err := c.SmallBlob(ctx, from, e, most)
		if err != nil {
			return err
		}
		all = append(all, data)
	}
	return l.add(ctx, c, to, entries, all...)
}
