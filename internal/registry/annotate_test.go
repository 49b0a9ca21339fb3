package registry

import (
	"encoding/json"
	"strings"
	"testing"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Docker's manifests have no annotations, so that one becomes OCI's; its blobs stay what they are.
func TestAnnotateMakesDockersManifestOCIs(t *testing.T) {
	t.Parallel()
	docker := `{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",
		"config":{"mediaType":"application/vnd.docker.container.image.v1+json","size":7,"digest":"sha256:` + strings.Repeat("a", 64) + `"},
		"layers":[{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","size":9,"digest":"sha256:` + strings.Repeat("b", 64) + `"}]}`
	data, err := annotate([]byte(docker), map[string]string{"k": "v"})
	if err != nil {
		t.Fatal(err)
	}
	var m ocispecs.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	if m.MediaType != ocispecs.MediaTypeImageManifest || m.Config.MediaType != ocispecs.MediaTypeImageConfig ||
		m.Config.Size != 7 ||
		len(m.Layers) != 1 || m.Layers[0].MediaType != ocispecs.MediaTypeImageLayerGzip || m.Layers[0].Size != 9 ||
		m.Layers[0].Digest.Encoded() != strings.Repeat("b", 64) || m.Annotations["k"] != "v" {
		t.Errorf("the manifest became %s", data)
	}
	again, err := annotate(data, map[string]string{"k": "v"})
	if err != nil || string(again) != string(data) {
		t.Errorf("annotating it in the same way again gives other bytes (%v):\n%s", err, again)
	}
	index := `{"schemaVersion":2,"mediaType":"` + ocispecs.MediaTypeImageIndex + `","manifests":[]}`
	if _, err := annotate([]byte(index), nil); err == nil ||
		!strings.Contains(err.Error(), "no image of one platform") {
		t.Errorf("an index is annotated as if it were an image: %v", err)
	}
}
