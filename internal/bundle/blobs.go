package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
)

// openFile opens an artifact, the recipe or the lock. The reader's error tells if the bytes are wrong.
func (b *Bundle) openFile(ctx context.Context, d digest.Digest) (io.ReadCloser, error) {
	f, ok := b.files[d]
	if !ok {
		return nil, fmt.Errorf("open %s of bundle %q: %w", d, b.name, os.ErrNotExist)
	}
	r, err := b.openChecked(ctx, d, f.Name)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// openChecked opens a blob. The reader fails at its end if the bytes are not those of the digest.
func (b *Bundle) openChecked(ctx context.Context, d digest.Digest, name string) (*checked, error) {
	damaged := DamagedError{Bundle: b.name, Name: name, Digest: d}
	r, err := b.from.open(ctx, d)
	if errors.Is(err, os.ErrNotExist) {
		return nil, &damaged
	}
	if err != nil {
		return nil, fmt.Errorf("read %q (%s) of bundle %q: %w", name, d, b.name, err)
	}
	return &checked{ReadCloser: r, sum: sha256.New(), damaged: damaged}, nil
}

// checked compares what was read with a digest.
type checked struct {
	io.ReadCloser
	sum     hash.Hash
	damaged DamagedError
}

// Read implements io.Reader.
func (c *checked) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.sum.Write(p[:n])
	if errors.Is(err, io.EOF) {
		if got := digest.NewDigest(digest.SHA256, c.sum); got != c.damaged.Digest {
			c.damaged.Got = got
			return n, &c.damaged
		}
	}
	return n, err
}

// ReaderAt is a blob whose bytes were compared with its digest.
type ReaderAt interface {
	io.ReaderAt
	io.Closer
}

// openImage opens a blob of an image, which it checks first.
func (b *Bundle) openImage(ctx context.Context, d digest.Digest) (ReaderAt, int64, error) {
	of, ok := b.blobs[d]
	if !ok {
		return nil, 0, fmt.Errorf("open %s of bundle %q: %w", d, b.name, os.ErrNotExist)
	}
	if of.doc != nil { // it was checked when the bundle was opened
		return inMemory{bytes.NewReader(of.doc)}, int64(len(of.doc)), nil
	}
	r, err := b.openChecked(ctx, d, of.name)
	if err != nil {
		return nil, 0, err
	}
	if file, ok := r.ReadCloser.(*os.File); ok {
		return b.checkedFile(d, r, file)
	}
	return b.spooled(r)
}

// inMemory is a document as a blob.
type inMemory struct{ *bytes.Reader }

// Close implements io.Closer.
func (inMemory) Close() error { return nil }

// checkedFile reads a file to its end, once for each digest.
func (b *Bundle) checkedFile(d digest.Digest, r *checked, file *os.File) (ReaderAt, int64, error) {
	b.mu.Lock()
	good := b.good[d]
	b.mu.Unlock()
	if !good {
		if _, err := io.Copy(io.Discard, r); err != nil {
			return nil, 0, errors.Join(err, r.Close())
		}
	}
	st, err := file.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, r.Close())
	}
	b.mu.Lock()
	b.good[d] = true
	b.mu.Unlock()
	return file, st.Size(), nil
}

// spooled copies a blob into a temporary file.
func (b *Bundle) spooled(r *checked) (ReaderAt, int64, error) {
	spool, err := os.CreateTemp("", "raybuild-bundle-")
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("keep a blob of bundle %q: %w", b.name, err), r.Close())
	}
	out := temporary{spool}
	n, err := io.Copy(spool, r)
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, 0, errors.Join(err, out.Close())
	}
	return out, n, nil
}

// temporary is a file that is removed when it is closed.
type temporary struct{ *os.File }

// Close implements io.Closer.
func (t temporary) Close() error { return errors.Join(t.File.Close(), os.Remove(t.Name())) }
