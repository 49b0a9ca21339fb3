package llb_test

import (
	"bytes"
	"testing"

	"github.com/raybuild/raybuild/llb"
)

// FuzzVerify: of all texts that a registry may have as manifest and config, only the image's own count as the image's.
func FuzzVerify(f *testing.F) {
	i, manifest, config, annotations := verified(f, amd64)
	f.Add(manifest, config)
	f.Add(manifest, bytes.Replace(config, []byte(`"os":"linux"`), []byte(`"moby.buildkit.cache.v0":"e30=","os":"linux"`), 1))
	f.Add([]byte(`{"layers":[{},{}]}`), []byte(`{"rootfs":{"diff_ids":["a","sha256:b"]}}`))
	f.Fuzz(func(t *testing.T, m, c []byte) {
		if plain, err := llb.WithoutInlineCache(c); err == nil {
			if again, err := llb.WithoutInlineCache(plain); err != nil || !bytes.Equal(plain, again) {
				t.Fatalf("%q without its cache is %q, and then %q (%v)", c, plain, again, err)
			}
		}
		if err := i.Verify(t.Context(), m, c, annotations); err != nil {
			if bytes.Equal(m, manifest) && bytes.Equal(c, config) {
				t.Fatalf("the image's own texts are refused: %v", err)
			}
			return
		}
		// Digests of layers are free, and an inline cache. All else is the image's own.
		if !bytes.Contains(c, []byte(`"os":"linux"`)) || !bytes.Contains(m, []byte(`"a": "1"`)) {
			t.Fatalf("taken for the image:\n%s\n%s", m, c)
		}
	})
}
