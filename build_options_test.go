package raybuild

import (
	"errors"
	"io"
	"maps"
	"testing"

	"github.com/raybuild/raybuild/llb"
)

// Options that make no sense are told by name, before anything is done.
func TestOptionsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	for field, o := range map[string]BuildOptions{
		"Names":       {Names: []string{"ray@sha256:" + zeros}},
		"Push":        {Push: true},
		"Compression": {Compression: "brotli"},
		"CacheBudget": {CacheBudget: -1},
		"CacheFrom":   {CacheFrom: []llb.CacheEntry{{Type: "inline"}}},
		"CacheTo":     {CacheTo: []llb.CacheEntry{{Type: "registry", Attrs: map[string]string{"ref": "?"}}}},
	} {
		var bad *OptionError
		if err := o.Check(); !errors.As(err, &bad) || bad.Field != field {
			t.Errorf("%+v: %v, want an error of %s", o, err, field)
		}
	}
	for what, all := range map[string][]Output{
		"unknown type":        {{Type: "tar", Path: "x"}},
		"no path":             {{Type: "oci"}},
		"no directory":        {{Type: "local"}},
		"stream of a tree":    {{Type: "local", Path: "x", To: io.Discard}},
		"two of one type":     {{Type: "oci", Path: "x"}, {Type: "oci", Path: "y"}},
		"two with one stream": {{Type: "oci", To: io.Discard}, {Type: "oci", Path: "y"}},
	} {
		var bad *OptionError
		if err := (&BuildOptions{Outputs: all}).Check(); !errors.As(err, &bad) || bad.Field != "Outputs" {
			t.Errorf("%s: %v, want an error of Outputs", what, err)
		}
	}
	good := BuildOptions{Names: []string{"registry.example/ray:1"}, Push: true, Compression: "zstd",
		Outputs: []Output{{Type: "oci", Path: "x"}, {Type: "docker", To: io.Discard}, {Type: "local", Path: "y"}},
		CacheTo: []llb.CacheEntry{{Type: "inline"}}}
	if err := good.Check(); err != nil {
		t.Errorf("good options: %v", err)
	}
}

const zeros = "0000000000000000000000000000000000000000000000000000000000000000"

func TestExportedCacheHasSafeDefaults(t *testing.T) {
	t.Parallel()
	type attrs = map[string]string
	for _, c := range []struct {
		kind       string
		have, want attrs
	}{
		{"registry", attrs{"ref": "r.example/c"},
			attrs{"ref": "r.example/c", "mode": "max", "ignore-error": "true", "oci-mediatypes": "true",
				"image-manifest": "true"}},
		{"local", attrs{"dest": "c", "mode": "min", "ignore-error": "false", "image-manifest": "false"},
			attrs{"dest": "c", "mode": "min", "ignore-error": "false", "oci-mediatypes": "true",
				"image-manifest": "false"}},
		{"registry", attrs{"ref": "r.example/c", "oci-mediatypes": "false"},
			attrs{"ref": "r.example/c", "mode": "max", "ignore-error": "true", "oci-mediatypes": "false"}},
		{"s3", attrs{"bucket": "b", "region": "r"},
			attrs{"bucket": "b", "region": "r", "mode": "max", "ignore-error": "true"}},
		{"inline", nil, attrs{}},
	} {
		had := maps.Clone(c.have)
		got := exports([]llb.CacheEntry{{Type: c.kind, Attrs: c.have}})
		if len(got) != 1 || !maps.Equal(got[0].Attrs, c.want) || !maps.Equal(c.have, had) {
			t.Errorf("cache %s %v is exported with %v, want %v", c.kind, had, got, c.want)
		}
	}
}
