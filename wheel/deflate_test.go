package wheel

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
)

// TestFrames packs headers by our own encoder, and unpacks them by Go's.
func TestFrames(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 300 {
		data := make([]byte, random.IntN(3000))
		for i := 0; i < len(data); { // runs of all lengths, and bytes of both kinds of codes
			b := byte(random.UintN(256))
			for n := 1 + random.IntN(300)*random.IntN(2); n > 0 && i < len(data); n, i = n-1, i+1 {
				data[i] = b
			}
		}
		r, err := gzip.NewReader(bytes.NewReader(frame(data)))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes came back as %d: %v", len(data), len(got), err)
		}
	}
	// The encoder may not change: layers would.
	const want = "937b6904948b7cdbe07a9be6d27be6871203fd4a5b07cc178dc9e10433706ce2"
	all := make([]byte, 0, 1024)
	for i := range 1024 {
		all = append(all, byte(i*i>>4))
	}
	if got := fmt.Sprintf("%x", sha256.Sum256(frame(append(all, make([]byte, 1024)...)))); got != want {
		t.Errorf("the digest of a frame is %s, want %s", got, want)
	}
}
