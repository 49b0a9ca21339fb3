package uv

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/raybuild/raybuild/internal/pylock"
)

// Options say what a Resolver works with. All but Timeout are required.
type Options struct {
	// Program is uv's, from [Ensure].
	Program string
	// Dir is a directory of raybuild's own, which is made. It holds uv's cache, which may be removed at any time
	// that no resolver runs, and files of runs.
	Dir string
	// Gateway does the networking.
	Gateway Gateway
	// Timeout of one run. Default: 15 minutes.
	Timeout time.Duration
}

// Resolver resolves Python packages. It is safe for concurrent use, by several processes too.
type Resolver struct {
	o     Options
	pages pages
}

// New makes a resolver. It runs nothing.
func New(o Options) (*Resolver, error) {
	if o.Program == "" || o.Dir == "" || o.Gateway == nil {
		return nil, errors.New("make uv's resolver: Program, Dir and Gateway are required")
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("make uv's resolver: %w", err)
	}
	o.Dir = dir
	if o.Timeout <= 0 {
		o.Timeout = 15 * time.Minute
	}
	return &Resolver{o: o}, nil
}

// Resolve answers a question. Where the old lock says what its files are, it is first asked with the lock as it is,
// which takes no request for what is held. If that has no answer, uv looks at all versions, and prefers the held ones.
// If a locked version is refused, it is taken all the same, and the answer says so.
//
// The error is a *[NoSolutionError], *[NeedsBuildError], *[NetworkError] or *[HashError] where it is one of these.
func (r *Resolver) Resolve(ctx context.Context, q Question) (*Answer, error) {
	q, err := q.check()
	if err != nil {
		return nil, err
	}
	if len(q.requirements()) == 0 {
		return &Answer{Dropped: droppedFrom(q.Held, nil)}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.o.Timeout)
	defer cancel()
	asked := 0
	fixed := q.pagesOf(q.Locked)
	if held := q.pagesOf(q.Held); len(held) > 0 {
		maps.Copy(held, fixed)
		answer, err := r.run(ctx, q, held, nil)
		build, builds := errors.AsType[*NeedsBuildError](err)
		if _, same := held[nameOf(build)]; err == nil || ctx.Err() != nil || builds && same {
			return answer, err // of what must be built, uv would prefer the same version again
		}
		asked = requestsOf(err)
	}
	answer, err := r.run(ctx, q, fixed, nil)
	if _, refused := errors.AsType[*NoSolutionError](err); refused && len(q.Locked) > 0 {
		answer, err = r.overrule(ctx, q, fixed, err)
	}
	if err != nil {
		return nil, err
	}
	answer.Requests += asked
	return answer, nil
}

// overrule takes locked versions that something refuses, as uv told it by an error. It asks again with all
// requirements of the refused packages replaced by their versions, until uv names no more of them. Others keep their
// requirements: an override would take the extras away that are asked for.
func (r *Resolver) overrule(ctx context.Context, q Question, fixed map[string]Held, refused error) (*Answer, error) {
	over := map[string]string{}
	for said, asked := refused, 0; ; {
		asked += requestsOf(said)
		before := len(over)
		for _, l := range q.Locked {
			if mentions(said.Error(), l.Name) {
				over[l.Name] = q.override(l)
			}
		}
		if len(over) == before {
			return nil, said // nothing that the lock names is in the way
		}
		answer, err := r.run(ctx, q, fixed, over)
		if _, again := errors.AsType[*NoSolutionError](err); again && ctx.Err() == nil {
			said = err
			continue
		}
		if err != nil {
			return nil, err
		}
		answer.Requests += asked
		answer.Overruled, answer.Refusal = slices.Sorted(maps.Keys(over)), refused.Error()
		return answer, nil
	}
}

// override is a locked package with the extras that the question asks for.
func (q Question) override(l Held) string {
	extras := ""
	for _, line := range q.Requirements {
		if n, err := name(line); err != nil || n != l.Name {
			continue
		}
		if _, rest, ok := strings.Cut(line, "["); ok {
			inside, _, _ := strings.Cut(rest, "]")
			extras += "," + inside
		}
	}
	if extras != "" {
		extras = "[" + extras[1:] + "]"
	}
	return l.Name + extras + "==" + l.Version
}

// run asks uv once. Lines of over take the place of all requirements of a package.
func (r *Resolver) run(ctx context.Context, q Question, held map[string]Held, over map[string]string) (answer *Answer,
	err error) {
	python, err := standIn(r.o.Dir, q.Target)
	if err != nil {
		return nil, err
	}
	stubs := map[string]Installed{}
	constraints := slices.Clone(q.Constraints)
	for _, p := range q.Installed {
		path, err := stub(r.o.Dir, p)
		if err != nil {
			return nil, err
		}
		if path == "" {
			continue
		}
		stubs[path] = p
		constraints = append(constraints, directLine(normal(p.Name), path))
	}
	dir, err := r.runDir()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := q.write(dir, constraints, over); err != nil {
		return nil, err
	}
	p, err := openProxy(r.o.Gateway, q, held, &r.pages)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	said, failed := r.command(ctx, dir, python, p)
	if failed != nil {
		return nil, r.explain(ctx, q, p, text{said: said, run: dir, dir: r.o.Dir, stubs: stubs}, failed)
	}
	data, err := os.ReadFile(filepath.Join(dir, lockFile))
	if err != nil {
		return nil, fmt.Errorf("read uv's answer: %w", err)
	}
	answer, err = q.read(data, stubs)
	if err != nil {
		return nil, err
	}
	answer.Requests, _ = p.seen()
	answer.Warnings = warnings(said)
	return answer, nil
}

// write writes the question's files into the directory of a run.
func (q Question) write(dir string, constraints []string, over map[string]string) error {
	files := map[string][]byte{}
	for name, lines := range map[string][]string{requirementsFile: q.requirements(), constraintsFile: constraints,
		overridesFile: slices.Sorted(maps.Values(over))} {
		if len(lines) > 0 {
			files[name] = []byte(strings.Join(lines, "\n") + "\n")
		}
	}
	if len(q.Held) > 0 {
		old, err := preferences(q.Held)
		if err != nil {
			return err
		}
		files[lockFile] = old
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return fmt.Errorf("write uv's question: %w", err)
		}
	}
	return nil
}

// Files of a run. lockFile is uv's answer, and before it the old versions.
const (
	requirementsFile = "requirements.txt"
	constraintsFile  = "constraints.txt"
	overridesFile    = "overrides.txt"
	lockFile         = "pylock.toml"
)

// read reads uv's answer.
func (q Question) read(data []byte, stubs map[string]Installed) (*Answer, error) {
	lock, err := pylock.Read(data)
	if err != nil {
		return nil, fmt.Errorf("read uv's answer: %w", err)
	}
	picker, err := pylock.NewPicker(q.Target)
	if err != nil {
		return nil, err
	}
	answer := &Answer{}
	for _, p := range lock.Packages {
		if p.Archive != nil && p.Archive.Path != "" {
			if _, ok := stubs[p.Archive.Path]; ok {
				continue // it is there already
			}
		}
		p, err := q.allowed(p)
		if err != nil {
			return nil, err
		}
		if p.Name == "" || p.Version == "" && p.Archive == nil {
			return nil, fmt.Errorf("read uv's answer: a package has the name %q and the version %q", p.Name, p.Version)
		}
		f, err := picker.Pick(p)
		if err != nil {
			return nil, fmt.Errorf("read uv's answer: %w", err)
		}
		out := Package{Name: p.Name, Version: p.Version, Path: f.Path, Filename: f.Name, SHA256: f.SHA256, Size: f.Size,
			Sdist: !strings.HasSuffix(f.Name, ".whl")}
		if f.URL != "" {
			if out.URL, err = q.canonical(f.URL); err != nil {
				return nil, err
			}
		}
		answer.Packages = append(answer.Packages, out)
	}
	slices.SortFunc(answer.Packages, func(a, b Package) int { return strings.Compare(a.Name, b.Name) })
	answer.Dropped = droppedFrom(q.Held, answer.Packages)
	return answer, nil
}

// allowed takes the files away that the question's hashes do not name, as pip does with --hash.
func (q Question) allowed(p pylock.Package) (pylock.Package, error) {
	hashes, ok := q.Hashes[p.Name]
	if !ok {
		return p, nil
	}
	var names []string
	may := func(f pylock.File) bool {
		names = append(names, f.Name)
		return slices.Contains(hashes, f.SHA256)
	}
	p.Wheels = slices.DeleteFunc(slices.Clone(p.Wheels), func(f pylock.File) bool { return !may(f) })
	if p.Sdist != nil && !may(*p.Sdist) {
		p.Sdist = nil
	}
	if p.Archive != nil && !may(*p.Archive) {
		p.Archive = nil
	}
	if len(p.Wheels) == 0 && p.Sdist == nil && p.Archive == nil {
		return p, &HashError{Name: p.Name, Version: p.Version, Files: names}
	}
	return p, nil
}

// canonical is the canonical URL of a file: uv sees http alone.
func (q Question) canonical(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", fmt.Errorf("read uv's answer: %w", err)
	}
	scheme := "https"
	for _, root := range q.Projects {
		if index, err := url.Parse(root); err == nil && index.Host == u.Host {
			scheme = index.Scheme
		}
	}
	u.Scheme, u.User, u.Fragment, u.RawFragment = scheme, nil, "", ""
	return u.String(), nil
}

// droppedFrom are the names of held packages that have another version, or none.
func droppedFrom(held []Held, packages []Package) []string {
	var out []string
	for _, h := range held {
		if !slices.ContainsFunc(packages, func(p Package) bool { return p.Name == h.Name && p.Version == h.Version }) {
			out = append(out, h.Name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
