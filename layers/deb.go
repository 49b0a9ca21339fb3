package layers

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/raybuild/raybuild/llb"
)

// DebSize estimates the bytes that a Debian package adds to a compressed layer of an image with that
// base. It counts the files that the base's dpkg does not leave out, and dpkg's own notes. Documents,
// which dpkg may leave out, can be half of a .deb.
func DebSize(deb io.Reader, base LockImage, compression string) (int64, error) {
	size := &countWriter{}
	z, err := layerWriter(size, compression)
	if err != nil {
		return 0, err
	}
	s := debSizer{out: tar.NewWriter(z), skips: pathFilters(base.DpkgPaths)}
	members := &arReader{in: bufio.NewReader(deb)}
	for {
		name, body, err := members.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = s.member(name, body)
		}
		if err != nil {
			return 0, fmt.Errorf("read Debian package: %w", err)
		}
	}
	if !s.data {
		return 0, errors.New("read Debian package: it has no data.tar")
	}
	if err := errors.Join(s.listed(), s.out.Close(), z.Close()); err != nil {
		return 0, fmt.Errorf("compress Debian package: %w", err)
	}
	return size.n, nil
}

// layerWriter compresses as layers are compressed.
func layerWriter(to io.Writer, compression string) (io.WriteCloser, error) {
	if compression == "zstd" {
		return zstd.NewWriter(to)
	}
	return gzip.NewWriterLevel(to, llb.GzipLevel)
}

// debSizer writes what is left of a package.
type debSizer struct {
	out   *tar.Writer
	skips func(path string) bool
	paths bytes.Buffer // all of the package's, as dpkg lists them
	data  bool         // data.tar was there
}

// maxUnpacked limits what a package's archive may hold, in bytes.
const maxUnpacked = 32 << 30

// member takes in one of the archives in a .deb (deb(5)).
func (s *debSizer) member(name string, body io.Reader) error {
	kind, ext, _ := strings.Cut(name, ".tar")
	if kind != "control" && kind != "data" {
		return nil
	}
	switch ext {
	case "":
	case ".gz":
		z, err := gzip.NewReader(body)
		if err != nil {
			return err
		}
		body = z
	case ".xz":
		z, err := xz.NewReader(bufio.NewReader(body))
		if err != nil {
			return err
		}
		body = z
	case ".zst":
		z, err := zstd.NewReader(body)
		if err != nil {
			return err
		}
		defer z.Close()
		body = z
	default:
		return fmt.Errorf("its %q is compressed as nothing that is known", name)
	}
	s.data = s.data || kind == "data"
	return s.archive(io.LimitReader(body, maxUnpacked), kind == "data") // what is larger ends in the middle
}

func (s *debSizer) archive(from io.Reader, data bool) error {
	in := tar.NewReader(from)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := path.Clean("/" + h.Name)
		if data {
			s.paths.WriteString(name + "\n")
			if h.Typeflag != tar.TypeDir && s.skips(name) {
				continue
			}
		}
		if err := s.out.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(s.out, in); err != nil {
			return err
		}
	}
}

// listed writes dpkg's own list of the package's files.
func (s *debSizer) listed() error {
	if err := s.out.WriteHeader(&tar.Header{Name: "list", Typeflag: tar.TypeReg,
		Size: int64(s.paths.Len())}); err != nil {
		return err
	}
	_, err := s.paths.WriteTo(s.out)
	return err
}

// arReader reads the format of ar(1) that .deb files have.
type arReader struct {
	in   *bufio.Reader
	body *io.LimitedReader
	odd  bool // a byte of padding follows the body
	some bool // the archive's head was read
}

func (a *arReader) next() (name string, body io.Reader, err error) {
	const magic, headSize = "!<arch>\n", 60
	skip := int64(len(magic))
	if a.some {
		skip = a.body.N
		if a.odd {
			skip++
		}
	} else if head, err := a.in.Peek(len(magic)); err != nil || string(head) != magic {
		return "", nil, errors.New("it is not one")
	}
	a.some = true
	if _, err := io.CopyN(io.Discard, a.in, skip); err != nil {
		return "", nil, err
	}
	head := make([]byte, headSize)
	if _, err := io.ReadFull(a.in, head); err != nil {
		return "", nil, err
	}
	size, err := strconv.ParseInt(strings.TrimSpace(string(head[48:58])), 10, 64)
	if err != nil || size < 0 {
		return "", nil, errors.New("a member has no size")
	}
	a.body, a.odd = &io.LimitedReader{R: a.in, N: size}, size%2 == 1
	return strings.TrimRight(string(head[:16]), " /"), a.body, nil
}

// dpkgAll is the filter of a dpkg that unpacks everything: no filters at all are those of a lock
// that does not know them.
const dpkgAll = "path-include=/*"

// pathFilters tells which paths dpkg leaves out: of the filters that match, the last one counts (dpkg(1)).
func pathFilters(filters []string) func(path string) bool {
	type filter struct {
		match   *regexp.Regexp
		exclude bool
	}
	var all []filter
	for _, f := range filters {
		kind, glob, _ := strings.Cut(f, "=")
		all = append(all, filter{globText(glob), kind == "path-exclude"})
	}
	return func(path string) bool {
		for _, f := range slices.Backward(all) {
			if f.match.MatchString(path) {
				return f.exclude
			}
		}
		return false
	}
}

// globText is a glob as dpkg reads it, in which * stands for slashes, too.
func globText(glob string) *regexp.Regexp {
	text := regexp.QuoteMeta(glob)
	text = strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(text)
	return regexp.MustCompile("^" + text + "$")
}

// dpkgFilter is a line of dpkg's configuration that filters paths.
var dpkgFilter = lazy(`(?m)^[ \t]*(path-(?:exclude|include))(?:[ \t]*=[ \t]*|[ \t]+)(/\S*)[ \t]*$`)

// dpkgPaths are the filters of dpkg's configuration files, in the order in which dpkg reads them.
func dpkgPaths(files ...[]byte) []string {
	var out []string
	for _, f := range files {
		for _, m := range dpkgFilter().FindAllSubmatch(f, -1) {
			out = append(out, string(m[1])+"="+string(m[2]))
		}
	}
	if len(out) == 0 {
		out = []string{dpkgAll}
	}
	return out
}
