package llb

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/stargz-snapshotter/estargz"
	digest "github.com/opencontainers/go-digest"
)

// EStargz returns the digest that a layer has if a builder packs it as eStargz. layer is a tar, or one packed
// with gzip. It packs the layer as BuildKit does (util/compression/estargz.go of v0.34) and keeps nothing.
func EStargz(layer io.Reader) (_ digest.Digest, err error) {
	in := bufio.NewReader(layer)
	plain := io.Reader(in)
	if magic, _ := in.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		unpacked, err := gzip.NewReader(in)
		if err != nil {
			return "", fmt.Errorf("unpack layer: %w", err)
		}
		defer func() { err = errors.Join(err, unpacked.Close()) }()
		plain = unpacked
	}
	packed := digest.Canonical.Digester()
	w := estargz.NewWriterLevel(packed.Hash(), GzipLevel)
	if err := w.AppendTarLossLess(plain); err != nil {
		return "", fmt.Errorf("pack layer as eStargz: %w", err)
	}
	if _, err := w.Close(); err != nil {
		return "", fmt.Errorf("pack layer as eStargz: %w", err)
	}
	return packed.Digest(), nil
}
