package debian

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Repatched is the patched image once more, with other bytes in the patched package's file for each
// n: a base that gets one security fix after the other. Its layer is written to the file rootfs,
// which the image is read from.
func Repatched(patched v1.Image, n int, rootfs string) (v1.Image, error) {
	layers, err := patched.Layers()
	if err != nil {
		return nil, err
	}
	if len(layers) != 1 {
		return nil, fmt.Errorf("patch base image: it has %d layers, want 1", len(layers))
	}
	in, err := layers[0].Uncompressed()
	if err != nil {
		return nil, err
	}
	defer func() { _ = in.Close() }()
	out, err := os.Create(rootfs)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(repatch(out, in, n), out.Close()); err != nil {
		return nil, err
	}
	return makeImage(rootfs)
}

func repatch(to io.Writer, from io.Reader, n int) error {
	tr, tw := tar.NewReader(from), tar.NewWriter(to)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return tw.Close()
		}
		if err != nil {
			return err
		}
		var body io.Reader = tr
		if h.Typeflag == tar.TypeReg && strings.HasSuffix(h.Name, "/"+patchedFile) {
			data, err := io.ReadAll(tr)
			if err != nil {
				return err
			}
			data = fmt.Appendf(data, "patch %d", n)
			h.Size, body = int64(len(data)), bytes.NewReader(data)
		}
		if err := copyEntry(tw, h, body); err != nil {
			return err
		}
	}
}
