package layers

import (
	"testing"

	"github.com/opencontainers/go-digest"
)

// A record's digest is that of its inputs: what is known only after the build does not change it.
func TestDigestOfARecord(t *testing.T) {
	record := func() *BuildRecord {
		return &BuildRecord{Version: BuildRecordVersion, Graph: "sha256:1", Platforms: []PlatformRecord{{
			Platform: "linux/amd64", Layers: []LayerRecord{{Name: "base", Count: 1, Key: "sha256:2"}}}}}
	}
	digestOf := func(change func(*BuildRecord)) digest.Digest {
		r := record()
		change(r)
		d, err := r.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	want := digestOf(func(*BuildRecord) {})
	for what, c := range map[string]struct {
		change func(*BuildRecord)
		same   bool
	}{
		"a test": {func(r *BuildRecord) {
			r.Platforms[0].Smoke, r.Platforms[0].SmokeWith = "sha256:3", []string{"a"}
		}, true},
		"a line":   {func(r *BuildRecord) { r.Linear = true }, true},
		"a graph":  {func(r *BuildRecord) { r.Graph = "sha256:4" }, false},
		"a key":    {func(r *BuildRecord) { r.Platforms[0].Layers[0].Key = "sha256:5" }, false},
		"a count":  {func(r *BuildRecord) { r.Platforms[0].Layers[0].Count = 2 }, false},
		"packing":  {func(r *BuildRecord) { r.Compression = "zstd" }, false},
		"a config": {func(r *BuildRecord) { r.Platforms[0].Config.Key = "sha256:6" }, false},
	} {
		if same := digestOf(c.change) == want; same != c.same {
			t.Errorf("with another %s the digest is the same: %v", what, same)
		}
	}
	with := record()
	with.Platforms[0].Smoke = "sha256:3"
	if got := with.Agreed(record()).Platforms[0].Smoke; got != "" {
		t.Errorf("one record alone says that test %q has passed, and it is believed", got)
	}
	if got := with.Agreed(with).Platforms[0].Smoke; got != "sha256:3" {
		t.Errorf("both records say that the test has passed, and %q is believed", got)
	}
}
