package pypi

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"io"
)

// sdistName and sdistVersion are those of the project that has an sdist and no wheel.
const (
	sdistName    = "sdist-only-pkg"
	sdistVersion = "1.0"
)

// writeSdist writes a pure Python source distribution that needs setuptools to be built.
func writeSdist(w io.Writer) error {
	root := sdistName + "-" + sdistVersion + "/"
	meta := fmt.Sprintf("Metadata-Version: 2.1\nName: %s\nVersion: %s\n"+
		"Summary: Stand-in for tests: a project with an sdist only\n", sdistName, sdistVersion)
	files := []struct{ name, data string }{
		{"PKG-INFO", meta},
		{"pyproject.toml", "[build-system]\nrequires = [\"setuptools>=40.8\", \"wheel\"]\n" +
			"build-backend = \"setuptools.build_meta\"\n"},
		{"setup.cfg", "[metadata]\nname = " + sdistName + "\n"},
		{"setup.py", fmt.Sprintf("from setuptools import setup\n\nsetup(\n    name=%q,\n    version=%q,\n"+
			"    description=\"Stand-in for tests: a project with an sdist only\",\n"+
			"    packages=[\"sdist_only_pkg\"],\n    python_requires=\">=3.6\",\n)\n", sdistName, sdistVersion)},
		{"sdist_only_pkg/__init__.py", fmt.Sprintf("\"\"\"Stand-in for tests: a project with an sdist only.\"\"\"\n\n"+
			"__version__ = %q\n", sdistVersion)},
	}
	zw := gzip.NewWriter(w)
	tw := tar.NewWriter(zw)
	for _, dir := range []string{root, root + "sdist_only_pkg/"} {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: stamp(),
			Format: tar.FormatUSTAR}); err != nil {
			return err
		}
	}
	for _, f := range files {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: root + f.name, Size: int64(len(f.data)), Mode: 0o644,
			ModTime: stamp(), Format: tar.FormatUSTAR}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.WriteString(tw, f.data); err != nil {
			return err
		}
	}
	if err := tw.Close(); err != nil {
		return err
	}
	return zw.Close()
}
