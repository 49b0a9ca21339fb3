package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// pathEntry is an entry of info/paths.json and of paths_data in conda-meta.
type pathEntry struct {
	Path              string `json:"_path"`
	PathType          string `json:"path_type"`
	SHA256            string `json:"sha256,omitempty"`
	SHA256InPrefix    string `json:"sha256_in_prefix,omitempty"`
	SizeInBytes       *int64 `json:"size_in_bytes,omitempty"`
	PrefixPlaceholder string `json:"prefix_placeholder,omitempty"`
	FileMode          string `json:"file_mode,omitempty"`
}

// linked is a package that has been linked into a prefix.
type linked struct {
	*unpacked
	files []string
	paths []pathEntry
	pyc   []string // Python files to compile
}

// python is the interpreter of a prefix, as noarch packages need it.
type python struct{ version string } // "3.11"

func (p python) site() string { return "lib/python" + p.version + "/site-packages" }

// link puts a package's files into the prefix.
func link(u *unpacked, prefix string, py python) (*linked, error) {
	data, err := os.ReadFile(filepath.Join(u.dir, "info", "paths.json"))
	if err != nil {
		return nil, newError("CorruptedPackageError", "no info/paths.json in %s", u.dir)
	}
	var paths struct {
		Paths []pathEntry `json:"paths"`
	}
	if err := json.Unmarshal(data, &paths); err != nil {
		return nil, newError("CorruptedPackageError", "info/paths.json in %s: %v", u.dir, err)
	}
	l := &linked{unpacked: u}
	noarch := u.rec.Noarch == "python"
	for _, p := range paths.Paths {
		from := p.Path
		if noarch {
			p.Path = noarchPath(p.Path, py)
		}
		if !filepath.IsLocal(p.Path) {
			return nil, newError("CorruptedPackageError", "path %q leads out of the prefix", p.Path)
		}
		p.SHA256InPrefix = p.SHA256
		if err := linkFile(filepath.Join(u.dir, from), filepath.Join(prefix, p.Path), prefix, &p); err != nil {
			return nil, err
		}
		l.files = append(l.files, p.Path)
		l.paths = append(l.paths, p)
		if noarch && strings.HasSuffix(p.Path, ".py") && strings.HasPrefix(p.Path, py.site()+"/") {
			l.pyc = append(l.pyc, p.Path)
		}
	}
	for _, py := range l.pyc {
		cached := pycPath(py, l.pyVersion(py))
		l.files = append(l.files, cached)
		l.paths = append(l.paths, pathEntry{Path: cached, PathType: "pyc_file"})
	}
	if noarch {
		return l, l.entryPoints(prefix)
	}
	return l, nil
}

// noarchPath is where a file of a noarch Python package goes.
func noarchPath(p string, py python) string {
	if rest, ok := strings.CutPrefix(p, "site-packages/"); ok {
		return py.site() + "/" + rest
	}
	if rest, ok := strings.CutPrefix(p, "python-scripts/"); ok {
		return "bin/" + rest
	}
	return p
}

func (l *linked) pyVersion(file string) string {
	rest := strings.TrimPrefix(file, "lib/python")
	version, _, _ := strings.Cut(rest, "/")
	return strings.ReplaceAll(version, ".", "")
}

func pycPath(file, version string) string {
	dir, base := path.Split(file)
	return dir + "__pycache__/" + strings.TrimSuffix(base, ".py") + ".cpython-" + version + ".pyc"
}

// linkFile puts one file into the prefix: a hard link where the cache is on the same mount, else a
// copy with the package's time; files with the prefix in them and symbolic links are made anew.
// Observed on 26.7.1.
func linkFile(from, to, prefix string, p *pathEntry) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if p.PathType == "softlink" {
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	}
	if p.PrefixPlaceholder == "" {
		if os.Link(from, to) == nil {
			return nil
		}
		return copyFile(from, to)
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if p.FileMode == "binary" {
		data, err = replaceBinary(data, p.PrefixPlaceholder, prefix)
	} else {
		data = bytes.ReplaceAll(data, []byte(p.PrefixPlaceholder), []byte(prefix))
	}
	if err != nil {
		return err
	}
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	p.SHA256InPrefix = hex.EncodeToString(sum[:])
	if err := os.WriteFile(to, data, info.Mode().Perm()); err != nil {
		return err
	}
	return os.Chmod(to, info.Mode().Perm())
}

// replaceBinary replaces the placeholder in C strings, whose length stays: NULs fill them up.
func replaceBinary(data []byte, placeholder, prefix string) ([]byte, error) {
	if len(prefix) > len(placeholder) {
		return nil, newError("PaddingError", "Placeholder of length '%d' too short in package: the prefix is too long",
			len(placeholder))
	}
	re := regexp.MustCompile(regexp.QuoteMeta(placeholder) + `(?s-m:([^\x00]*?))\x00`)
	return re.ReplaceAllFunc(data, func(m []byte) []byte {
		out := bytes.ReplaceAll(m[:len(m)-1], []byte(placeholder), []byte(prefix))
		return append(out, make([]byte, len(m)-len(out))...)
	}), nil
}

// entryPoints makes the console scripts of a noarch Python package.
func (l *linked) entryPoints(prefix string) error {
	data, err := os.ReadFile(filepath.Join(l.dir, "info", "link.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var link struct {
		Noarch struct {
			EntryPoints []string `json:"entry_points"`
		} `json:"noarch"`
	}
	if err := json.Unmarshal(data, &link); err != nil {
		return newError("CorruptedPackageError", "info/link.json in %s: %v", l.dir, err)
	}
	for _, e := range link.Noarch.EntryPoints {
		name, target, _ := strings.Cut(e, "=")
		module, function, ok := strings.Cut(strings.TrimSpace(target), ":")
		if name = strings.TrimSpace(name); !ok || !filepath.IsLocal(name) {
			return newError("CorruptedPackageError", "entry point %q of %s", e, l.rec.dist())
		}
		first := "#!" + prefix + "/bin/python"
		if len(first) > 127 { // the kernel's limit
			first = "#!/usr/bin/env python"
		}
		object, _, _ := strings.Cut(function, ".")
		script := fmt.Sprintf("%s\n# -*- coding: utf-8 -*-\nimport sys\n\nfrom %s import %s\n\n"+
			"if __name__ == '__main__':\n    sys.exit(%s())\n", first, module, object, function)
		to := filepath.Join(prefix, "bin", name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.WriteFile(to, []byte(script), 0o755); err != nil {
			return err
		}
		l.files = append(l.files, "bin/"+name)
		l.paths = append(l.paths, pathEntry{Path: "bin/" + name, PathType: "unix_python_entry_point"})
	}
	return nil
}
