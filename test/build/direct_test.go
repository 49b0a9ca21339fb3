package build

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/raybuild/raybuild/internal/gittest"
)

// releases is a server with files that no index has.
type releases struct {
	*httptest.Server
	mu    sync.Mutex
	files map[string]string // by path
	gate  func(w http.ResponseWriter, r *http.Request) bool
}

// newReleases serves over TLS, with a certificate that the home's ca.pem vouches for, or without TLS.
func newReleases(t *testing.T, h *home, secure bool, files map[string]string) *releases {
	t.Helper()
	s := &releases{files: files}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		data, ok := s.files[r.URL.Path]
		gate := s.gate
		s.mu.Unlock()
		if gate != nil && !gate(w, r) {
			return
		}
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, data)
	}))
	s.Config.ErrorLog = nil
	if secure {
		s.StartTLS()
		h.write("ca.pem", pemOf(s.Certificate().Raw))
		h.env = append(h.env, "SSL_CERT_FILE="+filepath.Join(h.cwd, "ca.pem"))
	} else {
		s.Start()
	}
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

func (s *releases) put(path, data string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[path] = data
}

// sourcesOf is a .tar.gz of files below one directory.
func sourcesOf(t *testing.T, top string, files map[string]string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		err := w.WriteHeader(&tar.Header{Name: top + "/" + name, Mode: 0o644, Size: int64(len(files[name]))})
		if err == nil {
			_, err = io.WriteString(w, files[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// project is a setuptools project with one module of its name.
func project(name, version, requires string) map[string]string {
	return map[string]string{
		"pyproject.toml": "[build-system]\nrequires = [\"setuptools>=40.8\", \"wheel\"]\n" +
			"build-backend = \"setuptools.build_meta\"\n",
		"setup.py": fmt.Sprintf("from setuptools import setup\nsetup(name=%q, version=%q, py_modules=[%q], "+
			"install_requires=[%s], extras_require={'more': ['idna']})\n", name, version, name, requires),
		name + ".py": "answer = 42\n",
	}
}

// below puts files into the subdirectory py/mono.
func below(files map[string]string) map[string]string {
	out := map[string]string{"README": "a project is below\n"}
	for name, data := range files {
		out["py/mono/"+name] = data
	}
	return out
}

// Case 13, case 35: wheels and sources by URL are locked by digest, fetched with this machine's certificates and login,
// and installed; the lock holds when the server has another file.
func TestCase13FilesByURL(t *testing.T) {
	const password = "c4n4ry-url"
	h := fresh(t, "")
	mono := sourcesOf(t, "r-main", below(project("mono", "2.5", `"zipp"`)))
	s := newReleases(t, h, true, map[string]string{
		"/v1/own_wheel-1.0-py3-none-any.whl": ownWheel(t),
		"/archive/main.tar.gz":               mono,
	})
	s.gate = func(w http.ResponseWriter, r *http.Request) bool {
		user, got, _ := r.BasicAuth()
		if user == "joe" && got == password {
			return true
		}
		w.Header().Set("WWW-Authenticate", "Basic")
		w.WriteHeader(http.StatusUnauthorized)
		return false
	}
	wheel := pureWheel(t, "plain", "", "six")
	plain := newReleases(t, h, false, map[string]string{"/plain-1.0-py3-none-any.whl": wheel})
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(wheel)))
	h.write("requirements.txt", "own-wheel @ "+s.URL+"/v1/own_wheel-1.0-py3-none-any.whl ; python_version > '3'\n"+
		plain.URL+"/plain-1.0-py3-none-any.whl --hash=sha256:"+sum+"\n"+
		"never @ https://nowhere.invalid/never-1.0-py3-none-any.whl ; sys_platform == 'win32'\n")
	h.write("environment.yml", "dependencies:\n- python=3.11\n- pip:\n  - mono[more] @ "+s.URL+
		"/archive/main.tar.gz#subdirectory=py/mono\n")
	h.write("raybuild.yaml", strings.Replace(shortRecipe("pip: {requirements: [requirements.txt]}"),
		`env: {python: "3.11", channels: [conda-forge]}`, "env: {file: environment.yml}", 1))
	h.refused(1, []string{"/v1/own_wheel-1.0-py3-none-any.whl", "401", "there is no login for it", "~/.netrc"},
		"lock")
	h.write(".netrc", "machine 127.0.0.1 login joe password "+password+"\n")
	dst := ref(t, "1")
	first := h.push(dst)
	lock := h.read("raybuild.lock")
	for _, want := range []string{"own_wheel-1.0-py3-none-any.whl", "subdirectory: py/mono", "name: zipp", "name: idna",
		`version: "2.5"`, sum} {
		if !strings.Contains(lock, want) {
			t.Errorf("the lock has no %s:\n%s", want, lock)
		}
	}
	if strings.Contains(lock+first.stderr, password) {
		t.Error("the password is shown")
	}
	for what, said := range inContainer(t, dst, map[string]string{
		"wheel": `python -c "import own_wheel; assert own_wheel.answer == 42"`,
		"mono":  `python -c "import mono; assert mono.answer == 42"`,
		"check": "python -m pip check",
	}) {
		t.Errorf("%s:\n%s", what, said)
	}
	// The server replaces a file: an edit keeps what is locked, and --update takes the new one.
	s.put("/archive/main.tar.gz", sourcesOf(t, "r-main", below(project("mono", "2.6", `"zipp"`))))
	h.write("requirements.txt", h.read("requirements.txt")+"packaging\n")
	h.push(dst)
	if lock := h.read("raybuild.lock"); !strings.Contains(lock, `version: "2.5"`) {
		t.Errorf("an edit moved what is locked:\n%s", lock)
	}
	if out := h.run("lock", "--update", "mono"); out.code != 0 ||
		!strings.Contains(h.read("raybuild.lock"), `version: "2.6"`) {
		t.Errorf("the update: exit %d\n%s", out.code, tail(out.stderr, 20))
	}
}

// Case 13: a file by URL that is not what was asked for is refused, and the error says what to do.
func TestCase13FilesByURLRefused(t *testing.T) {
	h := fresh(t, "")
	s := newReleases(t, h, true, map[string]string{
		"/own_wheel-1.0-py3-none-any.whl":     ownWheel(t),
		"/page-1.0-py3-none-any.whl":          "<html>log in here</html>",
		"/own_wheel-1.0-cp27-cp27m-win32.whl": ownWheel(t),
		"/asks-1.0-py3-none-any.whl":          pureWheel(t, "asks", "", "own-wheel @ https://h.example/x.zip"),
		"/old-1.0.tar.gz":                     sourcesOf(t, "old-1.0", project("other", "1.0", "")),
		"/fails-1.0.tar.gz": sourcesOf(t, "fails-1.0",
			map[string]string{"setup.py": "import nowhere"}),
		"/wants-1.0-py3-none-any.whl": pureWheel(t, "wants", "", "own-wheel>=2"),
	})
	for _, tt := range []struct {
		name, pip string
		want      []string
	}{
		{"another hash", s.URL + "/own_wheel-1.0-py3-none-any.whl#sha256=" + strings.Repeat("0", 64),
			[]string{"own_wheel-1.0-py3-none-any.whl", "wrong bytes"}},
		{"nothing there", s.URL + "/gone-1.0-py3-none-any.whl", []string{"gone-1.0-py3-none-any.whl", "404"}},
		{"a page", s.URL + "/page-1.0-py3-none-any.whl", []string{"page-1.0-py3-none-any.whl", "no wheel"}},
		{"another platform", s.URL + "/own_wheel-1.0-cp27-cp27m-win32.whl",
			[]string{"own_wheel-1.0-cp27-cp27m-win32.whl"}},
		{"a URL of its own", s.URL + "/asks-1.0-py3-none-any.whl",
			[]string{"asks", "own-wheel @ https://h.example/x.zip", "write that requirement under pip"}},
		{"another project", "old @ " + s.URL + "/old-1.0.tar.gz", []string{"other", "write other @"}},
		{"sources that fail", s.URL + "/fails-1.0.tar.gz", []string{"fails-1.0.tar.gz", "nowhere"}},
		{"a conflict", s.URL + `/own_wheel-1.0-py3-none-any.whl", "` + s.URL + "/wants-1.0-py3-none-any.whl",
			[]string{"own-wheel>=2", "/own_wheel-1.0-py3-none-any.whl"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h.write("raybuild.yaml", shortRecipe(`pip: ["`+tt.pip+`"]`))
			out := h.refused(1, tt.want, "lock")
			if strings.Contains(out.stderr, "raybuild-direct") {
				t.Errorf("a file of raybuild's own is shown:\n%s", out.stderr)
			}
		})
	}
}

// Case 35: projects from git are locked by commit: a tag of a monorepo in a requirements file, a branch in
// environment.yml, and a commit that no branch begins with. A login comes from netrc, and versions from tags.
func TestCase35ProjectsFromGit(t *testing.T) {
	const password = "c4n4ry-git"
	h := fresh(t, "")
	s := gittest.New(t, true)
	h.write("ca.pem", pemOf(s.Certificate().Raw))
	h.env = append(h.env, "SSL_CERT_FILE="+filepath.Join(h.cwd, "ca.pem"))
	mono, kit, old := s.Repository(t, "o/mono"), s.Repository(t, "o/kit.git"), s.Repository(t, "o/old")
	tagged := mono.Commit(below(project("mono", "2.5", `"zipp"`)))
	mono.Git("tag", "-a", "v2.5", "-m", "release")
	mono.Commit(below(project("mono", "2.6", `"zipp"`)))
	setup := project("kit", "1.0", "")
	setup["setup.py"] = strings.Replace(setup["setup.py"], `version="1.0"`,
		`version=[l.split()[-1] for l in open(".git_archival.txt") if l.startswith("describe-name")][0]`, 1)
	branch := kit.Commit(setup)
	kit.Git("tag", "1.7")
	first := old.Commit(project("old", "0.1", ""))
	old.Commit(project("old", "0.2", ""))
	s.Let(gittest.Login("joe", password))
	h.write("requirements.txt", "git+"+mono.URL+"@v2.5#egg=mono[more]&subdirectory=py/mono\n"+
		"-e git+"+old.URL+"@"+first+"#egg=old\n")
	h.write("environment.yml", "dependencies:\n- python=3.11\n- pip:\n  - git+"+kit.URL+"@main\n")
	recipe := strings.Replace(shortRecipe("pip: {requirements: [requirements.txt]}"),
		`env: {python: "3.11", channels: [conda-forge]}`, "env: {file: environment.yml}", 1)
	h.write("raybuild.yaml", recipe)
	h.refused(1, []string{mono.URL, "~/.netrc"}, "lock")
	h.write(".netrc", "machine 127.0.0.1 login joe password "+password+"\n")
	dst := ref(t, "1")
	out := h.push(dst)
	lock := h.read("raybuild.lock")
	for _, want := range []string{tagged, branch, first, `version: "2.5"`, `version: "1.7"`, `version: "0.1"`, "name: idna",
		"rev: main", "tag: v2.5", "origin: git+" + mono.URL} {
		if !strings.Contains(lock, want) {
			t.Errorf("the lock has no %s:\n%s", want, lock)
		}
	}
	if strings.Contains(lock+out.stderr, password) {
		t.Error("the password is shown")
	}
	for what, said := range inContainer(t, dst, map[string]string{
		"import": `python -c "import mono, kit, old; assert mono.answer + kit.answer + old.answer == 126"`,
		"check":  "python -m pip check",
	}) {
		t.Errorf("%s:\n%s", what, said)
	}
	// The branch moves: the lock holds, also on a machine that has nothing, and --update follows.
	moved := kit.Commit(map[string]string{"more": "1"})
	kit.Git("tag", "1.8")
	h.write("raybuild.yaml", strings.Replace(recipe, "pip: {", "pip: {packages: [packaging], ", 1))
	h.lockOnly()
	if lock := h.read("raybuild.lock"); !strings.Contains(lock, branch) || strings.Contains(lock, moved) {
		t.Errorf("an edit moved what is locked:\n%s", lock)
	}
	if again := h.push(dst); again.meta.Digest == out.meta.Digest {
		t.Error("one more package is the same image")
	}
	if out := h.run("lock", "--update", "kit"); out.code != 0 || !strings.Contains(h.read("raybuild.lock"), moved) {
		t.Errorf("the update: exit %d\n%s", out.code, tail(out.stderr, 20))
	}
}

// Case 35: what cannot be taken from git says what to do.
func TestCase35GitRefused(t *testing.T) {
	h := fresh(t, "")
	s := gittest.New(t, true)
	h.write("ca.pem", pemOf(s.Certificate().Raw))
	h.env = append(h.env, "SSL_CERT_FILE="+filepath.Join(h.cwd, "ca.pem"))
	g := s.Repository(t, "r")
	g.Commit(project("r", "1.0", ""))
	gone := strings.Repeat("ab", 20)
	for _, tt := range []struct {
		name, pip string
		want      []string
	}{
		{"no such tag", "git+" + g.URL + "@v9", []string{`"v9"`, "all its 40 digits"}},
		{"no such commit", "git+" + g.URL + "@" + gone, []string{gone, "no branch or tag leads to it"}},
		{"no such repository", "git+" + s.URL + "/none", []string{s.URL + "/none", "~/.netrc"}},
		{"no such directory", "git+" + g.URL + "#subdirectory=py", []string{"r.tar", "py"}},
		{"another project", "x @ git+" + g.URL, []string{`"r"`, "write r @"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h.write("raybuild.yaml", shortRecipe(`pip: ["`+tt.pip+`"]`))
			h.refused(1, tt.want, "lock")
		})
	}
}
