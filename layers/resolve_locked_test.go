package layers

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/uv"
)

// lockSources are sources that only note what they are told.
type lockSources struct {
	Sources
	known   []Artifact
	allowed []string
}

func (s *lockSources) Know(artifacts []Artifact, _ []LocalFile) {
	s.known = append(s.known, artifacts...)
}
func (s *lockSources) Allow(root *url.URL)           { s.allowed = append(s.allowed, root.String()) }
func (s *lockSources) Canonical(u *url.URL) *url.URL { return u }

// lockedUV is uv, which finds Ray and all that is locked.
type lockedUV struct{ asked uv.Question }

func (u *lockedUV) Resolve(_ context.Context, q uv.Question) (*uv.Answer, error) {
	u.asked = q
	a := &uv.Answer{Packages: []uv.Package{{Name: "ray", Version: "2.49.0", SHA256: sumA, Size: 1,
		URL: "https://files.pythonhosted.org/packages/r/ray-2.49.0-cp311-cp311-manylinux2014_x86_64.whl"}}}
	for _, l := range q.Locked {
		p := uv.Package{Name: l.Name, Version: l.Version, URL: l.URL, SHA256: l.SHA256, Size: 1}
		if l.URL == "" {
			p.SHA256 = q.Hashes[l.Name][0]
			p.URL = "https://mirror.example/packages/" + strings.Repeat("a", 2) + "/bb/" + strings.Repeat("c", 60) +
				"/" +
				l.Name + "-" + l.Version + "-py3-none-any.whl"
		}
		if l.Name != "ray" {
			a.Packages = append(a.Packages, p)
		}
	}
	return a, nil
}

// lockCase is a recipe with a lock beside it.
type lockCase struct {
	recipe, file, lock string
	conda              map[string]string // distributions by conda package
}

func (c lockCase) run(t *testing.T) (*lockedUV, *lockSources, []string, []Artifact, error) {
	t.Helper()
	dir := t.TempDir()
	put := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put(c.file, c.lock)
	r, err := LoadRecipe([]byte(c.recipe), filepath.Join(dir, "raybuild.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.LoadFiles(); err != nil {
		return nil, nil, nil, nil, err
	}
	finder, sources := &lockedUV{}, &lockSources{}
	var said []string
	env := LockLayer{Name: "env"}
	for name, dists := range c.conda {
		env.Artifacts = append(env.Artifacts, Artifact{Kind: KindConda, Name: name, Version: "1",
			For: map[string]string{forDists: dists}})
	}
	res := &Resolver{name: "linux/amd64", old: &LockPlatform{}, locked: &LockPlatform{Layers: []LockLayer{env}},
		stack: Stack{Tool: LockImage{Glibc: "2.35"}, python: Artifact{Version: "3.11.9"}}}
	in, end := ResolveInput{Recipe: r, Sources: sources,
		Python: func(context.Context) (PythonResolver, error) { return finder, nil },
		Log:    func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }}.shared()
	res.in = in
	p, _ := recipeLayers(r, nil)[4].(python)
	artifacts, err := p.Resolve(t.Context(), res)
	if err := end(); err != nil {
		t.Error(err)
	}
	return finder, sources, said, artifacts, err
}

// uvLockOf is a uv.lock of one project that needs the packages, each "name version source files".
func uvLockOf(packages ...[3]string) string {
	text, needs := "version = 1\nrevision = 3\nrequires-python = '>=3.9'\n", ""
	for _, p := range packages {
		needs += "{ name = '" + p[0] + "' }, "
		text += "[[package]]\nname = '" + p[0] + "'\nversion = '" + p[1] + "'\n" + p[2] + "\n"
	}
	return text + "[[package]]\nname = 'app'\nsource = { virtual = '.' }\ndependencies = [" + needs + "]\n"
}

// fromIndex are source and wheels of a package.
func fromIndex(url string) string {
	return "source = { registry = 'https://pypi.org/simple' }\nwheels = [{ url = '" + url + "', hash = 'sha256:" +
		sumA +
		"', size = 7 }]\n"
}

func TestLockOfAnotherToolIsTakenAsItIs(t *testing.T) {
	t.Parallel()
	layout := "/packages/ab/cd/" + strings.Repeat("0", 60) + "/"
	c := lockCase{recipe: "mirrors: {fetch: [{pip: \"https://mirror.example/p/pypi/simple\"}]}\n" +
		"ray: {version: 2.49.0, extras: []}\npip: {pylock: uv.lock, packages: [a], extra_indexes: " +
		"[{url: https://own.example/simple, packages: [b]}]}", file: "uv.lock", lock: uvLockOf(
		[3]string{"a", "1.5", fromIndex("https://me:secret@mirror.example/p/pypi" + layout +
			"a-1.5-py3-none-any.whl#x")},
		[3]string{"a2", "1", fromIndex("https://pypi.tuna.tsinghua.edu.cn" + layout + "a2-1-py3-none-any.whl")},
		[3]string{"a3", "1", fromIndex("https://mirror.example/private" + layout + "a3-1-py3-none-any.whl")},
		[3]string{"b", "1", fromIndex("https://own.example" + layout + "b-1-py3-none-any.whl")},
		[3]string{"c", "1", fromIndex("http://plain.example/c-1-py3-none-any.whl")},
		[3]string{"d", "1", fromIndex("https://o.example/d-1-py3-none-any.whl")}),
		conda: map[string]string{"d-of-conda": "d==2 pip==25"}}
	finder, sources, said, artifacts, err := c.run(t)
	if err != nil {
		t.Fatal(err)
	}
	var urls []string
	for _, l := range finder.asked.Locked {
		urls = append(urls, l.Name+" "+l.Version+" "+l.URL)
	}
	want := []string{"a 1.5 https://files.pythonhosted.org" + layout + "a-1.5-py3-none-any.whl",
		"a2 1 https://files.pythonhosted.org" + layout + "a2-1-py3-none-any.whl",
		"a3 1 https://mirror.example/private" + layout + "a3-1-py3-none-any.whl",
		"b 1 https://own.example" + layout + "b-1-py3-none-any.whl", "c 1 http://plain.example/c-1-py3-none-any.whl"}
	if !slices.Equal(urls, want) {
		t.Errorf("locked are\n%s\nwant\n%s", strings.Join(urls, "\n"), strings.Join(want, "\n"))
	}
	if !slices.Equal(sources.allowed, []string{"https://own.example/simple"}) {
		t.Errorf("allowed are %v", sources.allowed)
	}
	if len(said) != 1 || !strings.Contains(said[0], "warning: uv.lock has d 1, and conda brings 2, which stays") {
		t.Errorf("said %q", said)
	}
	for _, a := range artifacts {
		if a.Name == "c" && (a.URL() != "http://plain.example/c-1-py3-none-any.whl" || a.Size != 7) ||
			a.Name == "a" && a.Origin != "pypi" {
			t.Errorf("%+v", a)
		}
	}
	for _, a := range sources.known {
		if strings.Contains(a.URL(), "secret") {
			t.Errorf("a login is kept: %s", a.URL())
		}
	}
}

// Poetry's locks have no URLs: uv finds the files on the index, which is the recipe's mirrors' for a mirror of PyPI.
func TestPoetrysFilesAreFoundOnTheIndex(t *testing.T) {
	t.Parallel()
	lock := ""
	for name, index := range map[string]string{"a": "https://pypi.tuna.tsinghua.edu.cn/simple/", "b": "",
		"c": "https://me:secret@own.example/simple/"} {
		lock += "[[package]]\nname = '" + name + "'\nversion = '1'\ngroups = ['main']\nfiles = [{file = '" + name +
			"-1-py3-none-any.whl', hash = 'sha256:" + sumA + "'}]\n"
		if index != "" {
			lock += "[package.source]\ntype = 'legacy'\nurl = '" + index + "'\nreference = 'm'\n"
		}
	}
	c := lockCase{recipe: "ray: {version: 2.49.0, extras: []}\npip: {pylock: poetry.lock}", file: "poetry.lock",
		lock: lock + "[metadata]\nlock-version = '2.1'\npython-versions = '>=3.9,<4'\n"}
	finder, sources, _, artifacts, err := c.run(t)
	if err != nil {
		t.Fatal(err)
	}
	q := finder.asked
	if len(q.Projects) != 1 || q.Projects["c"] != "https://own.example/simple" || len(q.Locked) != 3 ||
		!slices.Equal(q.Hashes["a"], []string{sumA}) || q.Locked[0].URL != "" {
		t.Errorf("%+v", q)
	}
	if !slices.Contains(sources.allowed, "https://own.example/simple") || len(artifacts) != 4 {
		t.Errorf("allowed are %v; %+v", sources.allowed, artifacts)
	}
}

func TestLocksOfOtherToolsThatCannotBeTaken(t *testing.T) {
	t.Parallel()
	const head = "ray: {version: 2.49.0, extras: []}\n"
	wheel := fromIndex("https://files.pythonhosted.org/packages/a-1-py3-none-any.whl")
	pylock := func(rest string) string {
		return "lock-version = '1.0'\ncreated-by = 'x'\n[[packages]]\nname = 'a'\nversion = '1'\n" + rest
	}
	tests := []struct {
		name string
		c    lockCase
		want string
	}{
		{"git", lockCase{head + "pip: {pylock: uv.lock}", "uv.lock",
			uvLockOf([3]string{"a", "1", "source = { git = 'https://o.example/a#1' }"}), nil},
			`"a 1": the lock takes it from git, and not from a file of an index: build a wheel of it and name that ` +
				"under pip.wheels"},
		{"no wheel for the platform", lockCase{head + "pip: {pylock: uv.lock}", "uv.lock", uvLockOf([3]string{"a", "1",
			fromIndex("https://o.example/a-1-cp311-cp311-win_amd64.whl")}), nil},
			"there is only a-1-cp311-cp311-win_amd64.whl: lock a version that has one"},
		{"a requirement against it", lockCase{head + "pip: {pylock: uv.lock, packages: [\"a>=2\"]}", "uv.lock",
			uvLockOf([3]string{"a", "1", wheel}), nil}, `it has a 1, and the recipe asks for "a>=2"`},
		{"conda's version against it", lockCase{head + "env: {conda: [a]}\npip: {pylock: uv.lock}", "uv.lock",
			uvLockOf([3]string{"a", "1", wheel}), map[string]string{"a": "a==2"}},
			"it has a 1, and conda installs 2, which the recipe asks for: write the lock's version under " +
				"env.conda, or " +
				"remove a there"},
		{"another Python", lockCase{head + "pip: {pylock: uv.lock}", "uv.lock",
			strings.Replace(uvLockOf(), ">=3.9", ">=3.12", 1), nil}, "Python 3.11.9: the lock is for Python >=3.12"},
		{"a link that expires", lockCase{head + "pip: {pylock: uv.lock}", "uv.lock", uvLockOf([3]string{"a", "1",
			fromIndex("https://o.example/a-1-py3-none-any.whl?token=1")}), nil}, "it has a query"},
		{"a wheel that is not there", lockCase{head + "pip: {pylock: pylock.toml}", "pylock.toml",
			pylock("wheels = [{path = 'dist/a-1-py3-none-any.whl', hashes = {sha256 = '" + sumA + "'}}]\n"), nil},
			`find wheels "dist/a-1-py3-none-any.whl": there is none`},
		{"a wheel elsewhere", lockCase{head + "pip: {pylock: pylock.toml}", "pylock.toml",
			pylock("wheels = [{path = '../../a-1-py3-none-any.whl', hashes = {sha256 = '" + sumA + "'}}]\n"), nil},
			"leads out of the recipe's directory"},
		{"an extra", lockCase{head + "pip: {pylock: {file: uv.lock, extras: [x]}}", "uv.lock", uvLockOf(), nil},
			`select extra "x": the lock has none`},
		{"a group", lockCase{head + "pip: {pylock: {file: uv.lock, groups: [dev]}}", "uv.lock", uvLockOf(), nil},
			`select group "dev": the lock has none`},
		{"another Ray", lockCase{head + "pip: {pylock: uv.lock}", "uv.lock", uvLockOf([3]string{"ray", "2.48.0",
			wheel}),
			nil}, "pip.pylock: the recipe has Ray 2.49.0, and uv.lock has Ray 2.48.0; set ray.version to the " +
			"lock's or " +
			"remove it, or lock the other version with the tool that made uv.lock"},
		{"two Rays", lockCase{"pip: {pylock: uv.lock}", "uv.lock", uvLockOf([3]string{"ray", "2.48.0", wheel},
			[3]string{"ray", "2.49.0", wheel}), nil}, "uv.lock has Ray in 2 versions: 2.48.0, 2.49.0; set ray.version"},
		{"a Ray of nobody's", lockCase{"pip: {pylock: uv.lock}", "uv.lock", uvLockOf([3]string{"ray", "3.0.0.dev0+x",
			wheel}), nil}, "raybuild takes releases alone"},
		{"no TOML", lockCase{head + "pip: {pylock: uv.lock}", "uv.lock", "version = \x1b[1m", nil},
			"uv.lock: pip.pylock: read uv.lock"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, _, _, _, err := tc.c.run(t)
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.ContainsRune(err.Error(), 0x1b) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestOwnWheelTakesThePlaceOfALockedPackage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := &lockedPackages{file: "uv.lock", sums: map[string]string{"a": sumA}}
	other := strings.Repeat("b", 64)
	if err := l.settle([]Artifact{{Name: "a", Version: "1", Origin: "pypi", Path: "a.whl",
		SHA256: other}}); err == nil ||
		!strings.Contains(err.Error(), "resolve with uv, or lock it again") {
		t.Errorf("%v", err)
	}
	if err := l.settle([]Artifact{{Name: "a", Version: "1", Origin: originLocal, SHA256: other}}); err != nil {
		t.Error(err)
	}
	if _, err := withWheel(nil, dir, "x/../../a-1-py3-none-any.whl", sumA); err == nil {
		t.Error("a wheel elsewhere was taken")
	}
}

func TestHashesOfRequirementsAreChecked(t *testing.T) {
	t.Parallel()
	required := []Requirement{{Name: "a", Hashes: []string{"sha256:" + sumA}}, {Name: "b"}}
	artifacts := []Artifact{{Name: "a", Version: "1", Origin: "pypi", SHA256: sumA}, {Name: "b", SHA256: "x"}}
	if err := checkHashes(artifacts, required); err != nil {
		t.Error(err)
	}
	artifacts[0].SHA256 = "x"
	if err := checkHashes(artifacts, required); err == nil || !strings.Contains(err.Error(), "hashes of a 1") {
		t.Errorf("%v", err)
	}
}

// The file's content is part of the recipe, and its place is part of the record.
func TestPylockIsPartOfTheRecipe(t *testing.T) {
	t.Parallel()
	lock := uvLockOf([3]string{"ray", "2.49.0", fromIndex("https://o.example/ray-2.49.0-py3-none-any.whl")})
	dir := t.TempDir()
	load := func(recipe, lock string) *Recipe {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "uv.lock"), []byte(lock), 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := LoadRecipe([]byte(recipe), filepath.Join(dir, "raybuild.yaml"), nil)
		if err == nil {
			err = r.LoadFiles()
		}
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := load("pip: {pylock: {file: ./uv.lock, extras: [B.b, a], groups: [Dev]}}", lock)
	if r.Ray.Version != "2.49.0" || r.Ray.Extras == nil || len(r.Ray.Extras) > 0 {
		t.Errorf("Ray is %+v, want the lock's", r.Ray)
	}
	if p := r.Pip.Pylock; p.File != "uv.lock" || !slices.Equal(p.Extras, []string{"a", "b-b"}) ||
		!slices.Equal(p.Groups, []string{"dev"}) {
		t.Errorf("%+v", p)
	}
	text, err := r.marshal()
	if err != nil {
		t.Fatal(err)
	}
	if again := load(string(text), lock); again.Digest() != r.Digest() {
		t.Errorf("the record's recipe is another: %s", text)
	}
	inputs := func(r *Recipe) string {
		all, err := layerInputs(r, "sha256:x")
		if err != nil {
			t.Fatal(err)
		}
		return all["ray"].String()
	}
	seen := map[string]bool{}
	for _, x := range []*Recipe{r, load("pip: {pylock: {file: uv.lock, groups: [dev]}}", lock),
		load("pip: {pylock: uv.lock}", lock), load("pip: {pylock: uv.lock}", lock+"#\n"),
		load("ray: {version: 2.49.0}", "")} {
		for _, d := range []string{x.Digest().String(), inputs(x)} {
			if seen[d] {
				t.Errorf("another recipe has the digest of %+v", x.Pip.Pylock)
			}
			seen[d] = true
		}
	}
}
