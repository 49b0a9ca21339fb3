package llb_test

import (
	"encoding/json"
	"strings"
	"testing"

	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/raybuild/raybuild/llb"
)

// verified is an image of two layers with its manifest and its config.
func verified(t testing.TB, p llb.Platform) (i llb.Image, manifest, config []byte, annotations map[string]string) {
	t.Helper()
	i = filesImage(p, "verified")
	i.Layers = append(i.Layers, llb.Layer{Name: "more", Stage: llb.Scratch().Files("[more] write",
		llb.File{Path: "/more", Data: []byte("more")})})
	var stored []llb.StoredLayer
	for range i.Layers {
		d := digest.FromString(string(rune('a' + len(stored))))
		stored = append(stored, llb.StoredLayer{Descriptor: ocispecs.Descriptor{Digest: d, Size: 1,
			MediaType: ocispecs.MediaTypeImageLayerGzip}, DiffID: d})
	}
	annotations = map[string]string{"a": "1"}
	made, err := i.Assemble(t.Context(), stored, annotations)
	if err != nil {
		t.Fatal(err)
	}
	return i, made.Docs[made.Result.Digest], made.Docs[made.Result.Images[0].Config], annotations
}

// Verify takes the image itself, also with an inline cache, and nothing that differs from it.
func TestVerify(t *testing.T) {
	i, manifest, config, annotations := verified(t, amd64)
	replaced := func(text []byte, old, with string) []byte {
		out := strings.Replace(string(text), old, with, 1)
		if out == string(text) {
			t.Fatalf("there is no %q in %s", old, text)
		}
		return []byte(out)
	}
	inline := replaced(config, `"os":"linux"`, `"moby.buildkit.cache.v0":"e30=","os":"linux"`)
	var m ocispecs.Manifest
	if err := json.Unmarshal(manifest, &m); err != nil {
		t.Fatal(err)
	}
	m.Config.Digest, m.Config.Size = digest.FromBytes(inline), int64(len(inline))
	withInline, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		manifest, config []byte
		says             string
	}{
		"the image":            {manifest, config, ""},
		"an inline cache":      {withInline, inline, ""},
		"another config":       {manifest, replaced(config, `"os":"linux"`, `"os":"Linux"`), "its config"},
		"other annotations":    {replaced(manifest, `"a": "1"`, `"a": "2"`), config, "its annotations"},
		"another form":         {append([]byte(" "), manifest...), config, "its manifest"},
		"layers of a URL":      {replaced(manifest, `"size": 1`, `"size": 1, "urls": ["http://evil"]`), config, "its manifest"},
		"a manifest of no one": {[]byte("{"), config, "read its manifest"},
		"a config of no one":   {manifest, []byte("{"), "read its config"},
		"no layers":            {[]byte("{}"), []byte("{}"), "it has 0 layers"},
	} {
		err := i.Verify(t.Context(), c.manifest, c.config, annotations)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", what, err, c.says)
		}
	}
}

// VerifyIndex takes an index of the images in their order, and no other.
func TestVerifyIndex(t *testing.T) {
	one, first, _, annotations := verified(t, amd64)
	two, second, _, _ := verified(t, llb.Platform{OS: "linux", Architecture: "arm64"})
	index := func(images []llb.Image, manifests ...[]byte) []byte {
		all := ocispecs.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageIndex,
			Annotations: annotations}
		for n, m := range manifests {
			all.Manifests = append(all.Manifests, ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageManifest,
				Digest: digest.FromBytes(m), Size: int64(len(m)), Platform: &images[n].Platform})
		}
		data, err := json.MarshalIndent(all, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	images := []llb.Image{one, two}
	for what, c := range map[string]struct {
		index []byte
		fits  bool
	}{
		"the images":      {index(images, first, second), true},
		"one alone":       {index(images, first), false},
		"one twice":       {index(images, first, first), false},
		"another order":   {index([]llb.Image{two, one}, second, first), false},
		"a further image": {index([]llb.Image{one, two, two}, first, second, second), false},
	} {
		err := llb.VerifyIndex(c.index, images, [][]byte{first, second}, annotations)
		if (err == nil) != c.fits {
			t.Errorf("%s: %v", what, err)
		}
	}
}
