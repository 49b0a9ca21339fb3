package registry

import (
	"maps"
	"slices"
	"testing"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// A push does not ask for what was there a moment ago, asks again where that is long ago, and sends what was not there.
func TestPushAsksForWhatWasNotSeen(t *testing.T) {
	host, asked := start(t, nil)
	b := layered(t, 3000, 5000, 7000)
	c := client(Options{})
	var layers []ocispecs.Descriptor
	for _, d := range slices.Sorted(maps.Keys(b.blobs)) {
		if n := int64(len(b.blobs[d])); n > 2900 {
			layers = append(layers, ocispecs.Descriptor{Digest: d, Size: n})
		}
	}
	if len(layers) != 3 {
		t.Fatalf("%d layers, want 3", len(layers))
	}
	if _, err := c.PushBlobs(t.Context(), layers[:2], b.source, quick(host+"/ray:1")); err != nil {
		t.Fatal(err)
	}
	c.Expect(t.Context(), host+"/ray:1", layers)
	for _, step := range []struct {
		name      string
		longAgo   bool
		questions int // for blobs
		sent      int64
	}{
		{"a moment ago", false, 2, layers[2].Size}, // the third layer and the config
		{"long ago", true, 4, 0},
	} {
		if step.longAgo {
			c.known.fresh = 0
		}
		asked.reset()
		done, err := c.Push(t.Context(), b.root, b.source, quick(host+"/ray:1"))
		if err != nil {
			t.Fatal(err)
		}
		if n := asked.count("GET /v2/ray/blobs/sha256:"); n != step.questions || done.Bytes != step.sent {
			t.Errorf("seen %s: %d questions for blobs and %d bytes sent, want %d and %d: %v", step.name, n, done.Bytes, step.questions, step.sent, asked.list)
		}
		for _, l := range layers[:2] {
			if !done.Reused[l.Digest] {
				t.Errorf("seen %s: layer %s was there, and is not counted as reused", step.name, l.Digest)
			}
		}
	}
	arrived(t, host+"/ray:1", b)
}
