package wheel

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

// gzipHeader begins each gzip member: no name, no time, an unknown system (RFC 1952, 2.3).
var gzipHeader = []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff} //nolint:gochecknoglobals // nothing writes to it

// gzipTrailer ends a gzip member.
func gzipTrailer(crc uint32, size int64) []byte {
	out := binary.LittleEndian.AppendUint32(nil, crc)
	return binary.LittleEndian.AppendUint32(out, uint32(size)) // modulo 2^32
}

// frame is a gzip member of tar headers and padding. They are mostly zeros, so a small encoder of our own packs them as
// well as zlib does, and packs them in the same way for ever: a library may change its output between versions, and
// with it every digest.
func frame(data []byte) []byte {
	e := bitWriter{out: append([]byte{}, gzipHeader...)}
	e.deflate(data)
	return append(e.out, gzipTrailer(crc32.ChecksumIEEE(data), int64(len(data)))...)
}

// bitWriter writes bits from the lowest of each byte (RFC 1951, 3.1.1).
type bitWriter struct {
	out  []byte
	bits uint64
	n    uint
}

func (w *bitWriter) write(v uint32, n uint) {
	w.bits |= uint64(v) << w.n
	for w.n += n; w.n >= 8; w.n -= 8 {
		w.out = append(w.out, byte(w.bits))
		w.bits >>= 8
	}
}

// code writes a Huffman code, whose highest bit comes first.
func (w *bitWriter) code(v uint32, n uint) { w.write(bits.Reverse32(v)>>(32-n), n) }

// literal writes a byte in the fixed code (RFC 1951, 3.2.6).
func (w *bitWriter) literal(b byte) {
	if b < 144 {
		w.code(0x30+uint32(b), 8)
	} else {
		w.code(0x190+uint32(b)-144, 9)
	}
}

// repeat says that the last byte comes n times more; n is from 3 to 258.
func (w *bitWriter) repeat(n int) {
	symbol, extra, size := lengthCode(n)
	if symbol < 280 {
		w.code(uint32(symbol-256), 7)
	} else {
		w.code(0xc0+uint32(symbol-280), 8)
	}
	w.write(uint32(extra), size)
	w.code(0, 5) // distance 1
}

// lengthCode is the symbol of a length, its extra bits and their number (RFC 1951, 3.2.5).
func lengthCode(n int) (symbol, extra int, size uint) {
	switch {
	case n == 258:
		return 285, 0, 0
	case n < 11:
		return 254 + n, 0, 0
	}
	size = uint(bits.Len(uint(n-3))) - 3
	extra = (n - 3) & (1<<size - 1)
	return 265 + int(size-1)*4 + (n-3)>>size&3, extra, size
}

// deflate writes data as one last block of the fixed code, in which runs of a byte are short.
func (w *bitWriter) deflate(data []byte) {
	w.write(1, 1) // the last block
	w.write(1, 2) // of the fixed code
	for i := 0; i < len(data); {
		run := 1
		for i+run < len(data) && data[i+run] == data[i] {
			run++
		}
		w.literal(data[i])
		i++
		for left := run - 1; left > 0; {
			n := min(left, 258)
			if n < 3 {
				w.literal(data[i])
				n = 1
			} else {
				w.repeat(n)
			}
			i, left = i+n, left-n
		}
	}
	w.code(0, 7) // the end of the block
	if w.n > 0 {
		w.write(0, 8-w.n)
	}
}
