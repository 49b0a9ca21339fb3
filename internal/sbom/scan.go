package sbom

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Found is what one layer says of packages. Equal layers have equal ones, so it can be kept by the layer's digest.
type Found struct {
	// Rules is the version of the rules by which it was read.
	Rules int `json:"rules"`
	// Distro is os-release's, as "debian-12".
	Distro string `json:"distro,omitempty"`
	// Status are the packages of dpkg's status, if the layer has that file.
	Status    []Part `json:"status,omitempty"`
	HasStatus bool   `json:"has_status,omitempty"`
	// Parts are the packages that have a file of their own, [Part.Path], sorted by it.
	Parts []Part `json:"parts,omitempty"`
	// Copyrights are the licences of Debian packages by name.
	Copyrights map[string]string `json:"copyrights,omitempty"`
	// Documents are links from a Debian package's documents to those of another.
	Documents map[string]string `json:"documents,omitempty"`
	// Gone are the paths that the layer removes. A directory whose content goes ends in a slash.
	Gone []string `json:"gone,omitempty"`
	// Bad are files of package systems that cannot be read, with the reason.
	Bad []string `json:"bad,omitempty"`

	// Files are the layer's files and links, and Claims the paths that packages list as theirs, if somebody asked.
	Files  []string          `json:"-"`
	Claims []string          `json:"-"`
	Links  map[string]string `json:"-"` // of directories, such as "lib"
}

// ReadOptions say what of a layer is read. The zero value reads packages.
type ReadOptions struct {
	// Files also lists files, and which of them packages list as theirs. Default: packages alone.
	Files bool
}

// Limits of what is read of one layer. Real images are far below them.
const (
	maxStatus = 64 << 20 // bytes of dpkg's status
	maxMeta   = 32 << 20 // bytes of another file
	maxParts  = 200_000  // packages
	maxBad    = 20       // files that cannot be read and are named
)

// ReadLayer reads a layer: a tar, as gzip, zstd or plain.
func ReadLayer(ctx context.Context, layer io.Reader, o ReadOptions) (*Found, error) {
	plain, end, err := Unpacked(layer)
	if err != nil {
		return nil, fmt.Errorf("read layer: %w", err)
	}
	defer end()
	s := scan{o: o, found: &Found{Rules: Rules, Links: map[string]string{}}, parts: map[string]Part{}}
	in := tar.NewReader(plain)
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = s.entry(h, in)
		}
		if err != nil {
			return nil, fmt.Errorf("read layer: %w", err)
		}
	}
	return s.end(), nil
}

// Unpacked gives what a layer's blob has packed: as gzip, zstd or plain. Call end when it was read.
func Unpacked(r io.Reader) (plain io.Reader, end func(), err error) {
	in := bufio.NewReaderSize(r, 1<<16)
	head, err := in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(in)
		return z, func() {}, err
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return in, func() {}, nil
}

// scan is a layer that is being read.
type scan struct {
	o     ReadOptions
	found *Found
	parts map[string]Part // by path
}

// entry reads one entry of a layer.
func (s *scan) entry(h *tar.Header, body io.Reader) error {
	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	dir, base := path.Split(name)
	if gone, ok := strings.CutPrefix(base, ".wh."); ok {
		if gone == ".wh..opq" {
			s.found.Gone = append(s.found.Gone, dir)
		} else {
			s.found.Gone = append(s.found.Gone, dir+gone)
		}
		return nil
	}
	if h.Typeflag != tar.TypeDir && s.o.Files {
		s.found.Files = append(s.found.Files, name)
	}
	switch h.Typeflag {
	case tar.TypeSymlink:
		s.link(name, h.Linkname)
	case tar.TypeLink:
		if p, ok := s.parts[strings.TrimPrefix(path.Clean("/"+h.Linkname), "/")]; ok {
			s.part(name, p)
		}
	case tar.TypeReg:
		return s.file(name, body)
	}
	return nil
}

const documents = "usr/share/doc/"

// link notes links that matter: of a Debian package's documents, and of directories.
func (s *scan) link(name, target string) {
	if owner, ok := strings.CutPrefix(name, documents); ok && !strings.Contains(owner, "/") {
		if s.found.Documents == nil {
			s.found.Documents = map[string]string{}
		}
		s.found.Documents[plain(owner)] = plain(path.Base(target))
	}
	if s.o.Files {
		if !path.IsAbs(target) {
			target = path.Join("/", path.Dir(name), target)
		}
		s.found.Links[name] = strings.TrimPrefix(path.Clean(target), "/")
	}
}

// file reads a file if a package system wrote it.
func (s *scan) file(name string, body io.Reader) error {
	read, most := s.reader(name), int64(maxMeta)
	if read == nil {
		return nil
	}
	if name == dpkgStatus {
		most = maxStatus
	}
	data, err := readAll(body, most)
	if err != nil {
		return fmt.Errorf("file %q: %w", name, err)
	}
	if err := read(name, data); err != nil && len(s.found.Bad) < maxBad {
		s.found.Bad = append(s.found.Bad, plain(fmt.Sprintf("%s: %v", name, err)))
	}
	if len(s.parts)+len(s.found.Status) > maxParts {
		return fmt.Errorf("it has more than %d packages", maxParts)
	}
	return nil
}

const (
	dpkgStatus  = "var/lib/dpkg/status"
	dpkgStatusD = "var/lib/dpkg/status.d/"
	dpkgInfo    = "var/lib/dpkg/info/"
)

// reader says how a file is read; nil: it is not.
func (s *scan) reader(name string) func(name string, data []byte) error {
	dir, base := path.Split(name)
	above := path.Base(dir)
	python := strings.HasSuffix(above, ".dist-info") || strings.HasSuffix(above, ".egg-info")
	switch {
	case name == dpkgStatus:
		return s.status
	case dir == dpkgStatusD && !strings.HasSuffix(base, ".md5sums"):
		return s.statusFile
	case name == "usr/lib/os-release" || name == "etc/os-release":
		return s.release
	case base == "copyright" && strings.HasPrefix(name, documents) && strings.Count(name, "/") == 4:
		return s.copyright
	case above == "conda-meta" && strings.HasSuffix(base, ".json"):
		return s.conda
	case python && inEnvironment(path.Dir(path.Clean(dir))) && (base == "METADATA" || base == "PKG-INFO"):
		return s.python
	case strings.HasSuffix(base, ".egg-info") && inEnvironment(path.Clean(dir)):
		return s.python
	case s.o.Files && dir == dpkgInfo && strings.HasSuffix(base, ".list"):
		return s.claimLines
	case s.o.Files && dir == dpkgStatusD && strings.HasSuffix(base, ".md5sums"):
		return s.claimSums
	case s.o.Files && python && base == "RECORD":
		return s.claimRecord
	}
	return nil
}

// inEnvironment tells whether Python takes packages from a directory. Packages have copies of others in themselves, and
// conda a cache of packages.
func inEnvironment(dir string) bool {
	base := path.Base(dir)
	return (base == "site-packages" || base == "dist-packages") && !strings.Contains("/"+dir, "/pkgs/")
}

func (s *scan) status(_ string, data []byte) (err error) {
	s.found.HasStatus = true
	s.found.Status, err = ReadDpkgStatus(data)
	return err
}

func (s *scan) statusFile(name string, data []byte) error {
	all, err := ReadDpkgStatus(data)
	for _, p := range all {
		s.part(name, p)
	}
	return err
}

func (s *scan) release(_ string, data []byte) error {
	if d := ReadOSRelease(data); d != "" {
		s.found.Distro = d
	}
	return nil
}

func (s *scan) copyright(name string, data []byte) error {
	if l := ReadCopyright(data); l != "" {
		if s.found.Copyrights == nil {
			s.found.Copyrights = map[string]string{}
		}
		s.found.Copyrights[plain(path.Base(path.Dir(name)))] = l
	}
	return nil
}

func (s *scan) conda(name string, data []byte) error {
	p, files, err := ReadCondaMeta(data)
	if err != nil {
		return err
	}
	s.part(name, p)
	if s.o.Files {
		prefix := path.Dir(path.Dir(name))
		s.found.Claims = append(s.found.Claims, name)
		for _, f := range files {
			s.found.Claims = append(s.found.Claims, path.Join(prefix, path.Join("/", f)))
		}
	}
	return nil
}

func (s *scan) python(name string, data []byte) error {
	p, err := ReadMetadata(data)
	if err != nil {
		return err
	}
	s.part(name, p)
	return nil
}

func (s *scan) part(name string, p Part) {
	p.Path = name
	s.parts[name] = p
}

// end gives what was found.
func (s *scan) end() *Found {
	for _, p := range s.parts {
		s.found.Parts = append(s.found.Parts, p)
	}
	slices.SortFunc(s.found.Parts, func(a, b Part) int { return strings.Compare(a.Path, b.Path) })
	slices.Sort(s.found.Gone)
	return s.found
}
