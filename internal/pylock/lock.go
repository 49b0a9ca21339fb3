package pylock

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// MaxSize is the largest lock that Read takes, in bytes. uv's for 100 packages has some 70 kB.
const MaxSize = 64 << 20

// Lock is what a pylock.toml says.
type Lock struct {
	// Version is the lock-version, "1.0" as a rule.
	Version string
	// CreatedBy is the name of the tool that wrote it.
	CreatedBy string
	// RequiresPython is the specifier of the Python versions that it is for; "" for all.
	RequiresPython string
	// Environments are the markers of the environments that it is for; none for all.
	Environments []string
	// Extras and Groups that markers may ask for. DefaultGroups are what is installed where nothing else is asked for.
	Extras, Groups, DefaultGroups []string
	// Packages in the order of the file. A name may occur more than once, with other markers.
	Packages []Package
}

// Package is one package of a lock.
type Package struct {
	// Name is normalised (PEP 503).
	Name string
	// Version may be "" for a directory or a version control system.
	Version string
	// Marker says where the package is installed; "" for everywhere.
	Marker string
	// RequiresPython is the specifier of the Python versions that it runs on; "" for all.
	RequiresPython string
	// Index is the URL of the index that has the package; "" where the lock does not say.
	Index string
	// Wheels of the version.
	Wheels []File
	// Sdist of the version, or nil.
	Sdist *File
	// Archive is the one file of a package that no index has, or nil.
	Archive *File
	// Other says what the package is where it is no file of an index, such as "git" or "a directory"; else "".
	Other string
}

// File is one file of a package.
type File struct {
	// Name is the file's name, without directories.
	Name string
	// URL of the file; "" where it has a Path, or where only the index knows it.
	URL string
	// Path of the file on this machine, as the lock has it; "" where it has a URL.
	Path string
	// Size in bytes; 0 where the lock does not say.
	Size int64
	// SHA256 is in hex; "" where the lock has none.
	SHA256 string
}

// document is the file as TOML has it. Keys that are not here are not read.
type document struct {
	Version        string        `toml:"lock-version"`
	CreatedBy      string        `toml:"created-by"`
	RequiresPython string        `toml:"requires-python"`
	Environments   []string      `toml:"environments"`
	Extras         []string      `toml:"extras"`
	Groups         []string      `toml:"dependency-groups"`
	DefaultGroups  []string      `toml:"default-groups"`
	Packages       []tomlPackage `toml:"packages"`
}

type tomlPackage struct {
	Name           string         `toml:"name"`
	Version        string         `toml:"version"`
	Marker         string         `toml:"marker"`
	RequiresPython string         `toml:"requires-python"`
	Index          string         `toml:"index"`
	Wheels         []tomlFile     `toml:"wheels"`
	Sdist          *tomlFile      `toml:"sdist"`
	Archive        *tomlFile      `toml:"archive"`
	VCS            map[string]any `toml:"vcs"`
	Directory      map[string]any `toml:"directory"`
}

type tomlFile struct {
	Name   string            `toml:"name"`
	URL    string            `toml:"url"`
	Path   string            `toml:"path"`
	Size   *int64            `toml:"size"`
	Hashes map[string]string `toml:"hashes"`
}

// Read reads a pylock.toml. Keys that it does not know are passed over, as PEP 751 wants it. It is an error if
// the lock-version is not 1.x, if a package has no normalised name, or if a file has no place or no sha256.
func Read(data []byte) (*Lock, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("read pylock.toml: it has %d bytes, more than %d", len(data), MaxSize)
	}
	var doc document
	if err := toml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("read pylock.toml: %w", err)
	}
	if major, _, ok := strings.Cut(doc.Version, "."); !ok || major != "1" {
		return nil, fmt.Errorf("read pylock.toml: lock-version %q: want 1.0", doc.Version)
	}
	lock := &Lock{Version: doc.Version, CreatedBy: doc.CreatedBy, RequiresPython: doc.RequiresPython,
		Environments: doc.Environments, Extras: normalAll(doc.Extras), Groups: normalAll(doc.Groups),
		DefaultGroups: normalAll(doc.DefaultGroups)}
	for i, t := range doc.Packages {
		p, err := t.read()
		if err != nil {
			return nil, fmt.Errorf("read pylock.toml: package %d %q: %w", i+1, t.Name, err)
		}
		lock.Packages = append(lock.Packages, p)
	}
	return lock, nil
}

// isSHA256 tells whether a digest in hex can be one.
func isSHA256(s string) bool {
	sum, err := hex.DecodeString(s)
	return err == nil && len(sum) == 32
}

// onlyHashes says which other algorithms there are.
func onlyHashes(algorithms []string) string {
	if len(algorithms) == 0 {
		return ""
	}
	return " (only " + strings.Join(algorithms, ", ") + ")"
}

// Normal is a package's name, or that of an extra, in the form of PEP 503.
func Normal(name string) string { return strings.ToLower(separators().ReplaceAllString(name, "-")) }

func normalAll(names []string) []string {
	var out []string
	for _, n := range names {
		out = append(out, Normal(n))
	}
	return out
}

//nolint:gochecknoglobals // compiled once, when it is used
var separators = lazy(`[-_.]+`)

// normalName matches a normalised name (PEP 503).
//
//nolint:gochecknoglobals // compiled once, when it is used
var normalName = lazy(`^[a-z0-9]+(-[a-z0-9]+)*$`)

func (t tomlPackage) read() (Package, error) {
	p := Package{Name: t.Name, Version: t.Version, Marker: t.Marker, RequiresPython: t.RequiresPython, Index: t.Index}
	if !normalName().MatchString(t.Name) {
		return p, errors.New("its name is not normalised")
	}
	for _, w := range t.Wheels {
		f, err := w.read()
		if err != nil {
			return p, fmt.Errorf("wheel: %w", err)
		}
		p.Wheels = append(p.Wheels, f)
	}
	for _, one := range []struct {
		kind string
		from *tomlFile
		to   **File
	}{{"sdist", t.Sdist, &p.Sdist}, {"archive", t.Archive, &p.Archive}} {
		if one.from == nil {
			continue
		}
		f, err := one.from.read()
		if err != nil {
			return p, fmt.Errorf("%s: %w", one.kind, err)
		}
		*one.to = &f
	}
	switch {
	case t.VCS != nil:
		p.Other = "version control"
	case t.Directory != nil:
		p.Other = "a directory"
	}
	ways := 0
	for _, has := range []bool{len(p.Wheels) > 0 || p.Sdist != nil, p.Archive != nil, t.VCS != nil,
		t.Directory != nil} {
		if has {
			ways++
		}
	}
	if ways > 1 {
		return p, errors.New("it has more than one of wheels or sdist, archive, vcs and directory")
	}
	return p, nil
}

func (t tomlFile) read() (File, error) {
	f := File{Name: t.Name, URL: t.URL, Path: t.Path, SHA256: strings.ToLower(t.Hashes["sha256"])}
	switch {
	case (f.URL == "") == (f.Path == ""):
		return f, errors.New("want either a url or a path")
	case f.URL != "":
		u, err := url.Parse(f.URL)
		if err != nil || u.Host == "" && u.Scheme != "file" {
			return f, fmt.Errorf("url %q is not absolute", f.URL)
		}
		if f.Name == "" {
			f.Name = path.Base(u.Path)
		}
	case f.Name == "":
		f.Name = path.Base(strings.ReplaceAll(f.Path, `\`, "/"))
	}
	if f.Name == "" || f.Name == "." || f.Name == ".." || strings.ContainsAny(f.Name, `/\`) {
		return f, fmt.Errorf("%q is no file name", f.Name)
	}
	if !isSHA256(f.SHA256) {
		return f, fmt.Errorf("%q has no sha256%s", f.Name, onlyHashes(slices.Sorted(maps.Keys(t.Hashes))))
	}
	if t.Size != nil {
		if *t.Size < 0 {
			return f, fmt.Errorf("%q has a size below 0", f.Name)
		}
		f.Size = *t.Size
	}
	return f, nil
}
