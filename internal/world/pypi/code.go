package pypi

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"

	"github.com/klauspost/compress/flate"
)

// codePiece is how much machine code is taken as it is: many times what deflate looks back, 32 KiB.
const codePiece = 1 << 20

// machineCode is real machine code that payloads are made of: whatever size is asked for, it
// deflates as real libraries do.
type machineCode struct {
	bytes []byte
	ratio float64 // of its deflated size to its own
}

func readCode(ctx context.Context, read func(context.Context) ([]byte, error)) (*machineCode, error) {
	if read == nil {
		return nil, errors.New("make wheels of the full scale: no machine code to fill them with")
	}
	bytes, err := read(ctx)
	if err != nil {
		return nil, fmt.Errorf("read machine code: %w", err)
	}
	if len(bytes) < 2*codePiece {
		return nil, fmt.Errorf("read machine code: it is %d bytes, too few", len(bytes))
	}
	deflated := &counter{}
	fw, err := flate.NewWriter(deflated, flate.DefaultCompression)
	if err != nil {
		return nil, err
	}
	_, err = fw.Write(bytes)
	if err := errors.Join(err, fw.Close()); err != nil {
		return nil, err
	}
	return &machineCode{bytes: bytes, ratio: float64(deflated.n) / float64(len(bytes))}, nil
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// reader reads about as many bytes as deflate to size, the same for the same seed. Each piece's
// bytes stand for others, so that compressors that look back further than deflate seldom find one
// again.
func (c *machineCode) reader(seed string, size int64) io.Reader {
	p := &pieces{code: c.bytes, random: rand.New(rand.NewChaCha8(sha256.Sum256([]byte(seed))))}
	return io.LimitReader(p, int64(float64(size)/c.ratio))
}

type pieces struct {
	code   []byte
	random *rand.Rand
	left   []byte
	mask   byte
}

func (p *pieces) Read(to []byte) (int, error) {
	if len(p.left) == 0 {
		at := p.random.IntN(len(p.code) - codePiece)
		p.left, p.mask = p.code[at:at+codePiece], byte(p.random.IntN(256))
	}
	n := min(len(to), len(p.left))
	for i, b := range p.left[:n] {
		to[i] = b ^ p.mask
	}
	p.left = p.left[n:]
	return n, nil
}
