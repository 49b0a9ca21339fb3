package layers

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/pylock"
	"github.com/raybuild/raybuild/internal/strictyaml"
)

// Pylock names a lock that another tool wrote, and the parts of it that are wanted.
type Pylock struct {
	// File is its path, relative to the recipe: pylock.toml, pylock.NAME.toml, uv.lock or poetry.lock. Default: none.
	File string
	// Extras and Groups of the lock's project, normalised and sorted. Default: no extras, and the groups that the lock
	// itself names as its defaults.
	Extras, Groups []string
}

// PythonLock is the content of a lock that another tool wrote.
type PythonLock struct {
	// Digest of the file, and of pyproject.toml if that is read too.
	Digest digest.Digest
	source pylock.Source
}

// has tells whether the lock has a package, for any environment. No lock has none.
func (l *PythonLock) has(name string) bool { return l != nil && len(l.source.Versions(name)) > 0 }

// pylockValue reads the name of a lock, or a mapping with it.
func pylockValue(p *Pylock) strictyaml.Value {
	file := strictyaml.String(&p.File, grammarPylock())
	group := nameExtra
	group.What = "a dependency group"
	long := strictyaml.Map(
		strictyaml.Key{Name: "file", Doc: "The lock.", Required: true, Example: "uv.lock", Value: file},
		strictyaml.Key{Name: "extras", Doc: "Extras of the lock's project.", Default: "none", Example: "[train]",
			Value: strictyaml.Strings(&p.Extras, nameExtra)},
		strictyaml.Key{Name: "groups", Doc: "Dependency groups of the lock's project.",
			Default: "those that a pylock.toml names as its defaults, else none", Example: "[gpu]",
			Value: strictyaml.Strings(&p.Groups, group)},
	).Then(func() { p.Extras, p.Groups = normalNames(p.Extras), normalNames(p.Groups) })
	shape := func() strictyaml.Shape {
		return strictyaml.Shape{Either: []strictyaml.Shape{file.Shape(), long.Shape()}}
	}
	return strictyaml.Func(shape, func(t *strictyaml.Reader, n *strictyaml.Node, key string) {
		if n.Kind == strictyaml.Mapping {
			t.Read(n, key, long)
			return
		}
		t.Read(n, key, file)
	})
}

func normalNames(names []string) []string {
	for i, n := range names {
		names[i] = NormalName(n)
	}
	return sorted(names)
}

// grammarPylock is the path of a lock, whose name says which kind it is.
func grammarPylock() strictyaml.Grammar {
	g := grammarPath()
	g.What = "the path of a pylock.toml, uv.lock or poetry.lock"
	g.Pattern = "([^-/~ ].*/)?(pylock(\\.[^./]+)?\\.toml|(uv|poetry)\\.lock)"
	g.Check = func(s string) (string, string) {
		if m, f := localPath(s); m != "" {
			return m, f
		}
		if !pylock.IsFile(s) {
			return fmt.Sprintf("%s is not named as a lock", quoteShort(s)),
				"name a pylock.toml, pylock.NAME.toml, uv.lock or poetry.lock; a requirements file goes under " +
					"pip.requirements"
		}
		return "", ""
	}
	return g
}

// loadPylock reads the lock. It gives the recipe the lock's version of Ray, unless the recipe names one.
func (t *recipeReader) loadPylock(root *os.Root, r *Recipe) {
	at := strictyaml.Problem{Key: "pip.pylock"}
	if r.readPylock(root, &at); at.Message != "" {
		t.Tell(at)
	}
}

// readPylock puts what is wrong into at.
func (r *Recipe) readPylock(root *os.Root, at *strictyaml.Problem) {
	name := r.Pip.Pylock.File
	data, err := readLocal(root, name, pylock.MaxSize)
	if err != nil {
		at.Message, at.Fix = unreadable(name, err)
		return
	}
	read := slices.Clone(data)
	source, err := pylock.Open(name, data, func(beside string) ([]byte, error) {
		more, err := readLocal(root, path.Join(path.Dir(name), beside), pylock.MaxSize)
		read = append(read, more...)
		return more, err
	})
	if err != nil {
		at.File, at.Message, at.Fix = name, printable(err), "write it again with the tool that made it"
		return
	}
	r.PythonLock = &PythonLock{Digest: digest.FromBytes(read), source: source}
	versions := source.Versions("ray")
	if len(versions) > 0 && r.Ray.Extras == nil {
		r.Ray.Extras = []string{} // the lock knows which ones its project asks for
	}
	switch {
	case len(versions) == 0:
	case r.Ray.Version == "" && len(versions) > 1:
		at.Message = fmt.Sprintf("%s has Ray in %d versions: %s", name, len(versions), shorten(versions, 60))
		at.Fix = "set ray.version to the one that is for the recipe's Python"
	case r.Ray.Version == "":
		if r.Ray.Version = versions[0]; !isRayVersion(r.Ray.Version) {
			at.Message = fmt.Sprintf("%s has Ray %s, and raybuild takes releases alone", name, quoteShort(versions[0]))
			at.Fix = "lock a release of Ray with the tool that made " + name
		}
	case !slices.Contains(versions, r.Ray.Version):
		at.Message = fmt.Sprintf("the recipe has Ray %s, and %s has Ray %s", r.Ray.Version, name,
			shorten(versions, 60))
		at.Fix = "set ray.version to the lock's or remove it, or lock the other version with the tool that made " + name
	}
}

func isRayVersion(s string) bool {
	message, _ := nameRayVersion.Check(s)
	return message == ""
}

// printable is an error's text in one line: it may have parts of a file in it.
func printable(err error) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return utf8.RuneError
		}
		return r
	}, strings.Join(strings.Fields(err.Error()), " "))
}
