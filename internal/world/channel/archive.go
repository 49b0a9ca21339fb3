package channel

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/dsnet/compress/bzip2"
	"github.com/klauspost/compress/zstd"
)

// placeholder stands in packages for the prefix that they are installed to; 255 characters, as
// conda-build makes it, so that a binary file has room for any prefix.
const placeholder = "/home/world/_env_" + ten + ten + "placehold_placehold_placehold_placehol"

const ten = "placehold_placehold_placehold_placehold_placehold_placehold_placehold_placehold_placehold_placehold_"

// epoch is the time of every file in an archive, and in milliseconds the packages' timestamp (2025-01-01).
const epoch = 1735689600

func stamp() time.Time { return time.Unix(epoch, 0).UTC() }

// entry is a file of a package.
type entry struct {
	path string
	data []byte
	mode int64  // 0: 0644
	link string // target of a symbolic link
	// prefix is "text" or "binary" where the file has the placeholder in it.
	prefix string
}

// pkg is a conda package.
type pkg struct {
	name, version, build string
	number               int
	depends              []string
	// noarch is "", "python" or "generic"; entryPoints are for python.
	noarch      string
	entryPoints []string
	summary     string
	license     string
	// bz2 makes a .tar.bz2 and not a .conda.
	bz2     bool
	entries []entry
}

func (p *pkg) dist() string { return p.name + "-" + p.version + "-" + p.build }

func (p *pkg) subdir() string {
	if p.noarch != "" {
		return "noarch"
	}
	return "linux-64"
}

func (p *pkg) file() string {
	if p.bz2 {
		return p.dist() + ".tar.bz2"
	}
	return p.dist() + ".conda"
}

// index is info/index.json, and with the archive's hashes the package's entry in repodata.
func (p *pkg) index() map[string]any {
	license := p.license
	if license == "" {
		license = "Apache-2.0"
	}
	out := map[string]any{
		"name": p.name, "version": p.version, "build": p.build, "build_number": p.number,
		"depends": append([]string{}, p.depends...),
		"license": license, "subdir": p.subdir(), "timestamp": int64(epoch) * 1000, "arch": nil, "platform": nil,
	}
	if p.noarch == "" {
		out["arch"], out["platform"] = "x86_64", "linux"
	} else {
		out["noarch"] = p.noarch
	}
	return out
}

func jsonBytes(v any) []byte {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err) //nolint:forbidigo // only maps, strings and numbers come here, which always marshal
	}
	return append(data, '\n')
}

// info are the files of the package's info directory.
func (p *pkg) info() []entry {
	var files, prefixes strings.Builder
	paths := []map[string]any{}
	for _, e := range p.entries {
		files.WriteString(e.path + "\n")
		sum := sha256.Sum256(e.data)
		one := map[string]any{"_path": e.path, "path_type": "hardlink", "sha256": hex.EncodeToString(sum[:]),
			"size_in_bytes": len(e.data)}
		if e.link != "" {
			empty := sha256.Sum256(nil)
			one["path_type"], one["size_in_bytes"], one["sha256"] = "softlink", 0, hex.EncodeToString(empty[:])
		}
		if e.prefix != "" {
			one["prefix_placeholder"], one["file_mode"] = placeholder, e.prefix
			fmt.Fprintf(&prefixes, "%s %s %s\n", placeholder, e.prefix, e.path)
		}
		paths = append(paths, one)
	}
	out := []entry{
		{
			path: "info/about.json",
			data: jsonBytes(map[string]any{"summary": p.summary,
				"description": p.summary + ". Made by raybuild's offline package world for its tests.", "home": "",
				"license": p.index()["license"], "channels": []string{}}),
		},
		{path: "info/files", data: []byte(files.String())},
		{path: "info/hash_input.json", data: []byte("{}\n")},
		{path: "info/index.json", data: jsonBytes(p.index())},
		{path: "info/paths.json", data: jsonBytes(map[string]any{"paths": paths, "paths_version": 1})},
	}
	if prefixes.Len() > 0 {
		out = append(out, entry{path: "info/has_prefix", data: []byte(prefixes.String())})
	}
	if p.noarch == "python" {
		points := append([]string{}, p.entryPoints...)
		out = append(out, entry{path: "info/link.json",
			data: jsonBytes(map[string]any{"noarch": map[string]any{"type": "python", "entry_points": points},
				"package_metadata_version": 1})})
	}
	slices.SortFunc(out, func(a, b entry) int { return strings.Compare(a.path, b.path) })
	return out
}

func writeTar(w io.Writer, entries []entry) error {
	tw := tar.NewWriter(w)
	for _, e := range entries {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: e.path, Size: int64(len(e.data)), Mode: 0o644, ModTime: stamp(),
			Format: tar.FormatGNU}
		if e.mode != 0 {
			h.Mode = e.mode
		}
		if e.link != "" {
			h.Typeflag, h.Linkname, h.Size, h.Mode = tar.TypeSymlink, e.link, 0, 0o777
		}
		if err := tw.WriteHeader(h); err != nil {
			return fmt.Errorf("write %q: %w", e.path, err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := tw.Write(e.data); err != nil {
				return err
			}
		}
	}
	return tw.Close()
}

// zipDay is 1 January 2025 as zip files have it.
const zipDay = 45<<9 | 1<<5 | 1

// write writes the archive: the same bytes for the same package each time.
func (p *pkg) write(w io.Writer) error {
	slices.SortFunc(p.entries, func(a, b entry) int { return strings.Compare(a.path, b.path) })
	if p.bz2 {
		bw, err := bzip2.NewWriter(w, &bzip2.WriterConfig{Level: bzip2.BestCompression})
		if err != nil {
			return err
		}
		if err := writeTar(bw, append(p.info(), p.entries...)); err != nil {
			return err
		}
		return bw.Close()
	}
	zw := zip.NewWriter(w)
	add := func(name string, data []byte) error {
		// With its size before the data, not behind it: not all that read .conda files take the latter.
		f, err := zw.CreateRaw(&zip.FileHeader{Name: name, Method: zip.Store, CRC32: crc32.ChecksumIEEE(data),
			ReaderVersion: 20,
			//nolint:staticcheck // CreateRaw does not look at Modified
			CompressedSize64: uint64(len(data)), UncompressedSize64: uint64(len(data)), ModifiedDate: zipDay})
		if err != nil {
			return err
		}
		_, err = f.Write(data)
		return err
	}
	if err := add("metadata.json", []byte(`{"conda_pkg_format_version": 2}`)); err != nil {
		return err
	}
	for _, part := range []struct {
		name    string
		entries []entry
	}{{"pkg-", p.entries}, {"info-", p.info()}} {
		var b bytes.Buffer
		// One goroutine: several would cut the data into blocks by chance.
		enc, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
		if err != nil {
			return err
		}
		if err := writeTar(enc, part.entries); err != nil {
			return err
		}
		if err := enc.Close(); err != nil {
			return err
		}
		if err := add(part.name+p.dist()+".tar.zst", b.Bytes()); err != nil {
			return err
		}
	}
	return zw.Close()
}
