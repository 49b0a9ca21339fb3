package bytecode

import (
	"archive/tar"
	"archive/zip"
	"compress/bzip2"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/klauspost/compress/zstd"
)

const (
	maxUnpacked = 2 << 30 // in bytes; Python has some 150 MB
	maxFiles    = 100_000
)

// Unpack gives the Python of the conda package in file (python-3.x.y-*.conda or .tar.bz2), whose digest is sum, as
// sha256:HEX. It is unpacked below the directory cache, once for each digest; the directory is made if it is missing.
// Only what an interpreter needs to compile is unpacked: the program, its library without tests and site-packages, and
// shared libraries. It is an error if the file has another digest, or the program cannot run on this machine.
//
// A .conda file is a ZIP archive of tar files in zstd
// (https://docs.conda.io/projects/conda/en/stable/user-guide/concepts/packages.html).
func Unpack(ctx context.Context, cache, file, sum string) (Python, error) {
	p, err := unpack(ctx, cache, file, sum)
	if err != nil {
		return Python{}, fmt.Errorf("unpack Python %q: %w", file, err)
	}
	return p, nil
}

func unpack(ctx context.Context, cache, file, sum string) (Python, error) {
	name, ok := strings.CutPrefix(sum, "sha256:")
	if raw, err := hex.DecodeString(name); !ok || err != nil || len(raw) != sha256.Size {
		return Python{}, fmt.Errorf("digest %q: must be sha256 and 64 hexadecimal digits", sum)
	}
	home := filepath.Join(cache, strings.ToLower(name))
	if p, err := find(home); err == nil {
		return p, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return Python{}, err
	}
	f, err := os.Open(file)
	if err != nil {
		return Python{}, err
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return Python{}, err
	}
	if got := hex.EncodeToString(hash.Sum(nil)); !strings.EqualFold(got, name) {
		return Python{}, fmt.Errorf("its digest is sha256:%s, not %s", got, sum)
	}
	work, err := os.MkdirTemp(cache, ".unpack-*")
	if err != nil {
		return Python{}, err
	}
	defer os.RemoveAll(work)
	if err := (&unpacker{ctx: ctx.Err, dir: work}).archive(f); err != nil {
		return Python{}, err
	}
	if err := tryPython(ctx, work); err != nil {
		return Python{}, err
	}
	if err := os.Rename(work, home); err != nil {
		if p, err := find(home); err == nil { // another process was faster
			return p, nil
		}
		return Python{}, err
	}
	return find(home)
}

// tryPython starts what was unpacked.
func tryPython(ctx context.Context, home string) error {
	p, err := find(home)
	if err != nil {
		return err
	}
	c, err := Start(ctx, p, Options{Processes: 1})
	if err != nil {
		return fmt.Errorf("it cannot run on this machine, or is damaged: %w", err)
	}
	return c.Close()
}

var pythonProgram = regexp.MustCompile(`^python3\.\d+$`)

// find finds the program below a directory.
func find(home string) (Python, error) {
	all, err := os.ReadDir(filepath.Join(home, "bin"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return Python{}, err
	}
	for _, e := range all {
		if pythonProgram.MatchString(e.Name()) {
			return Python{Path: filepath.Join(home, "bin", e.Name()), Home: home}, nil
		}
	}
	return Python{}, errors.New("it has no bin/python3.X")
}

// Repack writes what Unpack unpacks of a package as a tar archive, for a machine that can run it. The same package
// gives the same bytes.
func Repack(ctx context.Context, file, sum string, to io.Writer) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return err
	}
	if got := "sha256:" + hex.EncodeToString(hash.Sum(nil)); got != sum {
		return fmt.Errorf("repack Python %q: its digest is %s, not %s", file, got, sum)
	}
	out := tar.NewWriter(to)
	u := &unpacker{ctx: ctx.Err, put: func(h *tar.Header, name string, r io.Reader) error {
		head := &tar.Header{Typeflag: h.Typeflag, Name: name, Linkname: h.Linkname, Size: h.Size,
			Mode: 0o644 | h.Mode&0o111}
		if err := out.WriteHeader(head); err != nil {
			return err
		}
		_, err := io.Copy(out, r)
		return err
	}}
	if err := u.archive(f); err != nil {
		return fmt.Errorf("repack Python %q: %w", file, err)
	}
	return out.Close()
}

// unpacker unpacks a package into dir, or hands its files to put.
type unpacker struct {
	ctx   func() error
	dir   string
	put   func(h *tar.Header, name string, r io.Reader) error // default: it is written into dir
	size  int64
	files int
}

// archive unpacks a package of either kind, which its first bytes tell.
func (u *unpacker) archive(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	start := make([]byte, 4)
	if _, err := f.ReadAt(start, 0); err != nil {
		return err
	}
	if string(start[:3]) == "BZh" {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		return u.tar(bzip2.NewReader(f))
	}
	r, err := zip.NewReader(f, info.Size())
	if err != nil {
		return fmt.Errorf("it is no conda package: %w", err)
	}
	for _, part := range r.File {
		if !strings.HasPrefix(part.Name, "pkg-") || !strings.HasSuffix(part.Name, ".tar.zst") {
			continue
		}
		in, err := part.Open()
		if err != nil {
			return err
		}
		defer in.Close()
		z, err := zstd.NewReader(in, zstd.WithDecoderMaxMemory(maxUnpacked))
		if err != nil {
			return err
		}
		defer z.Close()
		return u.tar(z)
	}
	return errors.New("it is no conda package: it has no pkg-*.tar.zst")
}

var library = regexp.MustCompile(`^lib/python3\.\d+/`)

// wanted tells whether a file is needed to compile.
func wanted(name string) bool {
	dir, base := path.Split(name)
	switch {
	case dir == "bin/":
		return pythonProgram.MatchString(base)
	case dir == "lib/":
		return strings.Contains(base, ".so") || strings.HasSuffix(base, ".dylib")
	case !library.MatchString(name):
		return false
	}
	for _, part := range strings.Split(dir, "/")[2:] {
		switch part {
		case "site-packages", "test", "tests", "__pycache__", "idlelib", "ensurepip", "lib2to3", "tkinter":
			return false
		}
	}
	return true
}

func (u *unpacker) tar(r io.Reader) error {
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err = errors.Join(err, u.ctx()); err != nil {
			return err
		}
		name := path.Clean(h.Name)
		if !filepath.IsLocal(filepath.FromSlash(name)) {
			return fmt.Errorf("file %q leads out of the package", h.Name)
		}
		if !wanted(name) || h.Typeflag == tar.TypeDir {
			continue
		}
		if u.files++; u.files > maxFiles {
			return fmt.Errorf("it has more than %d files", maxFiles)
		}
		if err := u.entry(h, name, in); err != nil {
			return fmt.Errorf("file %q: %w", h.Name, err)
		}
	}
}

// entry writes a file. Links are kept where they lead to a file of the same directory, which no entry lies below.
func (u *unpacker) entry(h *tar.Header, name string, r io.Reader) error {
	if u.size += h.Size; u.size > maxUnpacked {
		return fmt.Errorf("the package unpacks to more than %d bytes", maxUnpacked)
	}
	if u.put != nil {
		return u.put(h, name, r)
	}
	to := filepath.Join(u.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeSymlink:
		if path.Base(h.Linkname) != h.Linkname || h.Linkname == ".." {
			return fmt.Errorf("it is a link to %q, not beside it", h.Linkname)
		}
		return os.Symlink(h.Linkname, to)
	case tar.TypeLink:
		from := path.Clean(h.Linkname)
		if !filepath.IsLocal(filepath.FromSlash(from)) || !wanted(from) {
			return fmt.Errorf("it is a link to %q, which is not there", h.Linkname)
		}
		return os.Link(filepath.Join(u.dir, filepath.FromSlash(from)), to)
	case tar.TypeReg:
	default:
		return errors.New("it is a device or something else that packages do not have")
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close(), os.Chmod(to, 0o644|os.FileMode(h.Mode)&0o111))
}
