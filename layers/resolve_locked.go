package layers

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/raybuild/raybuild/internal/pylock"
	"github.com/raybuild/raybuild/internal/uv"
)

// lockedPackages are what the lock of another tool gives one platform.
type lockedPackages struct {
	file  string
	held  []uv.Held           // in the order of their names
	files map[string]Artifact // by name, of those whose place the lock knows
	sums  map[string]string   // sha256 of the file, by name
	index map[string]string   // roots of indexes that the lock names, of those whose place it does not know
	pypi  []Mirror            // of PyPI: a lock may be made at any of them
}

// target is what Python packages must run on.
func (r *Resolver) target() pylock.Target {
	return pylock.Target{Python: r.stack.python.Version, Platform: r.name, Glibc: r.stack.Tool.Glibc}
}

// fromLock reads what the lock of another tool gives this platform. Wheels beside the lock come as further own wheels.
func (r *Resolver) fromLock(ctx context.Context, p python, own []Artifact) (*lockedPackages, []Artifact, error) {
	out := &lockedPackages{file: p.Pylock.File, files: map[string]Artifact{}, sums: map[string]string{},
		index: map[string]string{}, pypi: append(Presets(), r.in.Recipe.Mirrors.Fetch...)}
	if p.Pylock.File == "" {
		return out, own, nil
	}
	if p.lock == nil {
		return nil, nil, fmt.Errorf("read lock %q: it is not here", p.Pylock.File)
	}
	picker, err := pylock.NewPicker(r.target())
	if err != nil {
		return nil, nil, fmt.Errorf("take packages from %q: %w", out.file, err)
	}
	without, err := r.notFromLock(ctx, p, own)
	if err != nil {
		return nil, nil, err
	}
	selected, err := p.lock.source.Select(pylock.Request{Target: r.target(), Extras: p.Pylock.Extras,
		Groups: p.Pylock.Groups, Without: without})
	if err != nil {
		return nil, nil, lockError(out.file, err)
	}
	for _, pkg := range selected {
		file, err := picker.Pick(pkg)
		if err == nil && file.Path != "" {
			own, err = withWheel(own, p.dir, path.Join(path.Dir(out.file), file.Path), file.SHA256)
		} else if err == nil {
			err = out.add(r, p, pkg, file)
		}
		if err != nil {
			return nil, nil, lockError(out.file, err)
		}
	}
	var known []Artifact
	for _, h := range out.held {
		if a, ok := out.files[h.Name]; ok {
			known = append(known, a)
		}
	}
	r.know(slices.Concat(known, own))
	return out, own, out.check(r, p)
}

// lockError says what to do about an error of a lock.
func lockError(file string, err error) error {
	err = fmt.Errorf("take packages from %q: %w", file, err)
	var elsewhere *pylock.NotAFileError
	var none *pylock.NoFileError
	switch {
	case errors.As(err, &elsewhere):
		return fmt.Errorf("%w: build a wheel of it and name that under pip.wheels", err)
	case errors.As(err, &none):
		return fmt.Errorf("%w: lock a version that has one, or build a wheel and name it under pip.wheels", err)
	}
	return err
}

// notFromLock are the packages that the recipe's own wheels and the environment bring. What conda brings by itself,
// such as pip, stays: two copies of a package would lie over each other. It is an error if the recipe asks conda for
// another version than the lock's.
func (r *Resolver) notFromLock(ctx context.Context, p python, own []Artifact) ([]string, error) {
	if err := r.noteDists(ctx); err != nil {
		return nil, err
	}
	packages := slices.Clone(r.locked.layer("env"))
	asked := p.env.asked()
	var out []string
	for _, w := range own {
		out = append(out, w.Name)
	}
	for _, a := range packages {
		for _, d := range distsNamed(a.For[forDists]) {
			name := NormalName(d.Name)
			versions := p.lock.source.Versions(name)
			if len(versions) > 0 && slices.Contains(p.env.tools(), name) {
				continue // it takes the place of conda's
			}
			out = append(out, name)
			if len(versions) == 0 || slices.ContainsFunc(versions, func(v string) bool {
				has, _ := pylock.Specifier("==" + v).Has(d.Version)
				return has
			}) {
				continue
			}
			if slices.Contains(asked, a.Name) {
				return nil, fmt.Errorf("take packages from %q: it has %s %s, and conda installs %s, which the recipe "+
					"asks for: write the lock's version under env.conda, or remove %[2]s there", p.Pylock.File, name,
					shorten(versions, 60), d.Version)
			}
			r.in.Log("warning: %s has %s %s, and conda brings %s, which stays", p.Pylock.File, name,
				shorten(versions, 60), d.Version)
		}
	}
	return out, nil
}

// withWheel adds a wheel beside the recipe, which has to have the digest.
func withWheel(own []Artifact, dir, file, sum string) ([]Artifact, error) {
	if message, fix := localPath(file); message != "" {
		return nil, fmt.Errorf("find wheel %q: %s; %s", file, message, fix)
	}
	found, err := localWheels(dir, []string{file})
	if err != nil {
		return nil, err
	}
	if found[0].SHA256 != sum {
		return nil, fmt.Errorf("find wheel %q: its sha256 is %s, and the lock has %s: build it again, or lock it again",
			file, found[0].SHA256, sum)
	}
	return append(own, found[0]), nil
}

// add adds a package with the file that the target takes.
func (l *lockedPackages) add(r *Resolver, p python, pkg pylock.Package, file pylock.File) error {
	h := uv.Held{Name: pkg.Name, Version: pkg.Version}
	l.sums[pkg.Name] = file.SHA256
	if pkg.Version == "" {
		_, version, ok := wheelFile(file.Name)
		if !ok {
			return fmt.Errorf("read file %q of package %q: the lock has no version of it", file.Name, pkg.Name)
		}
		h.Version = version
	}
	switch {
	case file.URL == "" && pkg.Index != "":
		root, err := canonicalIndex(pkg.Index, l.pypi)
		if err == nil && root != "" {
			_, err = r.allow(root)
			l.index[pkg.Name] = root
		}
		if err != nil {
			return fmt.Errorf("read index of package %q: %w", pkg.Name, err)
		}
	case file.URL != "":
		at, err := canonicalFile(file.URL, l.mirrors(p, pkg.Name))
		if err != nil {
			return fmt.Errorf("read file of package %q: %w", pkg.Name, err)
		}
		a, err := pipFile(at, file.SHA256, pkg.Name, h.Version, nil)
		if err != nil {
			return err
		}
		a.Size = file.Size
		l.files[pkg.Name] = a
		h = held([]Artifact{a}, nil)[0]
	}
	l.held = append(l.held, h)
	return nil
}

// mirrors are those of PyPI that a package's file may be at; none for a package of an index of its own.
func (l *lockedPackages) mirrors(p python, name string) []Mirror {
	if slices.ContainsFunc(p.ExtraIndexes, func(x ExtraIndex) bool { return slices.Contains(x.Packages, name) }) {
		return nil
	}
	return l.pypi
}

// canonicalFile is the canonical URL of a file that a lock names: PyPI's, if it is a file of PyPI at one of the
// mirrors. Logins are not taken from a lock.
func canonicalFile(raw string, mirrors []Mirror) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("read url %q: want one of http or https", raw)
	}
	if u.RawQuery != "" {
		return "", fmt.Errorf("read url %q: it has a query, which a link that stays does not have", u.Redacted())
	}
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	for _, m := range mirrors {
		_, root, _ := strings.Cut(m.PipFiles, "://")
		if below, ok := strings.CutPrefix(u.Host+u.EscapedPath(), root+"/"); ok && root != "" &&
			pypiPath().MatchString(below) {
			return originURL("pypi") + "/" + below, nil
		}
	}
	return u.String(), nil
}

// canonicalIndex is the root of an index that a lock names; "" for PyPI's, also at one of the mirrors: the recipe's own
// mirrors answer for it. Logins are not taken from a lock.
func canonicalIndex(raw string, mirrors []Mirror) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" {
		return "", errors.New("want a URL of http or https")
	}
	place := u.Host + strings.TrimRight(u.EscapedPath(), "/")
	for _, m := range mirrors {
		if _, known, _ := strings.Cut(m.PipIndex, "://"); known == place {
			return "", nil
		}
	}
	return u.Scheme + "://" + place, nil
}

// check refuses what contradicts the lock: another version of Ray, or a requirement of the recipe that its version does
// not satisfy.
func (l *lockedPackages) check(r *Resolver, p python) error {
	values, err := r.target().Markers()
	if err != nil {
		return err
	}
	for _, line := range p.requirements() {
		req, message, _ := parseRequirement(line)
		i := slices.IndexFunc(l.held, func(h uv.Held) bool { return h.Name == req.Name })
		if message != "" || i < 0 {
			continue
		}
		m, err := pylock.ParseMarker(req.Marker)
		if req.Marker != "" && (err != nil || !m.Holds(pylock.Environment{Values: values})) {
			continue
		}
		if has, ok := pylock.Specifier(req.Specifier).Has(l.held[i].Version); ok && !has {
			return fmt.Errorf("take packages from %q: it has %s %s, and the recipe asks for %q: change the recipe, "+
				"or lock another version with the tool that made the lock", l.file, req.Name, l.held[i].Version,
				req.String())
		}
	}
	return nil
}

// addTo puts the packages into a question.
func (l *lockedPackages) addTo(q *uv.Question) {
	q.Locked = l.held
	for name, sum := range l.sums {
		q.Hashes[name] = append(q.Hashes[name], sum)
	}
	for name, root := range l.index {
		if _, own := q.Projects[name]; !own {
			q.Projects[name] = root
		}
	}
}

// requirements are the packages for pip, which finds their files on the index.
func (l *lockedPackages) requirements() []string {
	var out []string
	for _, h := range l.held {
		out = append(out, h.Name+"=="+h.Version)
	}
	return out
}

// pipError says what only uv can do with a lock.
func (l *lockedPackages) pipError(err error) error {
	if len(l.held) == 0 {
		return err
	}
	return fmt.Errorf("%w\npip takes the versions of %s, but goes against no requirement, and finds files on the "+
		"index and under pip.extra_indexes alone: uv does more, if pip.resolver is not pip and no source "+
		"distribution must be built", err, l.file)
}

// settle puts the lock's own files into an answer, and refuses an answer that has others.
func (l *lockedPackages) settle(artifacts []Artifact) error {
	for i := range artifacts {
		a := &artifacts[i]
		sum, ok := l.sums[a.Name]
		if !ok || a.Origin == originLocal {
			continue
		}
		if a.SHA256 != sum {
			return fmt.Errorf("take package %q %s from %q: the index has %s with sha256 %s, and the lock has %s: "+
				"resolve with uv, or lock it again", a.Name, a.Version, l.file, a.Filename(), a.SHA256, sum)
		}
		if file, ok := l.files[a.Name]; ok {
			file.For, file.Size = a.For, max(file.Size, a.Size)
			*a = file
		}
	}
	return nil
}

// checkHashes refuses files that the hashes of a requirements file do not name, as uv does.
func checkHashes(artifacts []Artifact, required []Requirement) error {
	for _, q := range required {
		i := slices.IndexFunc(artifacts, func(a Artifact) bool { return a.Name == q.Name && a.Origin != originLocal })
		if len(q.Hashes) > 0 && i >= 0 && !slices.Contains(q.Hashes, "sha256:"+artifacts[i].SHA256) {
			return fmt.Errorf("check the hashes of %s %s: %s has none of those that the requirements give", q.Name,
				artifacts[i].Version, artifacts[i].Filename())
		}
	}
	return nil
}
