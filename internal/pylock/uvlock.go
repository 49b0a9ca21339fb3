package pylock

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// uvLock is a uv.lock. uv does not describe the format; this is what uv 0.13 and its predecessors write as version 1
// with revisions 0 to 5.
type uvLock struct {
	doc      uvDocument
	packages []Package // files of doc.Packages, by index
	markers  [][]Marker
	named    map[string][]int // indexes by name
	roots    []int
}

type uvDocument struct {
	Version        int    `toml:"version"`
	RequiresPython string `toml:"requires-python"`
	Manifest       struct {
		Members []string           `toml:"members"`
		Groups  map[string][]uvDep `toml:"dependency-groups"` // of a workspace whose root is no project
	} `toml:"manifest"`
	Packages []uvPackage `toml:"package"`
}

type uvPackage struct {
	Name         string             `toml:"name"`
	Version      string             `toml:"version"`
	Source       uvSource           `toml:"source"`
	Forks        []string           `toml:"resolution-markers"`
	Dependencies []uvDep            `toml:"dependencies"`
	Extras       map[string][]uvDep `toml:"optional-dependencies"`
	Groups       map[string][]uvDep `toml:"dev-dependencies"`
	Wheels       []uvFile           `toml:"wheels"`
	Sdist        *uvFile            `toml:"sdist"`
	Metadata     struct {
		Extras []string `toml:"provides-extras"`
	} `toml:"metadata"`
}

type uvSource struct {
	Registry  string `toml:"registry"`
	URL       string `toml:"url"`
	Git       string `toml:"git"`
	Path      string `toml:"path"`
	Directory string `toml:"directory"`
	Editable  string `toml:"editable"`
	Virtual   string `toml:"virtual"`
}

// uvDep is an edge of the graph. Version and Source are there where the name alone means several packages.
type uvDep struct {
	Name    string    `toml:"name"`
	Version string    `toml:"version"`
	Source  *uvSource `toml:"source"`
	Marker  string    `toml:"marker"`
	Extras  []string  `toml:"extra"`
}

type uvFile struct {
	URL      string `toml:"url"`
	Path     string `toml:"path"`
	Filename string `toml:"filename"`
	Hash     string `toml:"hash"`
	Size     int64  `toml:"size"`
}

// readUV reads a uv.lock.
func readUV(data []byte) (*uvLock, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("read uv.lock: it has %d bytes, more than %d", len(data), MaxSize)
	}
	l := &uvLock{named: map[string][]int{}}
	if err := toml.Unmarshal(data, &l.doc); err != nil {
		return nil, fmt.Errorf("read uv.lock: %w", err)
	}
	if l.doc.Version != 1 {
		return nil, fmt.Errorf("read uv.lock: version %d: want 1, which uv writes since 0.3", l.doc.Version)
	}
	for i := range l.doc.Packages {
		u := &l.doc.Packages[i]
		p, forks, err := u.read()
		if err != nil {
			return nil, fmt.Errorf("read uv.lock: package %d %q: %w", i+1, u.Name, err)
		}
		l.packages, l.markers = append(l.packages, p), append(l.markers, forks)
		l.named[u.Name] = append(l.named[u.Name], i)
	}
	if l.roots = l.findRoots(); len(l.roots) == 0 && len(l.doc.Manifest.Groups) == 0 {
		return nil, errors.New("read uv.lock: it has no project of its own, which a source virtual or editable names")
	}
	return l, nil
}

// read gives the package with its files, and the markers of the forks that it is in.
func (u *uvPackage) read() (p Package, forks []Marker, err error) {
	p = Package{Name: u.Name, Version: u.Version, Index: u.Source.index(), Other: u.Source.other()}
	if !normalName().MatchString(u.Name) {
		return p, nil, errors.New("its name is not normalised")
	}
	for _, text := range u.Forks {
		m, err := ParseMarker(text)
		if err != nil {
			return p, nil, err
		}
		forks = append(forks, m)
	}
	if p.Other != "" {
		return p, forks, nil
	}
	for _, w := range u.Wheels {
		f, err := w.read(u.Source)
		if err != nil {
			return p, nil, err
		}
		p.Wheels = append(p.Wheels, f)
	}
	if u.Sdist != nil {
		f, err := u.Sdist.read(u.Source)
		if err != nil {
			return p, nil, err
		}
		p.Sdist = &f
	}
	return p, forks, nil
}

func (s uvSource) index() string {
	if strings.Contains(s.Registry, "://") {
		return s.Registry
	}
	return ""
}

// other says where a package comes from that is no file of an index and of no URL.
func (s uvSource) other() string {
	switch {
	case s.Git != "":
		return "git"
	case s.Path != "", s.Registry != "" && s.index() == "":
		return "a file beside it"
	case s.Directory != "", s.Editable != "", s.Virtual != "":
		return "a directory"
	case s.Registry == "" && s.URL == "":
		return "a place that raybuild does not know"
	}
	return ""
}

// read gives the file. That of a source by URL has no URL of its own.
func (u uvFile) read(from uvSource) (File, error) {
	f := File{Name: u.Filename, URL: u.URL, Size: max(u.Size, 0)}
	if f.URL == "" {
		f.URL = from.URL
	}
	at, err := url.Parse(f.URL)
	if err != nil || at.Host == "" || at.Scheme != "http" && at.Scheme != "https" {
		return f, fmt.Errorf("url %q is none of http or https", f.URL)
	}
	if f.Name == "" {
		f.Name = path.Base(at.Path)
	}
	if strings.ContainsAny(f.Name, `/\`) || f.Name == "." || f.Name == ".." {
		return f, fmt.Errorf("%q is no file name", f.Name)
	}
	if sum, ok := strings.CutPrefix(u.Hash, "sha256:"); ok {
		f.SHA256 = strings.ToLower(sum)
	}
	return f, nil
}

// findRoots finds the project that the lock is of, or else the members of its workspace.
func (l *uvLock) findRoots() []int {
	var root, members []int
	for i, u := range l.doc.Packages {
		switch {
		case u.Source.Virtual == "." || u.Source.Editable == "." || u.Source.Directory == ".":
			root = append(root, i)
		case u.Source.Virtual != "" || u.Source.Editable != "" || u.Source.Directory != "":
			if slices.Contains(l.doc.Manifest.Members, u.Name) {
				members = append(members, i)
			}
		}
	}
	if len(root) > 0 {
		return root
	}
	return members
}

// Versions are the versions that the lock has of a package, for any environment.
func (l *uvLock) Versions(name string) []string { return versions(l.packages, name) }

// has are the extras and groups of the projects that the lock is of.
func (l *uvLock) has() (extras, groups []string) {
	groups = slices.Collect(maps.Keys(l.doc.Manifest.Groups))
	for _, i := range l.roots {
		u := l.doc.Packages[i]
		extras = slices.AppendSeq(append(extras, u.Metadata.Extras...), maps.Keys(u.Extras))
		groups = slices.AppendSeq(groups, maps.Keys(u.Groups))
	}
	unique := func(names []string) []string {
		names = normalAll(names)
		slices.Sort(names)
		return slices.Compact(names)
	}
	return unique(extras), unique(groups)
}

// Select walks the graph from the project that the lock is of, which is not selected itself.
func (l *uvLock) Select(r Request) ([]Package, error) {
	extras, groups := l.has()
	e, err := r.environment(l.doc.RequiresPython, extras, groups)
	if err != nil {
		return nil, err
	}
	w := uvWalk{lock: l, env: e, seen: map[graphNode]bool{}}
	w.env.Extras = nil // names of the graph alone
	for _, i := range l.roots {
		name := l.packages[i].Name
		w.encode("project", name, "")
		for _, x := range e.Extras {
			w.encode("extra", name, x)
		}
		for _, g := range e.Groups {
			w.encode("group", name, g)
		}
	}
	for _, i := range l.roots {
		u := l.doc.Packages[i]
		w.visit(graphNode{index: i})
		for _, x := range e.Extras {
			w.visit(graphNode{index: i, extra: x})
		}
		for _, g := range e.Groups {
			w.follow(u.Name, byName(u.Groups, g))
		}
	}
	for _, g := range e.Groups {
		w.follow("group "+g, byName(l.doc.Manifest.Groups, g))
	}
	if w.err != nil {
		return nil, w.err
	}
	var out []Package
	for i, p := range l.packages {
		if w.seen[graphNode{index: i}] && !slices.Contains(l.roots, i) {
			out = append(out, p)
		}
	}
	return r.finish(out)
}

// byName is the value of a normalised name.
func byName[T any](all map[string]T, name string) (found T) {
	for n, v := range all {
		if Normal(n) == name {
			found = v
		}
	}
	return found
}

// graphNode is a package, or an extra of it.
type graphNode struct {
	index int
	extra string
}

// uvWalk goes through the graph.
type uvWalk struct {
	lock *uvLock
	env  Environment
	seen map[graphNode]bool
	err  error
}

// encode activates a part of a project in markers, as uv writes it where parts conflict: extra-4-demo-cpu.
func (w *uvWalk) encode(kind, project, name string) {
	text := fmt.Sprintf("%s-%d-%s", kind, len(project), project)
	if name != "" {
		text += "-" + name
	}
	w.env.Extras = append(w.env.Extras, text)
}

// visit takes a package, or an extra of it, and all that this needs. It keeps a list and does not call itself: a lock
// may be a long chain.
func (w *uvWalk) visit(first graphNode) {
	todo := []graphNode{first}
	for len(todo) > 0 && w.err == nil {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if w.seen[n] {
			continue
		}
		w.seen[n] = true
		u := w.lock.doc.Packages[n.index]
		needs := u.Dependencies
		if n.extra != "" {
			needs = byName(u.Extras, n.extra)
		}
		todo = append(todo, w.targets(u.Name, needs)...)
	}
}

// follow visits what a list of edges leads to.
func (w *uvWalk) follow(from string, needs []uvDep) {
	for _, n := range w.targets(from, needs) {
		w.visit(n)
	}
}

// targets are where edges lead whose markers hold.
func (w *uvWalk) targets(from string, needs []uvDep) []graphNode {
	var out []graphNode
	for _, d := range needs {
		is, err := holds(d.Marker, w.env)
		if err != nil {
			w.err = fmt.Errorf("select what %q needs: %w", from, err)
			return nil
		}
		if !is {
			continue
		}
		i, err := w.find(d)
		if err != nil {
			w.err = fmt.Errorf("select what %q needs: %w", from, err)
			return nil
		}
		out = append(out, graphNode{index: i})
		for _, x := range d.Extras {
			out = append(out, graphNode{index: i, extra: Normal(x)})
		}
	}
	return out
}

// find is the package that an edge leads to.
func (w *uvWalk) find(d uvDep) (int, error) {
	found := -1
	for _, i := range w.lock.named[d.Name] {
		u := &w.lock.doc.Packages[i]
		if d.Version != "" && u.Version != d.Version || d.Source != nil && *d.Source != u.Source || !w.inFork(i) {
			continue
		}
		if found >= 0 {
			return 0, fmt.Errorf("package %q: the lock has it as %s and %s, and does not say which one it is", d.Name,
				w.lock.packages[found].Version, u.Version)
		}
		found = i
	}
	if found < 0 {
		return 0, fmt.Errorf("package %q: the lock does not have it for this environment", d.Name)
	}
	return found, nil
}

// inFork tells whether a package is for the environment.
func (w *uvWalk) inFork(i int) bool {
	forks := w.lock.markers[i]
	return len(forks) == 0 || slices.ContainsFunc(forks, func(m Marker) bool { return m.Holds(w.env) })
}
