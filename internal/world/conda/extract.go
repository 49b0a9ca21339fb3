package main

import (
	"archive/tar"
	"archive/zip"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// extract unpacks a .conda or .tar.bz2 archive into dir.
func extract(archive, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if strings.HasSuffix(archive, ".conda") {
		return extractConda(archive, dir)
	}
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := untar(bzip2.NewReader(f), dir); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			// conda shows the exception itself; observed on 26.7.1.
			return newError("CondaError", "EOFError('Compressed file ended before the end-of-stream marker "+
				"was reached')")
		}
		return invalidArchive(archive, err.Error())
	}
	return nil
}

// invalidArchive is conda's text for a broken archive; observed on 26.7.1.
func invalidArchive(archive, why string) error {
	return newError("CondaError", "InvalidArchiveError('Error with archive %s.  You probably need to delete and "+
		"re-download or re-create this file.  Message was: failed with error: %s')", archive, why)
}

func extractConda(archive, dir string) error {
	zr, err := zip.OpenReader(archive)
	if err != nil {
		return invalidArchive(archive, "File is not a zip file")
	}
	defer func() { _ = zr.Close() }()
	parts := 0
	for _, f := range zr.File {
		if !strings.HasSuffix(f.Name, ".tar.zst") ||
			!strings.HasPrefix(f.Name, "pkg-") && !strings.HasPrefix(f.Name, "info-") {
			continue
		}
		parts++
		if err := untarZstd(f, dir); err != nil {
			return invalidArchive(archive, err.Error())
		}
	}
	if parts != 2 {
		return invalidArchive(archive, fmt.Sprintf("%d parts in it, not 2", parts))
	}
	return nil
}

func untarZstd(f *zip.File, dir string) error {
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	z, err := zstd.NewReader(r)
	if err != nil {
		return err
	}
	defer z.Close()
	return untar(z, dir)
}

func untar(r io.Reader, dir string) error {
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !filepath.IsLocal(h.Name) {
			return fmt.Errorf("path %q leads out of the package", h.Name)
		}
		to := filepath.Join(dir, h.Name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(to, 0o755)
		case tar.TypeSymlink:
			err = os.Symlink(h.Linkname, to)
		case tar.TypeLink:
			err = os.Link(filepath.Join(dir, h.Linkname), to)
		case tar.TypeReg:
			err = writeEntry(to, tr, h)
		}
		if err != nil {
			return err
		}
	}
}

func writeEntry(to string, r io.Reader, h *tar.Header) error {
	f, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, r); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Chmod(to, h.FileInfo().Mode().Perm()); err != nil {
		return err
	}
	return os.Chtimes(to, h.ModTime, h.ModTime)
}
