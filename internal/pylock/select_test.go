package pylock

import (
	"errors"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// open reads a lock of testdata, whose name has the name of a lock behind its last dash.
func open(t *testing.T, file string) Source {
	t.Helper()
	data, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(lockName(file), data, func(string) ([]byte, error) {
		return os.ReadFile("testdata/" + strings.TrimSuffix(file, "poetry.lock") + "pyproject.toml")
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// nothing is what is beside a lock.
func nothing(name string) ([]byte, error) { return nil, errors.New("there is no " + name) }

func lockName(file string) string {
	if _, name, ok := strings.Cut(file, "-"); ok {
		return name
	}
	return file
}

// request is for Python 3.12.
func request() Request {
	return Request{Target: Target{Python: "3.12.4", Platform: "linux/amd64", Glibc: "2.35"}}
}

// named are packages as "name version", and the files that a target picks of them.
func named(t *testing.T, r Request, packages []Package) (names string, files []File) {
	t.Helper()
	picker, err := NewPicker(r.Target)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range packages {
		f, err := picker.Pick(p)
		if err != nil {
			t.Error(err)
		}
		out, files = append(out, p.Name+" "+p.Version), append(files, f)
	}
	return strings.Join(out, ", "), files
}

// The locks of testdata were written by uv 0.13.9, Poetry 2.5.1 and 1.8.5; what is selected of them is what
// `uv export` and `poetry export` name.
func TestSelectOfRealLocks(t *testing.T) {
	const (
		uv12 = "anyio 4.12.0, certifi 2025.11.12, h11 0.16.0, httpcore 1.0.9, httpx 0.28.1, idna 3.11, pluggy 1.6.0, " +
			"psutil 7.2.1, socksio 1.0.0, tabulate 0.9.0, typing-extensions 4.15.0"
		uv10 = "anyio 4.12.0, certifi 2025.11.12, exceptiongroup 1.3.1, h11 0.16.0, httpcore 1.0.9, httpx 0.28.1, " +
			"idna 3.11, pluggy 1.4.0, psutil 7.2.1, socksio 1.0.0, tabulate 0.9.0, tomli 2.3.0, typing-extensions " +
			"4.15.0"
		uvAll = "anyio 4.12.0, certifi 2025.11.12, h11 0.16.0, httpcore 1.0.9, httpx 0.28.1, idna 3.11, " +
			"iniconfig 2.3.0, markdown-it-py 4.0.0, mdurl 0.1.2, pluggy 1.6.0, psutil 7.2.1, pygments 2.19.2, " +
			"rich 14.2.0, socksio 1.0.0, tabulate 0.9.0, typing-extensions 4.15.0"
		old12 = "anyio 4.16.0, certifi 2026.10.19.post1, h11 0.16.0, httpcore 1.0.9, httpx 0.27.2, idna 3.20, " +
			"pluggy 1.7.0, psutil 7.0.0, sniffio 1.3.1, socksio 1.0.0, tabulate 0.10.0, typing-extensions 4.16.0"
		old10 = "anyio 4.16.0, certifi 2026.10.19.post1, exceptiongroup 1.3.2, h11 0.16.0, httpcore 1.0.9, " +
			"httpx 0.27.2, idna 3.20, iniconfig 2.3.1, markdown-it-py 4.3.0, mdurl 0.1.2, pluggy 1.4.0, psutil " +
			"7.0.0, " +
			"pygments 2.21.0, rich 14.3.4, sniffio 1.3.1, socksio 1.0.0, tabulate 0.10.0, tomli 2.5.0, " +
			"typing-extensions 4.16.0"
		poetry12 = "anyio 4.16.0, certifi 2026.10.19.post1, h11 0.16.0, httpcore 1.0.9, httpx 0.28.1, idna 3.20, " +
			"pluggy 1.7.0, psutil 7.2.2, socksio 1.0.0, tabulate 0.10.0, typing-extensions 4.16.0"
	)
	tests := []struct {
		name, file, python string
		extras, groups     []string
		without            []string
		want               string
	}{
		{"uv", "demo-uv.lock", "3.12.4", nil, nil, nil, uv12},
		{"uv for an older Python", "demo-uv.lock", "3.10.2", nil, nil, nil, uv10},
		{"uv with all", "demo-uv.lock", "3.12.4", []string{"Pretty"}, []string{"dev"}, nil, uvAll},
		{"uv without what is elsewhere", "demo-uv.lock", "3.12.4", nil, nil, []string{"HTTPX", "none"},
			strings.Replace(uv12, "httpx 0.28.1, ", "", 1)},
		{"uv's export has all extras and groups in it", "pylock.demo.toml", "3.12.4", nil, nil, nil, uvAll},
		{"Poetry", "demo-poetry.lock", "3.12.4", nil, nil, nil, poetry12},
		{"Poetry for an older Python", "demo-poetry.lock", "3.10.2", nil, nil, nil,
			"anyio 4.16.0, certifi 2026.10.19.post1, exceptiongroup 1.3.2, h11 0.16.0, httpcore 1.0.9, httpx 0.28.1, " +
				"idna 3.20, pluggy 1.4.0, psutil 7.2.2, socksio 1.0.0, tabulate 0.10.0, tomli 2.5.0, " +
				"typing-extensions 4.16.0"},
		{"Poetry 1", "old-poetry.lock", "3.12.4", nil, nil, nil, old12},
		{"Poetry 1 for an older Python", "old-poetry.lock", "3.10.2", []string{"pretty"}, []string{"dev"}, nil, old10},
		{"a workspace", "workspace-uv.lock", "3.12.4", nil, nil, nil, "tabulate 0.10.0"},
		{"a workspace's group", "workspace-uv.lock", "3.12.4", nil, []string{"dev"}, nil,
			"iniconfig 2.3.1, tabulate 0.10.0"},
		{"one of two extras that exclude each other", "conflicts-uv.lock", "3.12.4", []string{"old"}, []string{"ci"},
			nil,
			"idna 3.7, iniconfig 2.3.0, tabulate 0.9.0"},
		{"the other one", "conflicts-uv.lock", "3.12.4", []string{"new"}, []string{"dev"}, nil,
			"idna 3.10, iniconfig 1.1.1, tabulate 0.9.0"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			r := request()
			r.Target.Python, r.Extras, r.Groups, r.Without = tc.python, tc.extras, tc.groups, tc.without
			packages, err := open(t, tc.file).Select(r)
			if err != nil {
				t.Fatal(err)
			}
			got, files := named(t, r, packages)
			if got != tc.want {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
			for _, f := range files {
				if !isSHA256(f.SHA256) || (f.URL == "") != strings.Contains(tc.file, "poetry") {
					t.Errorf("%+v", f)
				}
			}
		})
	}
}

func TestSelectOfPoetrysGroups(t *testing.T) {
	r := request()
	r.Extras, r.Groups = []string{"pretty"}, []string{"dev"}
	packages, err := open(t, "demo-poetry.lock").Select(r)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := named(t, r, packages)
	for _, want := range []string{"rich ", "iniconfig ", "pygments "} {
		if !strings.Contains(got, want) {
			t.Errorf("%s has no %s", got, want)
		}
	}
}

// uvText is a uv.lock whose project needs what more says.
func uvText(needs, more string) string {
	return "version = 1\nrevision = 3\nrequires-python = '>=3.11'\n[[package]]\nname = 'app'\nsource = { virtual = " +
		"'.' }\n" +
		"dependencies = [" + needs + "]\n" + more
}

// oneWheel are the wheels of a package a.
func oneWheel() string {
	return "wheels = [{ url = 'https://o.example/a-1-py3-none-any.whl', hash = 'sha256:" + sum + "' }]\n"
}

func pylockText(more string) string { return "lock-version = '1.0'\ncreated-by = 'x'\n" + more }

func poetryText(version, more string) string {
	return more + "\n[metadata]\nlock-version = '" + version + "'\npython-versions = '>=3.9'\n"
}

func TestLocksThatCannotBeTaken(t *testing.T) {
	pkg := func(name, rest string) string {
		return "[[package]]\nname = '" + name + "'\nversion = '1'\n" + rest
	}
	registry := "source = { registry = 'https://pypi.org/simple' }\n"
	pylock := func(rest string) string { return pylockText("[[packages]]\nname = 'a'\nversion = '1'\n" + rest) }
	file := "wheels = [{ url = 'https://o.example/a-1-py3-none-any.whl', hashes = {sha256 = '" + sum + "'} }]\n"
	poetry := func(rest string) string { return poetryText("2.1", pkg("a", "groups = ['main']\n"+rest)) }
	tests := []struct{ name, file, text, want string }{
		{"no lock", "requirements.txt", "", "its name is none of"},
		{"no TOML", "uv.lock", "version = ", "read uv.lock"},
		{"another version of uv's", "uv.lock", "version = 2", "version 2: want 1"},
		{"too long", "uv.lock", strings.Repeat("#", MaxSize+1), "more than"},
		{"no project", "uv.lock", "version = 1\n" + pkg("a", registry+oneWheel()), "no project of its own"},
		{"another Python", "uv.lock", strings.Replace(uvText("", ""), "3.11", "3.13", 1),
			"select packages for Python 3.12.4: the lock is for Python >=3.13"},
		{"a package that is not there", "uv.lock", uvText("{name = 'a'}", ""),
			`select what "app" needs: package "a": the lock does not have it`},
		{"a need of a need that is not there", "uv.lock", uvText("{name = 'a'}", pkg("a", registry+oneWheel()+
			"dependencies = [{name = 'b'}]\n")), `select what "a" needs: package "b"`},
		{"a package for another fork", "uv.lock", uvText("{name = 'a'}", pkg("a", registry+oneWheel()+
			"resolution-markers = [\"python_version < '3.12'\"]\n")), "does not have it for this environment"},
		{"two of a name", "uv.lock", uvText("{name = 'a'}", pkg("a", registry+oneWheel())+
			pkg("a", "source = { url = 'https://o.example/a-1-py3-none-any.whl' }\n"+oneWheel())), "which one"},
		{"git", "uv.lock", uvText("{name = 'a'}", pkg("a", "source = { git = 'https://o.example/a?rev=1#1' }\n")),
			`package "a 1": the lock takes it from git`},
		{"a directory", "uv.lock", uvText("{name = 'a'}", pkg("a", "source = { editable = 'libs/a' }\n")),
			"a directory"},
		{"a file", "uv.lock", uvText("{name = 'a'}", pkg("a", "source = { path = 'a.whl' }\n")), "a file beside it"},
		{"no hash", "uv.lock", uvText("{name = 'a'}", pkg("a", registry+
			"wheels = [{ url = 'https://o.example/a-1-py3-none-any.whl' }]\n")), "no sha256"},
		{"another hash", "uv.lock", uvText("{name = 'a'}", pkg("a", registry+strings.Replace(oneWheel(), "sha256",
			"md5",
			1))), "no sha256"},
		{"a url of a file", "uv.lock", uvText("", pkg("a", registry+strings.Replace(oneWheel(), "https:", "file:",
			1))),
			"none of http or https"},
		{"a name", "uv.lock", uvText("", pkg("A_b", registry)), "not normalised"},
		{"a marker", "uv.lock", uvText("{name = 'a', marker = 'x'}", ""), "read marker"},
		{"an extra", "uv.lock+x", uvText("", ""), `select extra "x": the lock has none`},
		{"pylock from git", "pylock.toml", pylock("vcs = {type = 'git', url = 'https://o.example'}\n"),
			"from version control"},
		{"pylock for another Python", "pylock.toml", strings.Replace(pylock(file), "[[", "requires-python = '<3'\n[[",
			1),
			"is for Python <3"},
		{"a package for another Python", "pylock.toml", pylock("requires-python = '<3'\n" + file),
			"version 1 is for Python <3"},
		{"pylock for another environment", "pylock.toml", strings.Replace(pylock(file), "[[",
			"environments = [\"sys_platform == 'win32'\"]\n[[", 1), "for other environments: sys_platform == 'win32'"},
		{"pylock with a package twice", "pylock.toml", pylock(file) + "[[packages]]\nname = 'a'\nversion = '2'\n" +
			file,
			"twice for Python 3.12.4 on linux/amd64: as 1 and 2"},
		{"pylock without a version", "pylock.toml", strings.Replace(pylock(file), "version = '1'\n", "", 1),
			"no version"},
		{"pylock's marker", "pylock.toml", pylock("marker = 'x'\n" + file), "read marker"},
		{"pylock's extra", "pylock.toml+x", strings.Replace(pylock(file), "[[", "extras = ['y']\n[[", 1),
			`select extra "x": the lock has only y`},
		{"Poetry 1 without its project", "poetry.lock", poetryText("2.0", ""), "needs: there is no pyproject.toml"},
		{"Poetry 1.2", "poetry.lock", poetryText("1.1", ""), "run `poetry lock` of Poetry 2"},
		{"a Poetry to come", "poetry.lock", poetryText("3.0", ""), "want 2.0 or 2.1"},
		{"Poetry for another Python", "poetry.lock", strings.Replace(poetryText("2.1", ""), ">=3.9", "<3.9", 1),
			"for Python <3.9"},
		{"Poetry from git", "poetry.lock", poetry("[package.source]\ntype = 'git'\nurl = 'x'\n"), "from git"},
		{"Poetry without a hash", "poetry.lock", poetry("files = [{file = 'a-1.tar.gz', hash = 'md5:0'}]\n"),
			"no sha256"},
		{"Poetry's marker", "poetry.lock", poetry("markers = 'x'\n"), "read marker"},
		{"Poetry's markers", "poetry.lock", poetry("markers = 1\n"), "neither a text nor a table"},
		{"a path for a file", "poetry.lock", poetry("files = [{file = '../a', hash = ''}]\n"), "no file name"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			r := request()
			name, extra, _ := strings.Cut(tc.file, "+")
			if extra != "" {
				r.Extras = []string{extra}
			}
			s, err := Open(name, []byte(tc.text), nothing)
			if err == nil {
				_, err = s.Select(r)
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestSelectTellsWhatIsNoFile(t *testing.T) {
	s, err := Open("uv.lock", []byte(uvText("{name = 'a'}", "[[package]]\nname = 'a'\nsource = { git = 'x' }\n"+
		"dependencies = [{name = 'b'}]\n[[package]]\nname = 'b'\nversion = '1'\n"+
		"source = { url = 'https://o.example/b-1-py3-none-any.whl' }\nwheels = [{ filename = 'b-1-py3-none-any.whl', "+
		"hash = 'sha256:"+sum+"' }]\n")), nothing)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Select(request())
	if e, ok := errors.AsType[*NotAFileError](err); !ok || e.Name != "a" || e.Kind != "git" {
		t.Errorf("%v", err)
	}
	r := request()
	r.Without = []string{"a"} // what it needs is needed all the same
	packages, err := s.Select(r)
	if got, files := named(t, r, packages); err != nil || got != "b 1" ||
		files[0].URL != "https://o.example/b-1-py3-none-any.whl" {
		t.Errorf("%s, %v", got, err)
	}
}

func TestPylocksOwnGroupsAndExtras(t *testing.T) {
	file := func(name string) string {
		return "wheels = [{ url = 'https://o.example/" + name + "-1-py3-none-any.whl', hashes = {sha256 = '" + sum +
			"'} }]\n"
	}
	text := pylockText("extras = ['X_y']\ndependency-groups = ['dev', 'docs']\ndefault-groups = ['dev']\n")
	for name, marker := range map[string]string{"a": "'x-y' in extras", "b": "'dev' in dependency_groups",
		"c": "'docs' in dependency_groups"} {
		text += "[[packages]]\nname = '" + name + "'\nversion = '1'\nmarker = \"" + marker + "\"\n" + file(name)
	}
	s, err := Open("pylock.gpu.toml", []byte(text), nothing)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		extras, groups []string
		want           string
	}{{nil, nil, "b 1"}, {[]string{"x.y"}, nil, "a 1, b 1"}, {nil, []string{"docs"}, "c 1"}} {
		r := request()
		r.Extras, r.Groups = tc.extras, tc.groups
		packages, err := s.Select(r)
		if got, _ := named(t, r, packages); err != nil || got != tc.want {
			t.Errorf("%v %v: %s, %v", tc.extras, tc.groups, got, err)
		}
	}
	if got := s.Versions("A"); !slices.Equal(got, []string{"1"}) {
		t.Errorf("versions %v", got)
	}
}

func TestFilesOfLocksAreKnownByTheirNames(t *testing.T) {
	for name, want := range map[string]bool{"pylock.toml": true, "a/pylock.gpu.toml": true, "uv.lock": true,
		"x/poetry.lock": true, "pylock.a.b.toml": false, "pylock..toml": false, "pdm.lock": false,
		"requirements.txt": false, "uv.lock/": false, "mypylock.toml": false} {
		if IsFile(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

func FuzzOpen(f *testing.F) {
	for _, file := range []string{"conflicts-uv.lock", "workspace-uv.lock"} { // small ones: fuzzing is slow on others
		data, err := os.ReadFile("testdata/" + file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(path.Base(lockName(file)), data, "old", "dev")
	}
	f.Add("poetry.lock", []byte(poetryText("2.1", "[[package]]\nname = 'a'\nversion = '1'\ngroups = ['main', 'dev']\n"+
		"markers = {main = \"extra == 'x'\"}\nfiles = [{file = 'a-1.zip', hash = 'sha256:"+sum+"'}]\n"+
		"[package.source]\ntype = 'legacy'\nurl = 'https://o.example/simple'\n[extras]\nx = ['a']\n")), "x", "dev")
	f.Add("pylock.toml", []byte(pylockText("default-groups = ['dev']\nextras = ['x']\n[[packages]]\nname = 'a'\n"+
		"version = '1'\nmarker = \"'x' in extras\"\narchive = {path = 'a.zip', hashes = {sha256 = '"+sum+"'}}\n")),
		"x", "")
	f.Add("uv.lock", []byte(uvText("{name = 'a', extra = ['x']}", "[[package]]\nname = 'a'\nversion = '1'\n"+
		"source = { registry = 'x' }\n[package.optional-dependencies]\nx = [{name = 'app'}]\n")), "", "")
	f.Add("poetry.lock", []byte(poetryText("2.0", "[[package]]\nname = 'a'\nversion = '1'\n[package.dependencies]\n"+
		"b = [{version = '^1', markers = \"extra == 'x'\", optional = true}, '*']\n[tool.poetry.dependencies]\n"+
		"a = {version = '~1', extras = ['x'], python = '>=3 || <2'}\n[tool.poetry.extras]\nx = ['b']\n")), "x", "dev")
	f.Fuzz(func(t *testing.T, name string, data []byte, extra, group string) {
		s, err := Open(name, data, func(string) ([]byte, error) { return data, nil }) // both may be in one text
		if err != nil {
			return
		}
		for _, r := range []Request{request(), {Target: request().Target, Extras: []string{extra},
			Groups: []string{group}}} {
			packages, err := s.Select(r)
			if err != nil {
				continue
			}
			for i, p := range packages {
				if i > 0 && packages[i-1].Name >= p.Name || p.Other != "" || !normalName().MatchString(p.Name) {
					t.Errorf("package %d is %+v", i, p)
				}
				for _, file := range p.files() {
					if !isSHA256(file.SHA256) || strings.ContainsAny(file.Name, `/\`) {
						t.Errorf("%+v", file)
					}
				}
			}
		}
	})
}
