package channel

import (
	"bytes"
	"crypto/md5" //nolint:gosec // conda's formats name packages by MD5 beside SHA-256
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Installer is a Miniconda-like installer of the world.
type Installer struct {
	// Distribution is miniconda or miniforge; Version is as in the recipe (py311_26.7.1-1).
	Distribution, Version string
	// File is the file's name, Path its path below the root of its distribution's installers.
	File, Path string
	// SHA256 is the file's digest in hex, Size its length.
	SHA256 string
	Size   int64
}

// installerSpec says what an installer is made from.
type installerSpec struct {
	distribution, version, conda, minGLIBC string
}

// installerSpecs have names of the real pattern; their digests are the world's own. Miniconda asks for glibc 2.28 since
// 24.11, Miniforge for 2.17.
var installerSpecs = []installerSpec{
	{"miniconda", "py311_25.7.0-2", "25.7.0", "2.28"},
	{"miniconda", "py311_26.7.1-1", "26.7.1", "2.28"},
	{"miniforge", "26.3.2-3", "26.3.2", "2.17"},
}

// MinicondaVariant is the version of the n-th further installer, from 1.
func MinicondaVariant(n int) string { return fmt.Sprintf("py311_26.7.%d-1", n+1) }

// installers are the specs, and those of further versions.
func (b *builder) installers() []installerSpec {
	out := slices.Clone(installerSpecs)
	for i := range b.variants {
		out = append(out, installerSpec{"miniconda", MinicondaVariant(i + 1), fmt.Sprintf("26.7.%d", i+2), "2.28"})
	}
	return out
}

func (s installerSpec) names() (title, file, path, channel string) {
	if s.distribution == "miniforge" {
		file = "Miniforge3-" + s.version + "-Linux-x86_64.sh"
		return "Miniforge3", file, s.version + "/" + file, "conda-forge"
	}
	file = "Miniconda3-" + s.version + "-Linux-x86_64.sh"
	return "Miniconda3", file, file, "defaults"
}

// made is a package that was written.
type made struct {
	*pkg
	data        []byte
	md5, sha256 string
}

// writeInstaller writes a self-extracting installer with the packages below root.
func writeInstaller(root string, s installerSpec, program []byte, packages []made) (Installer, error) {
	title, file, path, channel := s.names()
	origin := "https://repo.anaconda.com/pkgs/main"
	if channel == "conda-forge" {
		origin = "https://conda.anaconda.org/conda-forge"
	}
	var env, urls strings.Builder
	env.WriteString("@EXPLICIT\n")
	var entries []entry
	for _, p := range packages {
		url := origin + "/" + p.subdir() + "/" + p.file()
		fmt.Fprintf(&env, "%s#%s\n", url, p.md5)
		urls.WriteString(url + "\n")
		entries = append(entries, entry{path: "pkgs/" + p.file(), data: p.data})
	}
	entries = append(entries,
		entry{path: "conda-meta/initial-state.explicit.txt", data: []byte(env.String())},
		entry{path: "pkgs/env.txt", data: []byte(env.String())},
		entry{path: "pkgs/urls", data: []byte(urls.String())},
		entry{path: "pkgs/urls.txt", data: []byte(urls.String())})
	var tarball bytes.Buffer
	if err := writeTar(&tarball, entries); err != nil {
		return Installer{}, err
	}
	payload := append(bytes.Clone(program), tarball.Bytes()...)
	sum := md5.Sum(payload) //nolint:gosec // as above
	header := strings.NewReplacer(
		"@NAME@", title, "@VERSION@", s.version, "@PLATFORM@", "Linux-x86_64", "@DIRECTORY@", strings.ToLower(title),
		"@GLIBC@", s.minGLIBC, "@CHANNEL@", channel,
		"@MD5@", hex.EncodeToString(sum[:]), "@CONDA_SIZE@", strconv.Itoa(len(program)), "@TAR_SIZE@",
		strconv.Itoa(tarball.Len()),
		"@LINES@", strconv.Itoa(strings.Count(installerScript, "\n")+1),
	).Replace(installerScript)
	data := append([]byte(header), payload...)
	to := filepath.Join(root, filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return Installer{}, err
	}
	if err := os.WriteFile(to, data, 0o644); err != nil {
		return Installer{}, err
	}
	return Installer{Distribution: s.distribution, Version: s.version, File: file, Path: path,
		SHA256: fmt.Sprintf("%x", sha256.Sum256(data)), Size: int64(len(data))}, nil
}
