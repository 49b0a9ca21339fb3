package pypi

import (
	"crypto/sha256"
	"io"
	"math/rand/v2"
)

// Noise is size bytes that no compressor shrinks, the same for the same seed.
func Noise(seed string, size int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8(sha256.Sum256([]byte(seed))), size)
}
