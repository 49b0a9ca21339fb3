package pylock

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// poetryLock is a poetry.lock of lock-version 2.1, which Poetry 2 writes: it says of each package for which groups,
// extras and environments it is. Its files have names and digests; only an index knows where they are.
type poetryLock struct {
	python   string
	extras   []string
	groups   []string
	packages []poetryEntry
}

// poetryEntry is a package with its markers, by group; "" for all groups.
type poetryEntry struct {
	Package
	python  string // as Poetry has it
	groups  []string
	markers map[string]Marker
}

type poetryDocument struct {
	Packages []poetryPackage     `toml:"package"`
	Extras   map[string][]string `toml:"extras"`
	Metadata struct {
		Version string `toml:"lock-version"`
		Python  string `toml:"python-versions"`
	} `toml:"metadata"`
}

type poetryPackage struct {
	Name    string         `toml:"name"`
	Version string         `toml:"version"`
	Python  string         `toml:"python-versions"`
	Groups  []string       `toml:"groups"`
	Markers any            `toml:"markers"` // a marker, or one for each group
	Needs   map[string]any `toml:"dependencies"`
	Files   []struct {
		File string `toml:"file"`
		Hash string `toml:"hash"`
		URL  string `toml:"url"`
	} `toml:"files"`
	Source struct {
		Type string `toml:"type"`
		URL  string `toml:"url"`
	} `toml:"source"`
}

// mainGroup is Poetry's group of what a project needs itself.
const mainGroup = "main"

// readPoetry reads a poetry.lock. beside reads a file beside it: pyproject.toml, for a lock of Poetry 1.
func readPoetry(data []byte, beside func(string) ([]byte, error)) (Source, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("read poetry.lock: it has %d bytes, more than %d", len(data), MaxSize)
	}
	var doc poetryDocument
	if err := toml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("read poetry.lock: %w", err)
	}
	switch v := doc.Metadata.Version; {
	case strings.HasPrefix(v, "1."):
		return nil, fmt.Errorf("read poetry.lock: lock-version %q is of Poetry 1.2 or older: run `poetry lock` of "+
			"Poetry 2, which keeps the versions and writes 2.1", v)
	case !strings.HasPrefix(v, "2."):
		return nil, fmt.Errorf("read poetry.lock: lock-version %q: want 2.0 or 2.1", v)
	}
	l := &poetryLock{python: doc.Metadata.Python, extras: normalAll(slices.Sorted(maps.Keys(doc.Extras)))}
	var needs []map[string]any
	for i, t := range doc.Packages {
		p, err := t.read()
		if err != nil {
			return nil, fmt.Errorf("read poetry.lock: package %d %q: %w", i+1, t.Name, err)
		}
		l.packages = append(l.packages, p)
		l.groups = append(l.groups, p.groups...)
		needs = append(needs, t.Needs)
	}
	if doc.Metadata.Version == "2.0" {
		pyproject, err := beside("pyproject.toml")
		if err != nil {
			return nil, fmt.Errorf("read what the project of poetry.lock needs: %w", err)
		}
		return source(readOldPoetry(l, needs, pyproject))
	}
	slices.Sort(l.groups)
	l.groups = slices.Compact(l.groups)
	return l, nil
}

func (t poetryPackage) read() (poetryEntry, error) {
	p := poetryEntry{python: t.Python, groups: normalAll(t.Groups), markers: map[string]Marker{}}
	p.Name, p.Version, p.RequiresPython = Normal(t.Name), t.Version, poetryPython(t.Python)
	if !normalName().MatchString(p.Name) {
		return p, errors.New("it is no name of a package")
	}
	if err := p.readMarkers(t.Markers); err != nil {
		return p, err
	}
	direct := ""
	switch t.Source.Type {
	case "":
	case "legacy":
		p.Index = t.Source.URL
	case "url":
		direct = t.Source.URL
	case "git":
		p.Other = "git"
	case "directory":
		p.Other = "a directory"
	case "file":
		p.Other = "a file beside it"
	default:
		p.Other = "a source " + t.Source.Type
	}
	for _, file := range t.Files {
		f := File{Name: file.File, URL: file.URL}
		if direct != "" && path.Base(direct) == f.Name {
			f.URL = direct
		}
		if f.Name == "" || path.Base(f.Name) != f.Name || strings.Contains(f.Name, `\`) {
			return p, fmt.Errorf("%q is no file name", f.Name)
		}
		if sum, ok := strings.CutPrefix(file.Hash, "sha256:"); ok {
			f.SHA256 = strings.ToLower(sum)
		}
		if strings.HasSuffix(f.Name, ".whl") {
			p.Wheels = append(p.Wheels, f)
		} else if p.Sdist == nil || strings.HasSuffix(f.Name, ".tar.gz") {
			p.Sdist = &f
		}
	}
	return p, nil
}

// readMarkers reads one marker for all groups, or one for each.
func (p *poetryEntry) readMarkers(v any) error {
	texts := map[string]any{}
	switch v := v.(type) {
	case nil:
	case string:
		texts[""] = v
	case map[string]any:
		texts = v
	default:
		return errors.New("its markers are neither a text nor a table")
	}
	for group, v := range texts {
		text, ok := v.(string)
		if !ok {
			return fmt.Errorf("its marker for %q is no text", group)
		}
		m, err := ParseMarker(text)
		if err != nil {
			return err
		}
		p.markers[Normal(group)] = m
	}
	return nil
}

// poetryPython is Poetry's constraint of Python versions as a specifier of PEP 440; "" where it is none. Poetry's own
// forms, such as ^3.8 and alternatives with ||, only repeat what the package's files say.
func poetryPython(s string) string {
	if s == "*" || strings.ContainsAny(s, "^|") {
		return ""
	}
	if _, ok := Specifier(s).Has("3"); !ok {
		return ""
	}
	return s
}

// Versions are the versions that the lock has of a package, for any environment.
func (l *poetryLock) Versions(name string) []string {
	var all []Package
	for _, p := range l.packages {
		all = append(all, p.Package)
	}
	return versions(all, name)
}

// Select gives the packages of the project's main group and of those that are asked for, whose markers hold.
func (l *poetryLock) Select(r Request) ([]Package, error) {
	e, err := l.environment(r)
	if err != nil {
		return nil, err
	}
	var out []Package
	for _, p := range l.packages {
		if p.wanted(append([]string{mainGroup}, e.Groups...), e) {
			out = append(out, p.Package)
		}
	}
	return r.finish(out)
}

// environment is what the lock's markers are evaluated in.
func (l *poetryLock) environment(r Request) (Environment, error) {
	e, err := r.environment("", l.extras, l.groups)
	if full := e.Values["python_full_version"]; err == nil && !poetryHas(l.python, full) {
		err = fmt.Errorf("select packages for Python %s: the lock is for Python %s", full, l.python)
	}
	return e, err
}

// wanted tells whether one of the groups needs the package in the environment.
func (p poetryEntry) wanted(groups []string, e Environment) bool {
	return slices.ContainsFunc(p.groups, func(g string) bool {
		if !slices.Contains(groups, g) {
			return false
		}
		m, ok := p.markers[g]
		if !ok {
			m = p.markers[""] // holds everywhere where there is none
		}
		return m.Holds(e)
	})
}
