package pypi

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"io"
	"strings"
)

// sdistVersion is that of the projects that have an sdist and no wheel.
const sdistVersion = "1.0"

// sdist is such a project.
type sdist struct {
	name   string
	before string // lines at the beginning of setup.py
	more   []struct{ name, data string }
}

// sdists are one of pure Python, and one that needs a program of Debian's to tell what it is, as psycopg2 needed
// pg_config, and that has a source for a compiler.
func sdists() []sdist {
	return []sdist{{name: "sdist-only-pkg"}, {name: "sdist-needs-bc",
		before: "import subprocess\nassert subprocess.check_output([\"bc\"], input=b\"6*7\\n\") == b\"42\\n\"\n",
		more:   []struct{ name, data string }{{"src/empty.c", "/* nothing */\n"}}}}
}

// write writes a source distribution that needs setuptools to be built.
func (s sdist) write(w io.Writer) error {
	sdistName, module := s.name, strings.ReplaceAll(s.name, "-", "_")
	root := sdistName + "-" + sdistVersion + "/"
	meta := fmt.Sprintf("Metadata-Version: 2.1\nName: %s\nVersion: %s\n"+
		"Summary: Stand-in for tests: a project with an sdist only\n", sdistName, sdistVersion)
	files := []struct{ name, data string }{
		{"PKG-INFO", meta},
		{"pyproject.toml", "[build-system]\nrequires = [\"setuptools>=40.8\", \"wheel\"]\n" +
			"build-backend = \"setuptools.build_meta\"\n"},
		{"setup.cfg", "[metadata]\nname = " + sdistName + "\n"},
		{"setup.py", s.before + fmt.Sprintf("from setuptools import setup\n\nsetup(\n    name=%q,\n    version=%q,\n"+
			"    description=\"Stand-in for tests: a project with an sdist only\",\n"+
			"    packages=[%q],\n    python_requires=\">=3.6\",\n)\n", sdistName, sdistVersion, module)},
		{module + "/__init__.py", fmt.Sprintf("\"\"\"Stand-in for tests: a project with an sdist only.\"\"\"\n\n"+
			"__version__ = %q\n", sdistVersion)},
	}
	files = append(files, s.more...)
	zw := gzip.NewWriter(w)
	tw := tar.NewWriter(zw)
	for _, dir := range []string{root, root + module + "/"} {
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
