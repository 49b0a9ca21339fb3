package uv_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/uv"
)

func ask(t *testing.T, r *uv.Resolver, q uv.Question) (*uv.Answer, error) {
	t.Helper()
	if q.Target.Python == "" {
		q.Target = target()
	}
	return r.Resolve(t.Context(), q)
}

func TestResolveTellsFiles(t *testing.T) {
	i := newIndex(t)
	sum := i.wheel(t, "b", "2", "c>=1; platform_machine == 'x86_64' and python_full_version == '3.11.9'",
		"never; sys_platform == 'darwin' or python_version < '3.11'")
	i.add("", "c-1.5-cp311-cp311-manylinux_2_34_x86_64.whl", wheelBytes(t, "c", "1.5"), nil)
	i.add("", "c-1.5-cp311-cp311-manylinux_2_17_x86_64.whl", wheelBytes(t, "c", "1.5"), nil)
	i.add("", "c-1.6-cp311-cp311-manylinux_2_36_x86_64.whl", wheelBytes(t, "c", "1.6"), nil)
	i.add("", "c-1.7-cp311-cp311-macosx_11_0_arm64.whl", wheelBytes(t, "c", "1.7"), nil)
	i.add("", "c-1.8-py3-none-any.whl", wheelBytes(t, "c", "1.8"), map[string]any{"requires-python": ">=3.12"})
	i.add("", "c-1.9-py3-none-any.whl", wheelBytes(t, "c", "1.9"), map[string]any{"yanked": "broken"})
	i.add("", "c-2.0rc1-py3-none-any.whl", wheelBytes(t, "c", "2.0rc1"), nil)
	dir := t.TempDir()
	r := i.resolver(t, dir)
	a, err := ask(t, r, uv.Question{Requirements: []string{"B"}})
	if err != nil {
		t.Fatal(err)
	}
	if found(a) != "b 2, c 1.5" {
		t.Fatal(found(a))
	}
	b, c := a.Packages[0], a.Packages[1]
	if b.SHA256 != sum || b.Size == 0 || b.Filename != "b-2-py3-none-any.whl" || b.Sdist || b.Path != "" ||
		!strings.HasPrefix(b.URL, "https://files.pythonhosted.org/packages/") {
		t.Errorf("%+v", b)
	}
	if c.Filename != "c-1.5-cp311-cp311-manylinux_2_34_x86_64.whl" {
		t.Errorf("%+v", c)
	}
	if left := leftIn(t, dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	q := uv.Question{Requirements: []string{"b"}}
	q.Target = target()
	q.Target.Platform = "linux/arm64"
	if a, err := ask(t, r, q); err != nil || found(a) != "b 2" {
		t.Errorf("%s, %v", found(a), err)
	}
	if a, err := ask(t, r, uv.Question{Requirements: []string{"c==1.9"}}); err != nil || found(a) != "c 1.9" ||
		!strings.Contains(fmt.Sprint(a.Warnings), "yanked") {
		t.Errorf("%s, %v, %v", found(a), a, err)
	}
	if a, err := ask(t, r, uv.Question{Requirements: []string{"c>=2.0rc1"}}); err != nil || found(a) != "c 2.0rc1" {
		t.Errorf("%s, %v", found(a), err)
	}
}

func TestResolveTakesOwnProjectsFromTheirIndexAlone(t *testing.T) {
	i := newIndex(t)
	i.wheel(t, "our_lib", "99")
	i.wheel(t, "a", "1", "our-lib")
	i.wheel(t, "dep", "1")
	i.add("/own", "our_lib-1-py3-none-any.whl", wheelBytes(t, "our_lib", "1", "dep"), nil)
	i.add("/own", "dep-99-py3-none-any.whl", wheelBytes(t, "dep", "99"), nil)
	dir := t.TempDir()
	r := i.resolver(t, dir)
	if a, err := ask(t, r, uv.Question{Requirements: []string{"a"}}); err != nil || found(a) != "a 1, our-lib 99" {
		t.Fatalf("%s, %v", found(a), err)
	}
	i.requests()
	q := uv.Question{Requirements: []string{"a"}, Projects: map[string]string{"Our_Lib": "http://own.example/simple/"}}
	a, err := ask(t, r, q)
	if err != nil || found(a) != "a 1, dep 1, our-lib 1" {
		t.Fatalf("%s, %v", found(a), err)
	}
	if u := a.Packages[2].URL; !strings.HasPrefix(u, "http://own.example/packages/") {
		t.Error(u)
	}
	if asked := i.requests(); !asksFor(asked, "/own/simple/our-lib/") || slices.Contains(asked, "/simple/our-lib/") {
		t.Errorf("asked for %v", asked)
	}
	q.Projects = map[string]string{"our-lib": "http://own.example/simple", "a": "http://own.example/simple"}
	_, err = ask(t, r, q)
	none, ok := errors.AsType[*uv.NoSolutionError](err)
	if !ok || !strings.Contains(none.Error(), "a was not found") {
		t.Errorf("a project that its own index does not have: %v", err)
	}
	for _, p := range i.requests() {
		if p == "/simple/our-lib/" || p == "/simple/a/" {
			t.Errorf("PyPI was asked for %s", p)
		}
	}
}

func TestResolveHoldsOldVersions(t *testing.T) {
	i := newIndex(t)
	i.wheel(t, "a", "1", "b")
	i.wheel(t, "b", "1")
	dir := t.TempDir()
	old, err := ask(t, i.resolver(t, dir), uv.Question{Requirements: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	r := i.resolver(t, dir) // a resolver sees one state of the index
	i.wheel(t, "a", "2", "b")
	i.wheel(t, "b", "2")
	i.wheel(t, "c", "1", "b")
	i.wheel(t, "c", "2", "b>=2")
	i.requests()
	q := uv.Question{Requirements: []string{"a", "c<2"}, Held: append(held(old), uv.Held{Name: "gone", Version: "1"})}
	a, err := ask(t, r, q)
	if err != nil || found(a) != "a 1, b 1, c 1" || fmt.Sprint(a.Dropped) != "[gone]" || a.Requests != 2 {
		t.Errorf("%s, %+v, %v", found(a), a, err)
	}
	if asked := i.requests(); asksFor(asked, "/simple/a") || asksFor(asked, "/simple/b") {
		t.Errorf("asked for %v", asked)
	}
	q.Upgrade = []string{"A"}
	if a, err := ask(t, r, q); err != nil || found(a) != "a 2, b 1, c 1" {
		t.Errorf("%s, %v", found(a), err)
	}
	q.Upgrade, q.Requirements = nil, []string{"a", "c==2"}
	if a, err := ask(t, r, q); err != nil || found(a) != "a 1, b 2, c 2" || fmt.Sprint(a.Dropped) != "[b gone]" {
		t.Errorf("%s, %v, %v", found(a), a, err)
	}
	q.Requirements = []string{"a", "c"}
	for n := range q.Held {
		q.Held[n].URL = "" // an old lock that does not say where its files are
	}
	if a, err := ask(t, r, q); err != nil || !strings.HasPrefix(found(a), "a 1, b ") {
		t.Errorf("%s, %v", found(a), err)
	}
	if a, err := ask(t, r, uv.Question{Held: held(old)}); err != nil || found(a) != "" || len(a.Dropped) != 2 {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestResolveLeavesOutWhatIsInstalled(t *testing.T) {
	i := newIndex(t)
	i.wheel(t, "a", "1", "setuptools>=40", "pip", "b[x]")
	i.wheel(t, "setuptools", "80")
	i.wheel(t, "extra", "1")
	r := i.resolver(t, t.TempDir())
	there := []uv.Installed{{Name: "setuptools", Version: "66.1.1"}, {Name: "Pip", Version: "23.0+local"},
		{Name: "odd", Version: "unknown"},
		{Name: "unused", Version: "1"}, {Name: "b", Version: "3",
			Metadata: []byte(metadata("b", "3", `extra; extra == "x"`) + "Provides-Extra: x\n")}}
	a, err := ask(t, r, uv.Question{Requirements: []string{"a"}, Installed: there})
	if err != nil || found(a) != "a 1, extra 1" {
		t.Errorf("%s, %v", found(a), err)
	}
	if asked := i.requests(); asksFor(asked, "/simple/setuptools") || asksFor(asked, "/simple/b") {
		t.Errorf("asked for %v", asked)
	}
	_, err = ask(t, r, uv.Question{Requirements: []string{"a", "setuptools>=70"}, Installed: there})
	if none, ok := errors.AsType[*uv.NoSolutionError](err); !ok || !strings.Contains(none.Error(), "setuptools>=70") ||
		!strings.Contains(none.Error(), "the environment has setuptools 66.1.1") {
		t.Errorf("got %v", err)
	}
}

func TestResolveTakesLocalWheels(t *testing.T) {
	i := newIndex(t)
	i.wheel(t, "dep", "1")
	i.wheel(t, "ours", "9")
	dir := filepath.Join(t.TempDir(), "a dir % #")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "ours-1+local-py3-none-any.whl")
	if err := os.WriteFile(path, wheelBytes(t, "ours", "1+local", "dep"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := ask(t, i.resolver(t, t.TempDir()), uv.Question{Wheels: []string{path}, Requirements: []string{"ours[x]"}})
	if err != nil || found(a) != "dep 1, ours 1+local" || a.Packages[1].Path != path || a.Packages[1].URL != "" ||
		len(a.Packages[1].SHA256) != 64 {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestResolveEnforcesHashes(t *testing.T) {
	i := newIndex(t)
	sum := i.wheel(t, "a", "1")
	i.add("", "a-1-cp311-cp311-manylinux_2_17_x86_64.whl", wheelBytes(t, "a", "1", "evil"), nil)
	i.wheel(t, "evil", "1")
	r := i.resolver(t, t.TempDir())
	q := uv.Question{Requirements: []string{"a==1"},
		Hashes: map[string][]string{"A": {"sha256:" + strings.ToUpper(sum)}}}
	if a, err := ask(t, r, q); err != nil || a.Packages[0].SHA256 != sum {
		t.Errorf("%+v, %v", a, err)
	}
	q.Hashes = map[string][]string{"a": {"sha256:" + strings.Repeat("0", 64)}}
	_, err := ask(t, r, q)
	if wrong, ok := errors.AsType[*uv.HashError](err); !ok || wrong.Name != "a" || len(wrong.Files) != 2 {
		t.Errorf("got %v", err)
	}
}

func TestResolveBuildsNothing(t *testing.T) {
	i := newIndex(t)
	i.add("", "docopt-0.6.2.tar.gz", sdistBytes(t, "docopt", "0.6.2"), nil)
	i.wheel(t, "a", "1", "docopt")
	i.wheel(t, "setuptools", "80")
	dir := t.TempDir()
	_, err := ask(t, i.resolver(t, dir), uv.Question{Requirements: []string{"a"}})
	if build, ok := errors.AsType[*uv.NeedsBuildError](err); !ok || build.Name != "docopt" || build.Version != "0.6.2" {
		t.Errorf("got %v", err)
	}
	if left := leftIn(t, dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if asksFor(i.requests(), "setuptools") {
		t.Error("uv looked for what builds it")
	}
}

func TestResolveExplains(t *testing.T) {
	i := newIndex(t)
	i.wheel(t, "a", "1", "b<2")
	i.wheel(t, "b", "1")
	i.wheel(t, "b", "2")
	r := i.resolver(t, t.TempDir())
	for line, want := range map[string]string{
		"b>=3":    "no versions satisfy a, b>=3:\nBecause ",
		"nowhere": "no versions satisfy nowhere:\nBecause nowhere was not found in the package registry",
		"b == 2":  "no versions satisfy a, b==2:\nBecause all versions of a depend on b<2 and you require a, ",
	} {
		_, err := ask(t, r, uv.Question{Requirements: []string{"a", line}})
		none, ok := errors.AsType[*uv.NoSolutionError](err)
		if !ok || !strings.HasPrefix(none.Error(), want) || strings.Count(none.Error(), "\n") > 12 {
			t.Errorf("%s: %v", line, err)
		}
	}
	i.fail = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/simple/b") {
			http.Error(w, "ill", http.StatusServiceUnavailable)
			return true
		}
		return false
	}
	_, err := ask(t, i.resolver(t, t.TempDir()), uv.Question{Requirements: []string{"a"}})
	if ill, ok := errors.AsType[*uv.NetworkError](err); !ok ||
		!strings.Contains(ill.Error(), "https://pypi.org/simple/b/") {
		t.Errorf("got %v", err)
	}
	for _, line := range []string{"-r /etc/passwd", "a @ https://o.example/a.whl", "./dir", "a\n--index-url http://x",
		"",
		"a --hash=sha256:00", "git+https://o.example/a", "${HOME}"} {
		if _, err := ask(t, r, uv.Question{Requirements: []string{line}}); err == nil ||
			!strings.Contains(err.Error(), "want a name with") {
			t.Errorf("%q: %v", line, err)
		}
	}
}

func TestResolveEndsWithItsContext(t *testing.T) {
	i := newIndex(t)
	gone := make(chan struct{})
	dir := t.TempDir()
	r := i.resolver(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	i.fail = func(_ http.ResponseWriter, r *http.Request) bool {
		cancel()
		<-gone
		return true
	}
	defer close(gone)
	start := time.Now()
	_, err := r.Resolve(ctx, uv.Question{Target: target(), Requirements: []string{"a"}})
	if !errors.Is(err, context.Canceled) || time.Since(start) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
	if left := leftIn(t, dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestResolveAfterKills: what a killed uv leaves in its cache breaks no other run, nor do runs at the same time.
func TestResolveAfterKills(t *testing.T) {
	i := newIndex(t)
	for n := range 20 {
		i.wheel(t, fmt.Sprintf("p%d", n), "1", fmt.Sprintf("p%d", n+1))
	}
	i.wheel(t, "p20", "1")
	dir := t.TempDir()
	r := i.resolver(t, dir)
	q := uv.Question{Target: target(), Requirements: []string{"p0"}}
	for n := range 8 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(5+n*8)*time.Millisecond)
		if _, err := r.Resolve(ctx, q); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		cancel()
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if a, err := r.Resolve(t.Context(), q); err != nil || len(a.Packages) != 21 {
				t.Errorf("%s, %v", found(a), err)
			}
		})
	}
	wg.Wait()
	if left := leftIn(t, dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestResolveTellsOfSdists(t *testing.T) {
	i := newIndex(t)
	i.add("", "old-1.tar.gz", sdistBytes(t, "old", "1"), nil)
	i.wheel(t, "old", "0.9")
	r := i.resolver(t, t.TempDir())
	q := uv.Question{Requirements: []string{"old"}, Held: []uv.Held{{Name: "old", Version: "1",
		URL: "https://files.pythonhosted.org/packages/old-1.tar.gz", SHA256: strings.Repeat("0", 64)}}}
	_, err := ask(t, r, q)
	if err == nil {
		t.Fatal("a source distribution was read without a build")
	}
	info := strings.Replace(metadata("static", "1", "old<1"), "2.1", "2.2", 1)
	i.add("", "static-1.tar.gz", sdistWith(t, "static", "1", info), nil)
	a, err := ask(t, r, uv.Question{Requirements: []string{"static"}})
	if err != nil || found(a) != "old 0.9, static 1" || !a.Packages[1].Sdist {
		t.Errorf("%+v, %v", a, err)
	}
	q.Upgrade, q.Requirements = []string{"old"}, []string{"old<1"}
	if a, err := ask(t, r, q); err != nil || found(a) != "old 0.9" {
		t.Errorf("%s, %v", found(a), err)
	}
}

// TestPreReleasesAreThoseOfPip: they count where nothing else satisfies a requirement, and where one names them.
func TestPreReleasesAreThoseOfPip(t *testing.T) {
	i := newIndex(t)
	i.wheel(t, "a", "1", "c>=2.0rc1")
	i.wheel(t, "b", "1", "c>=1.5")
	for _, v := range []string{"1", "2.0rc1", "2.1rc1"} {
		i.wheel(t, "c", v)
	}
	i.wheel(t, "d", "1.0b1")
	r := i.resolver(t, t.TempDir())
	for line, want := range map[string]string{
		"c": "c 1", "a": "a 1, c 2.1rc1", "b": "b 1, c 2.1rc1", "c>=2": "c 2.1rc1",
		"d": "d 1.0b1"} {
		if a, err := ask(t, r, uv.Question{Requirements: []string{line}}); err != nil || found(a) != want {
			t.Errorf("%s: %s, %v", line, found(a), err)
		}
	}
}
