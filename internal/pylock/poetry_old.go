package pylock

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// oldPoetryLock is a poetry.lock of lock-version 2.0, which Poetry 1.3 to 1.8 write. It does not say for which groups a
// package is: that comes of a walk from what pyproject.toml names.
type oldPoetryLock struct {
	poetryLock
	needs   []map[string]any // of the packages, by index
	named   map[string][]int // indexes by name
	project poetryProject
}

// poetryProject is a pyproject.toml of Poetry 1.
type poetryProject struct {
	Tool struct {
		Poetry *struct {
			Needs  map[string]any `toml:"dependencies"`
			Dev    map[string]any `toml:"dev-dependencies"`
			Groups map[string]struct {
				Needs map[string]any `toml:"dependencies"`
			} `toml:"group"`
			Extras map[string][]string `toml:"extras"`
		} `toml:"poetry"`
	} `toml:"tool"`
}

// readOldPoetry adds to a lock what its project needs.
func readOldPoetry(l *poetryLock, needs []map[string]any, pyproject []byte) (*oldPoetryLock, error) {
	out := &oldPoetryLock{poetryLock: *l, needs: needs, named: map[string][]int{}}
	if len(pyproject) > MaxSize {
		return nil, fmt.Errorf("read pyproject.toml: it has %d bytes, more than %d", len(pyproject), MaxSize)
	}
	if err := toml.Unmarshal(pyproject, &out.project); err != nil {
		return nil, fmt.Errorf("read pyproject.toml: %w", err)
	}
	p := out.project.Tool.Poetry
	if p == nil || len(p.Needs) == 0 {
		return nil, errors.New("read pyproject.toml: it has no tool.poetry.dependencies")
	}
	for i, e := range l.packages {
		out.named[e.Name] = append(out.named[e.Name], i)
	}
	out.groups = slices.Collect(maps.Keys(p.Groups))
	if len(p.Dev) > 0 {
		out.groups = append(out.groups, "dev")
	}
	out.groups, out.extras = normalAll(out.groups), normalAll(slices.Sorted(maps.Keys(p.Extras)))
	slices.Sort(out.groups)
	return out, nil
}

// Select walks from what the project needs.
func (l *oldPoetryLock) Select(r Request) ([]Package, error) {
	e, err := l.environment(r)
	if err != nil {
		return nil, err
	}
	p := l.project.Tool.Poetry
	optional := map[string]bool{} // optional packages that are wanted
	for _, x := range e.Extras {
		for _, name := range byName(p.Extras, x) {
			optional[Normal(name)] = true
		}
	}
	roots := []map[string]any{p.Needs}
	for _, g := range e.Groups {
		roots = append(roots, byName(p.Groups, g).Needs)
		if g == "dev" {
			roots = append(roots, p.Dev)
		}
	}
	e.Extras = nil
	var todo []graphNode
	for _, needs := range roots {
		found, err := l.targets("the project", needs, e, optional)
		if err != nil {
			return nil, err
		}
		todo = append(todo, found...)
	}
	seen := map[graphNode]bool{}
	for len(todo) > 0 {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[n] {
			continue
		}
		seen[n] = true
		with := e
		if n.extra != "" {
			with.Extras = []string{n.extra}
		}
		found, err := l.targets(l.packages[n.index].Name, l.needs[n.index], with, nil)
		if err != nil {
			return nil, err
		}
		todo = append(todo, found...)
	}
	var out []Package
	for i, e := range l.packages {
		if seen[graphNode{index: i}] {
			out = append(out, e.Package)
		}
	}
	return r.finish(out)
}

// targets are where a table of dependencies leads. optional are the optional ones that are wanted; nil: a marker says
// so.
func (l *oldPoetryLock) targets(from string, needs map[string]any, e Environment,
	optional map[string]bool) ([]graphNode, error) {
	var out []graphNode
	for _, key := range slices.Sorted(maps.Keys(needs)) {
		name := Normal(key)
		edges, ok := needs[key].([]any)
		if !ok {
			edges = []any{needs[key]}
		}
		for _, v := range edges {
			edge, err := readPoetryEdge(v)
			if err != nil {
				return nil, fmt.Errorf("select what %q needs: %q: %w", from, key, err)
			}
			wanted, err := edge.holds(e)
			if err != nil {
				return nil, fmt.Errorf("select what %q needs: %q: %w", from, key, err)
			}
			if !wanted || name == "python" || optional != nil && edge.optional && !optional[name] {
				continue
			}
			i, err := l.find(name, edge.version, e)
			if err != nil {
				return nil, fmt.Errorf("select what %q needs: %w", from, err)
			}
			out = append(out, graphNode{index: i})
			for _, x := range edge.extras {
				out = append(out, graphNode{index: i, extra: Normal(x)})
			}
		}
	}
	return out, nil
}

// find is the package of a name whose version a constraint has.
func (l *oldPoetryLock) find(name, constraint string, e Environment) (int, error) {
	var found []int
	for _, i := range l.named[name] {
		p := l.packages[i]
		if poetryHas(constraint, p.Version) && poetryHas(p.python, e.Values["python_full_version"]) {
			found = append(found, i)
		}
	}
	switch len(found) {
	case 0:
		return 0, fmt.Errorf("package %q %s: the lock does not have it for this environment", name, constraint)
	case 1:
		return found[0], nil
	}
	return 0, fmt.Errorf("package %q %s: the lock has it as %s and %s, and does not say which one it is", name,
		constraint,
		l.packages[found[0]].Version, l.packages[found[1]].Version)
}

// poetryEdge is one dependency in Poetry's own form: a constraint, or a table.
type poetryEdge struct {
	version, marker, python, platform string
	extras                            []string
	optional                          bool
}

func readPoetryEdge(v any) (poetryEdge, error) {
	if text, ok := v.(string); ok {
		return poetryEdge{version: text}, nil
	}
	table, ok := v.(map[string]any)
	if !ok {
		return poetryEdge{}, errors.New("it is neither a text nor a table")
	}
	text := func(key string) string {
		s, _ := table[key].(string)
		return s
	}
	e := poetryEdge{version: text("version"), marker: text("markers"), python: text("python"),
		platform: text("platform")}
	e.optional, _ = table["optional"].(bool)
	extras, _ := table["extras"].([]any)
	for _, x := range extras {
		if name, ok := x.(string); ok {
			e.extras = append(e.extras, name)
		}
	}
	return e, nil
}

// holds tells whether the environment has the dependency.
func (p poetryEdge) holds(e Environment) (bool, error) {
	is, err := holds(p.marker, e)
	return is && poetryHas(p.python, e.Values["python_full_version"]) &&
		(p.platform == "" || p.platform == e.Values["sys_platform"]), err
}

// poetryHas tells whether a constraint in Poetry's form has a version: PEP 440's, and ^1.2, ~1.2, 1.*, * and
// alternatives with ||. An empty one has all.
func poetryHas(constraint, version string) bool {
	if strings.TrimSpace(constraint) == "" {
		return true
	}
	return slices.ContainsFunc(strings.FieldsFunc(constraint, func(r rune) bool { return r == '|' }),
		func(alternative string) bool {
			for _, part := range strings.FieldsFunc(joined(alternative), func(r rune) bool {
				return r == ',' ||
					r == ' '
			}) {
				if has, ok := Specifier(poetryClause(part)).Has(version); !ok || !has {
					return false
				}
			}
			return true
		})
}

// joined takes the spaces after operators away: the others stand between clauses.
func joined(s string) string {
	fields := strings.Fields(s)
	var b strings.Builder
	for _, f := range fields {
		b.WriteString(f)
		if strings.Trim(f, "<>=!~^,") != "" {
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// poetryClause is one clause as PEP 440 writes it.
func poetryClause(s string) string {
	switch {
	case s == "*":
		return ""
	case strings.HasPrefix(s, "^"):
		v, ok := parseVersion(s[1:])
		if !ok {
			return s
		}
		n := 0
		for n < len(v.release)-1 && v.release[n] == 0 {
			n++
		}
		return ">=" + s[1:] + ",<" + bumped(v.release, n)
	case strings.HasPrefix(s, "~") && !strings.HasPrefix(s, "~="):
		v, ok := parseVersion(s[1:])
		if !ok {
			return s
		}
		return ">=" + s[1:] + ",<" + bumped(v.release, min(1, len(v.release)-1))
	case s != "" && s[0] >= '0' && s[0] <= '9':
		return "==" + s
	}
	return s
}

// bumped is the first version whose nth number is higher.
func bumped(release []int, n int) string {
	var parts []string
	for i := range n {
		parts = append(parts, strconv.Itoa(release[i]))
	}
	return strings.Join(append(parts, strconv.Itoa(release[n]+1)), ".")
}
