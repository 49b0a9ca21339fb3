package pylock

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Source is a lock that a tool wrote, for many environments.
type Source interface {
	// Select gives the packages that a request installs, in the order of their names: each once, with a sha256 of each
	// file. It is a *NotAFileError if one of them is no file of an index.
	Select(r Request) ([]Package, error)
	// Versions are the versions that the lock has of a package, for any environment.
	Versions(name string) []string
}

// Request is what is wanted of a lock. Target is required.
type Request struct {
	// Target that the packages are for; with the full version of Python.
	Target Target
	// Extras of the project. Default: none.
	Extras []string
	// Groups of the project's dependencies. Default nil: those that the lock names as its defaults.
	Groups []string
	// Without names packages that come from elsewhere. What they need is selected all the same.
	Without []string
}

// NotAFileError says that a lock takes a package from elsewhere than an index.
type NotAFileError struct {
	// Name and Version of the package; Version may be "".
	Name, Version string
	// Kind is where it comes from: "git", "a directory".
	Kind string
}

// Error names the package.
func (e *NotAFileError) Error() string {
	return fmt.Sprintf("select package %q: the lock takes it from %s, and not from a file of an index",
		strings.TrimSpace(e.Name+" "+e.Version), e.Kind)
}

// IsFile tells whether a file name is one of a lock that Open reads.
func IsFile(name string) bool {
	name = name[strings.LastIndexByte(name, '/')+1:]
	return name == uvName || name == poetryName || isPylockName(name)
}

const (
	uvName     = "uv.lock"
	poetryName = "poetry.lock"
)

// isPylockName tells whether it is a name that PEP 751 gives.
func isPylockName(name string) bool {
	if name == "pylock.toml" {
		return true
	}
	middle, ok := strings.CutPrefix(name, "pylock.")
	middle, also := strings.CutSuffix(middle, ".toml")
	return ok && also && middle != "" && !strings.Contains(middle, ".")
}

// Open reads a lock. Its file's name says which kind it is: pylock.toml or pylock.NAME.toml, uv.lock, or poetry.lock.
// beside reads a file beside it by its name: a poetry.lock of Poetry 1 says too little without pyproject.toml.
func Open(name string, data []byte, beside func(name string) ([]byte, error)) (Source, error) {
	switch base := path.Base(name); {
	case base == uvName:
		return source(readUV(data))
	case base == poetryName:
		return readPoetry(data, beside)
	case isPylockName(base):
		return source(Read(data))
	}
	return nil, fmt.Errorf("read lock %q: its name is none of pylock.toml, pylock.NAME.toml, uv.lock and poetry.lock",
		path.Base(name))
}

// source keeps a nil pointer from being a Source.
func source[T Source](lock T, err error) (Source, error) {
	if err != nil {
		return nil, err
	}
	return lock, nil
}

// Versions are the versions that the lock has of a package, for any environment.
func (l *Lock) Versions(name string) []string { return versions(l.Packages, name) }

func versions(packages []Package, name string) []string {
	var out []string
	for _, p := range packages {
		if p.Name == Normal(name) && p.Version != "" && !slices.Contains(out, p.Version) {
			out = append(out, p.Version)
		}
	}
	return out
}

// Select gives the packages whose markers hold.
func (l *Lock) Select(r Request) ([]Package, error) {
	if r.Groups == nil {
		r.Groups = l.DefaultGroups
	}
	e, err := r.environment(l.RequiresPython, l.Extras, l.Groups)
	if err != nil {
		return nil, err
	}
	if err := anyHolds(l.Environments, e); err != nil {
		return nil, err
	}
	var out []Package
	for _, p := range l.Packages {
		is, err := holds(p.Marker, e)
		if err != nil {
			return nil, fmt.Errorf("select package %q: %w", p.Name, err)
		}
		if is {
			out = append(out, p)
		}
	}
	return r.finish(out)
}

// anyHolds refuses an environment that a lock is not for.
func anyHolds(environments []string, e Environment) error {
	for _, marker := range environments {
		if is, err := holds(marker, e); is || err != nil {
			return err
		}
	}
	if len(environments) == 0 {
		return nil
	}
	return fmt.Errorf("select packages for Python %s on %s %s: the lock is for other environments: %s",
		e.Values["python_full_version"], e.Values["sys_platform"], e.Values["platform_machine"],
		shorten(environments, 3))
}

// environment is what markers are evaluated in. It is an error if the lock is for another Python, or does not have an
// extra or a group that is asked for.
func (r Request) environment(python string, extras, groups []string) (Environment, error) {
	values, err := r.Target.Markers()
	if err != nil {
		return Environment{}, err
	}
	full := values["python_full_version"]
	if err := fits(python, full); err != nil {
		return Environment{}, fmt.Errorf("select packages for Python %s: the lock is %w", full, err)
	}
	e := Environment{Values: values, Extras: normalAll(r.Extras), Groups: normalAll(r.Groups)}
	for _, ask := range []struct {
		what       string
		names, has []string
	}{{"extra", e.Extras, extras}, {"group", e.Groups, groups}} {
		for _, n := range ask.names {
			if slices.Contains(ask.has, n) {
				continue
			}
			if len(ask.has) == 0 {
				return e, fmt.Errorf("select %s %q: the lock has none", ask.what, n)
			}
			return e, fmt.Errorf("select %s %q: the lock has only %s", ask.what, n, shorten(ask.has, 10))
		}
	}
	return e, nil
}

// fits refuses a version of Python that is not in a specifier.
func fits(specifier, python string) error {
	has, ok := Specifier(specifier).Has(python)
	switch {
	case !ok:
		return fmt.Errorf("for Python %q, which is no specifier", specifier)
	case !has:
		return fmt.Errorf("for Python %s", specifier)
	}
	return nil
}

// finish sorts what was selected, and refuses what cannot be installed.
func (r Request) finish(selected []Package) ([]Package, error) {
	without := normalAll(r.Without)
	selected = slices.DeleteFunc(selected, func(p Package) bool { return slices.Contains(without, p.Name) })
	slices.SortStableFunc(selected, func(a, b Package) int { return strings.Compare(a.Name, b.Name) })
	for i, p := range selected {
		if i > 0 && selected[i-1].Name == p.Name {
			return nil, fmt.Errorf("select package %q: the lock has it twice for Python %s on %s: as %s and %s", p.Name,
				r.Target.Python, r.Target.Platform, selected[i-1].Version, p.Version)
		}
		if p.Other != "" {
			return nil, &NotAFileError{Name: p.Name, Version: p.Version, Kind: p.Other}
		}
		if err := fits(p.RequiresPython, r.Target.Python); err != nil {
			return nil, fmt.Errorf("select package %q for Python %s: version %s is %w", p.Name, r.Target.Python,
				p.Version, err)
		}
		if p.Version == "" && p.Archive == nil {
			return nil, fmt.Errorf("select package %q: the lock has no version of it", p.Name)
		}
		for _, f := range p.files() {
			if !isSHA256(f.SHA256) {
				return nil, fmt.Errorf("select package %q %s: the lock has no sha256 of %q", p.Name, p.Version, f.Name)
			}
		}
	}
	return selected, nil
}

// files are all files of a package.
func (p Package) files() []File {
	out := slices.Clone(p.Wheels)
	for _, f := range []*File{p.Sdist, p.Archive} {
		if f != nil {
			out = append(out, *f)
		}
	}
	return out
}
