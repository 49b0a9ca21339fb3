package wheel

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
)

// TOCAnnotation is the annotation of a layer's descriptor that has [Layer.TOC].
const TOCAnnotation = "containerd.io/snapshot/stargz/toc.digest"

// SizeAnnotation is the annotation of a layer's descriptor that has [Layer.Unpacked]. podman wants it for layers that
// it does not pull as a whole (github.com/containers/storage, pkg/chunked).
const SizeAnnotation = "io.containers.estargz.uncompressed-size"

// tocEntry is a file or directory in the table of contents
// (https://github.com/containerd/stargz-snapshotter/blob/main/docs/estargz.md). A file is one chunk: what a wheel has
// compressed cannot be entered in the middle.
type tocEntry struct {
	Name        string        `json:"name"`
	Type        string        `json:"type"`
	Size        int64         `json:"size,omitempty"`
	ModTime     string        `json:"modtime,omitempty"`
	Mode        int64         `json:"mode,omitempty"`
	UID         int           `json:"uid,omitempty"`
	GID         int           `json:"gid,omitempty"`
	Offset      int64         `json:"offset,omitempty"` // of the gzip member with the file's bytes
	Digest      digest.Digest `json:"digest,omitempty"`
	ChunkDigest digest.Digest `json:"chunkDigest,omitempty"`
}

// toc is the table of contents of a layer.
type toc struct {
	Version int        `json:"version"`
	Entries []tocEntry `json:"entries"`
}

// add adds a file or directory by its header. A file's bytes are added later, see [toc.content].
func (t *toc) add(h *tar.Header) {
	kind := "reg"
	if h.Typeflag == tar.TypeDir {
		kind = "dir"
	}
	t.Entries = append(t.Entries, tocEntry{Name: h.Name, Type: kind, Size: h.Size, Mode: h.Mode, UID: h.Uid,
		GID: h.Gid, ModTime: h.ModTime.UTC().Round(time.Second).Format(time.RFC3339)})
}

// content says where the bytes of the last file begin.
func (t *toc) content(offset int64, sum []byte) {
	e := &t.Entries[len(t.Entries)-1]
	e.Offset, e.Digest = offset, digest.NewDigestFromBytes(digest.SHA256, sum)
	e.ChunkDigest = e.Digest
}

// finish writes the table as the tar file's last file, the end of the tar file and the footer. It gives the digest of
// the table.
func (t *toc) finish(l *layerWriter) (digest.Digest, error) {
	data, err := json.Marshal(t)
	if err != nil {
		return "", err
	}
	if err := l.flush(); err != nil {
		return "", err
	}
	offset := l.size
	var file bytes.Buffer
	w := tar.NewWriter(&file)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "stargz.index.json", Size: int64(len(data)),
		Mode: 0o444, ModTime: l.t.Time}); err != nil {
		return "", fmt.Errorf("write table of contents: %w", err)
	}
	if _, err := w.Write(data); err != nil {
		return "", fmt.Errorf("write table of contents: %w", err)
	}
	if err := w.Close(); err != nil {
		return "", fmt.Errorf("write table of contents: %w", err)
	}
	l.unpacked += int64(file.Len())
	if err := l.compress(&file, func(b []byte) { l.tar.Write(b) }); err != nil {
		return "", err
	}
	return digest.FromBytes(data), l.emit(tocFooter(offset))
}

// tocFooter is an empty gzip member of 51 bytes whose extra field has the table's offset.
func tocFooter(offset int64) []byte {
	extra := fmt.Sprintf("SG\x16\x00%016xSTARGZ", offset)
	out := bytes.Clone(gzipHeader)
	out[3] = 4 // FEXTRA
	out = binary.LittleEndian.AppendUint16(out, uint16(len(extra)))
	out = append(out, extra...)
	out = append(out, 1, 0, 0, 0xff, 0xff) // a last block that stores nothing
	return append(out, gzipTrailer(0, 0)...)
}

// sum256 gives the SHA-256 of what goes by: that of the checker if it has one, or one of its own.
func (c *checker) sum256() (write func([]byte), sum func() []byte) {
	if c != nil && c.Size() == sha256.Size {
		return func([]byte) {}, func() []byte { return c.Sum(nil) }
	}
	h := sha256.New()
	return func(b []byte) { h.Write(b) }, func() []byte { return h.Sum(nil) }
}
