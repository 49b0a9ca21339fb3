package channel

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// wheelPackage makes a noarch Python package of one of Debian's wheels, and gives back the wheel.
func wheelPackage(ctx context.Context, find func(string) (string, error), deb, dir string,
	entryPoints ...string) (*pkg, string, error) {
	files, err := debs(ctx, find, []string{deb})
	if err != nil {
		return nil, "", err
	}
	i := slices.IndexFunc(files, func(e entry) bool { return strings.HasSuffix(e.path, ".whl") })
	if i < 0 {
		return nil, "", fmt.Errorf("find the wheel in Debian package %q: not there", deb)
	}
	name := path.Base(files[i].path)
	wheel := filepath.Join(dir, name)
	if err := os.WriteFile(wheel, files[i].data, 0o644); err != nil {
		return nil, "", err
	}
	p, err := packageOf(name, files[i].data, "Debian's "+deb, entryPoints...)
	return p, wheel, err
}

// packageOf makes a noarch Python package of a pure Python wheel, which is from whom.
func packageOf(name string, data []byte, whom string, entryPoints ...string) (*pkg, error) {
	parts := strings.Split(name, "-")
	p := &pkg{
		name: parts[0], version: parts[1], build: "pyhworld_0", noarch: "python", depends: []string{"python >=3.7"},
		entryPoints: entryPoints,
		summary:     "The real " + parts[0] + ", from " + whom, license: "MIT",
	}
	if p.name == "pip" {
		p.depends = []string{"python >=3.7", "setuptools", "wheel"}
	}
	zr, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("read wheel %q: %w", name, err)
	}
	for _, f := range zr.File {
		if strings.HasSuffix(f.Name, "/") {
			continue
		}
		r, err := f.Open()
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return nil, fmt.Errorf("read wheel %q: %w", name, err)
		}
		p.entries = append(p.entries, entry{path: "site-packages/" + f.Name, data: data})
	}
	p.entries = append(p.entries, entry{path: "site-packages/" + parts[0] + "-" + parts[1] + ".dist-info/INSTALLER",
		data: []byte("conda\n")})
	return p, nil
}

// certificates makes ca-certificates of Debian's.
func certificates(ctx context.Context, find func(string) (string, error)) (*pkg, error) {
	files, err := debs(ctx, find, []string{"ca-certificates"})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(files, func(a, b entry) int { return strings.Compare(a.path, b.path) })
	var pem bytes.Buffer
	for _, e := range files {
		if strings.HasSuffix(e.path, ".crt") {
			pem.Write(e.data)
		}
	}
	deb, err := find("ca-certificates")
	if err != nil {
		return nil, err
	}
	version := strings.FieldsFunc(filepath.Base(deb), func(r rune) bool { return r == '_' || r == '~' || r == '%' })[1]
	return &pkg{
		name: "ca-certificates", version: version[:4] + "." + strings.TrimLeft(version[4:6], "0") +
			"." + strings.TrimLeft(version[6:], "0"), build: "hworld_0", noarch: "generic", license: "ISC",
		summary: "The certificates of Debian's ca-certificates",
		entries: []entry{{path: "ssl/cacert.pem", data: pem.Bytes()}, {path: "ssl/cert.pem", link: "cacert.pem"}},
	}, nil
}

// oddities are small packages, each with one thing that an installer can do wrong.
func oddities(where []byte) []*pkg {
	marks := func(n int) []entry {
		var out []entry
		for i := range n {
			out = append(out, entry{path: fmt.Sprintf("share/world-many/%02d.txt", i),
				data: fmt.Appendf(nil, "file %d\n", i)})
		}
		return out
	}
	out := []*pkg{
		{
			name: "world-textprefix", version: "1.0", build: "h1_0", bz2: true,
			summary: "Stand-in for tests: a text file with the prefix in it",
			entries: []entry{
				{path: "bin/world-textprefix", mode: 0o755, prefix: "text",
					data: []byte("#!/bin/sh\necho " + placeholder + "/share\n")},
				{path: "etc/conda/activate.d/world.sh", data: []byte("export WORLD_ACTIVATED=1\n")},
				{path: "etc/conda/deactivate.d/world.sh", data: []byte("unset WORLD_ACTIVATED\n")},
			},
		},
		{
			name: "world-binprefix", version: "2.0", build: "h2_1", number: 1,
			summary: "Stand-in for tests: a program with the prefix in it",
			depends: []string{"world-textprefix >=1.0,<2"},
			entries: []entry{{path: "bin/world-where", mode: 0o755, prefix: "binary", data: where}},
		},
		{
			name: "world-postlink", version: "1.0", build: "h3_0",
			summary: "Stand-in for tests: a package with a post-link script",
			entries: []entry{
				{path: "bin/.world-postlink-post-link.sh", mode: 0o755, data: []byte("#!/bin/sh\n" +
					"mkdir -p \"$PREFIX/share/world-postlink\"\n" +
					"echo \"$PKG_NAME $PKG_VERSION $PKG_BUILDNUM\" > \"$PREFIX/share/world-postlink/stamp\"\n" +
					"echo \"world-postlink was linked\" >> \"$PREFIX/.messages.txt\"\n")},
				{path: "share/world-postlink/readme.txt", data: []byte("the script writes stamp beside this file\n")},
			},
		},
		{
			name: "world-links", version: "1.0", build: "h4_0", bz2: true,
			summary: "Stand-in for tests: a package with symbolic links",
			entries: append(marks(20), entry{path: "share/world-links/to-file", link: "../world-many/00.txt"},
				entry{path: "share/world-links/to-dir", link: "../world-many"},
				entry{path: "share/world-links/dangling", link: "no-such-file"}),
		},
		{
			name: "world-hello", version: "1.0", build: "pyh5_0", noarch: "python", depends: []string{"python >=3.8"},
			entryPoints: []string{"world-hello = world_hello.cli:main"},
			summary:     "Stand-in for tests: a noarch Python package with an entry point",
			entries: []entry{
				{path: "site-packages/world_hello/__init__.py",
					data: []byte("\"\"\"Stand-in for tests.\"\"\"\n\n__version__ = \"1.0\"\n")},
				{path: "site-packages/world_hello/cli.py",
					data: []byte("def main():\n    print(\"hello from the world\")\n")},
				{path: "python-scripts/world-script", mode: 0o755,
					data: []byte("#!/usr/bin/env python\nprint(\"script of the world\")\n")},
			},
		},
	}
	return append(append(out, activated()), metapackages()...)
}

// activated is a package that wants variables, in the ways that compilers, openjdk, gdal and CUDA's have.
func activated() *pkg {
	return &pkg{
		name: "world-activate", version: "1.0", build: "0", noarch: "generic",
		summary: "Stand-in for tests: a package with scripts for an activated environment",
		entries: []entry{
			{path: "etc/conda/activate.d/openjdk_activate.sh", data: []byte(
				"export CONDA_BACKUP_JAVA_HOME=${JAVA_HOME:-}\n" +
					"export JAVA_HOME=$CONDA_PREFIX/lib/jvm\n")},
			{path: "etc/conda/activate.d/world-gxx.sh", data: []byte("function _world_names() {\n" +
				"  local -a names=(CXX:g++ CC:gcc)\n  for n in \"${names[@]}\"; do\n" +
				"    export \"${n%%:*}=x86_64-conda-linux-gnu-${n##*:}\"\n  done\n}\n_world_names\n" +
				"export CFLAGS=\"-O2 -isystem $CONDA_PREFIX/include\" PATH=\"$CONDA_PREFIX/nvvm/bin:$PATH\"\n")},
			{path: "etc/conda/env_vars.d/world.json", data: []byte(`{"WORLD_LISTED": "it's \"$HOME\""}`)},
		},
	}
}

// metapackages are packages that ask for others, or for what is not there.
func metapackages() []*pkg {
	return []*pkg{
		{
			name: "world-tools", version: "1.0", build: "0", noarch: "generic",
			summary: "Stand-in for tests: asks for the others",
			depends: []string{"world-binprefix ==2.0", "world-postlink", "world-links 1.*", "world-hello",
				"python_abi 3.11.* *_cp311"},
			entries: []entry{{path: "share/world-tools/readme.txt", data: []byte("a metapackage\n")}},
		},
		{
			name: "world-tools", version: "0.9", build: "0", noarch: "generic",
			summary: "Stand-in for tests: an older version, which asks for less",
			depends: []string{"world-links"},
			entries: []entry{{path: "share/world-tools/readme.txt", data: []byte("an older metapackage\n")}},
		},
		{
			name: "world-unsatisfiable", version: "1.0", build: "0", noarch: "generic",
			summary: "Stand-in for tests: asks for what is not there", depends: []string{"world-textprefix >=9"},
			entries: []entry{{path: "share/world-unsatisfiable/readme.txt", data: []byte("never installed\n")}},
		},
		{name: "python_abi", version: "3.11", build: "1_cp311", number: 1, noarch: "generic",
			summary: "Which Python's binary interface packages are for", depends: []string{"python 3.11.*"},
			entries: []entry{}},
	}
}

// PythonVariant is the version of the n-th further Python, from 1.
func PythonVariant(n int) string { return fmt.Sprintf("3.11.%d", n+3) }

// pythonPackages are Debian's Python under two versions and some variants: all but the first are
// the first, relabelled, so that there is something to upgrade to.
func pythonPackages(files []entry, variants int) []*pkg {
	versions := []string{"3.11.3"}
	for i := range variants {
		versions = append(versions, PythonVariant(i+1))
	}
	type labelled struct{ version, summary string }
	all := []labelled{{"3.11.2", "Python 3.11.2 of Debian, laid out as conda does"}}
	for _, v := range versions {
		all = append(all, labelled{v, "Stand-in for tests: Python 3.11.2 of Debian, relabelled as " + v})
	}
	var out []*pkg
	for _, v := range all {
		note := entry{path: "share/world-python/readme.txt", data: []byte(v.summary + "\n")}
		out = append(out, &pkg{
			name: "python", version: v.version, build: "hworld_0_cpython", depends: []string{"ca-certificates"},
			license: "Python-2.0",
			summary: v.summary, entries: append(slices.Clone(files), note),
		})
	}
	return out
}
