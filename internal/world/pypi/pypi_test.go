package pypi_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/raybuild/raybuild/internal/testneeds"
	"github.com/raybuild/raybuild/internal/world/mirror"
	"github.com/raybuild/raybuild/internal/world/pypi"
)

var rayFS = fstest.MapFS{
	"__init__.py":         {Data: []byte("from ray._version import version as __version__\n")},
	"embed.go":            {Data: []byte("package ray")},
	"scripts/__init__.py": {},
	"scripts/scripts.py":  {Data: []byte("import ray\ndef main():\n    print('ray, version ' + ray.__version__)\n")},
}

// made is what the tests that only read share.
var made struct {
	once          sync.Once
	dir           string
	public, extra *pypi.Index
	err           error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if err := os.RemoveAll(made.dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func makeIndex(t *testing.T) (public, extra *pypi.Index) {
	t.Helper()
	made.once.Do(func() {
		//nolint:usetesting // it outlives the first test
		if made.dir, made.err = os.MkdirTemp("", "raybuild-world-"); made.err == nil {
			made.public, made.extra, made.err = pypi.Make(context.Background(), made.dir, options())
		}
	})
	if made.err != nil {
		t.Fatal(made.err)
	}
	return made.public, made.extra
}

func options() pypi.Options {
	return pypi.Options{RayVersions: []string{"2.51.1", "2.52.0"}, Ray: rayFS}
}

func TestWheelsHaveTrueRecords(t *testing.T) {
	public, _ := makeIndex(t)
	for _, f := range public.Files {
		if !strings.HasSuffix(f.Name, ".whl") {
			continue
		}
		t.Run(f.Name, func(t *testing.T) {
			zr, err := zip.OpenReader(filepath.Join(public.Dir, "packages", f.Path))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = zr.Close() }()
			sums := map[string]string{}
			var record string
			for _, zf := range zr.File {
				r, err := zf.Open()
				if err != nil {
					t.Fatal(err)
				}
				data, err := io.ReadAll(r)
				if err != nil {
					t.Fatal(err)
				}
				if strings.HasSuffix(zf.Name, ".go") {
					t.Errorf("Go file %s in the wheel", zf.Name)
				}
				if strings.HasSuffix(zf.Name, "/RECORD") {
					record = string(data)
					continue
				}
				sum := sha256.Sum256(data)
				sums[zf.Name] = fmt.Sprintf("sha256=%s,%d", base64.RawURLEncoding.EncodeToString(sum[:]), len(data))
			}
			for line := range strings.Lines(record) {
				name, rest, _ := strings.Cut(strings.TrimSpace(line), ",")
				if rest != "," && sums[name] != rest {
					t.Errorf("RECORD says %q of %s, which is %q", rest, name, sums[name])
				}
				delete(sums, name)
			}
			if len(sums) != 0 {
				t.Errorf("not in RECORD: %v", sums)
			}
		})
	}
}

func TestTwoMakesGiveTheSameBytes(t *testing.T) {
	a, _ := makeIndex(t)
	b, _, err := pypi.Make(t.Context(), t.TempDir(), options())
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Files) < 90 || len(a.Files) != len(b.Files) {
		t.Fatalf("%d and %d files", len(a.Files), len(b.Files))
	}
	for i := range a.Files {
		if a.Files[i] != b.Files[i] {
			t.Errorf("%+v and %+v", a.Files[i], b.Files[i])
		}
	}
}

func TestRequirementsSpellProjectsAsTheyAre(t *testing.T) {
	public, _ := makeIndex(t)
	spelled := map[string]string{}
	requires := map[string][]string{}
	for _, f := range public.Files {
		data, err := os.ReadFile(filepath.Join(public.Dir, "packages", f.Path+".metadata"))
		if err != nil {
			continue // an sdist, or a project without metadata in the index
		}
		for line := range strings.Lines(string(data)) {
			if v, ok := strings.CutPrefix(line, "Name: "); ok {
				spelled[f.Project] = strings.TrimSpace(v)
			}
			if v, ok := strings.CutPrefix(line, "Requires-Dist: "); ok {
				name := strings.FieldsFunc(v, func(r rune) bool { return strings.ContainsRune(" <>=!~;[\n", r) })[0]
				requires[f.Name] = append(requires[f.Name], name)
			}
		}
	}
	if len(spelled) < 80 {
		t.Fatalf("%d projects with metadata", len(spelled))
	}
	for file, names := range requires {
		for _, n := range names {
			if want, ok := spelled[pypi.Normal(n)]; ok && want != n && file != "no-metadata-pkg-1.0-py3-none-any.whl" {
				t.Errorf("%s needs %q, which is spelled %q", file, n, want)
			} else if !projects(public)[pypi.Normal(n)] {
				t.Errorf("%s needs %q, which is not there", file, n)
			}
		}
	}
}

func projects(i *pypi.Index) map[string]bool {
	out := map[string]bool{}
	for _, f := range i.Files {
		out[f.Project] = true
	}
	return out
}

func TestNoiseIsStableAndIncompressible(t *testing.T) {
	one, _ := io.ReadAll(pypi.Noise("x", 1000))
	two, _ := io.ReadAll(pypi.Noise("x", 1000))
	other, _ := io.ReadAll(pypi.Noise("y", 1000))
	if len(one) != 1000 || !bytes.Equal(one, two) || bytes.Equal(one, other) {
		t.Error("noise depends on something else than its seed")
	}
}

func TestNormal(t *testing.T) {
	for in, want := range map[string]string{"aiohttp_cors": "aiohttp-cors", "A--b._c": "a-b-c",
		"tensorboardX": "tensorboardx"} {
		if got := pypi.Normal(in); got != want {
			t.Errorf("Normal(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestIndexRedirectsToNormalNames(t *testing.T) {
	public, extra := makeIndex(t)
	srv := httptest.NewServer(mirror.New(map[string]http.Handler{"pypi": public, "extra": extra}))
	defer srv.Close()
	for _, p := range []string{"/pypi/simple/Aiohttp_Cors/", "/pypi/simple/aiohttp_cors", "/pypi/simple/aiohttp-cors"} {
		resp, err := http.Get(srv.URL + p)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 200 || resp.Request.URL.Path != "/pypi/simple/aiohttp-cors/" {
			t.Errorf("GET %s ends at %s with %d", p, resp.Request.URL.Path, resp.StatusCode)
		}
	}
}

// pipEnv is a venv of the machine's own Python, and a function that runs a program of it.
func pipEnv(t *testing.T) func(wantOK bool, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("python3", "-m", "venv", dir).CombinedOutput(); err != nil {
		testneeds.Skip(t, fmt.Sprintf("python3 -m venv: %v\n%s", err, out))
	}
	return func(wantOK bool, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(context.WithoutCancel(t.Context()), filepath.Join(dir, "bin", args[0]), args[1:]...)
		cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + t.TempDir(), "PIP_DISABLE_PIP_VERSION_CHECK=1",
			"PIP_NO_CACHE_DIR=1"}
		out, err := cmd.CombinedOutput()
		if (err == nil) != wantOK {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return string(out)
	}
}

func TestRealPipInstallsStandInsFromTheIndex(t *testing.T) {
	testneeds.Long(t)
	public, extra := makeIndex(t)
	m := mirror.New(map[string]http.Handler{"pypi": public, "extra": extra})
	srv := httptest.NewServer(m)
	defer srv.Close()
	index := srv.URL + "/pypi/simple"
	run := pipEnv(t)
	t.Run("ray with default and tune", func(t *testing.T) {
		run(true, "pip", "install", "-q", "--only-binary", ":all:", "--python-version", "3.11", "--platform",
			"manylinux_2_28_x86_64", "--platform", "manylinux2014_x86_64", "--target", t.TempDir(), "-i", index,
			"ray[default,tune]")
		run(true, "pip", "install", "-q", "-i", index, "--no-deps", "ray==2.51.1")
		if out := run(true, "ray"); out != "ray, version 2.51.1\n" {
			t.Errorf("ray says %q", out)
		}
	})
	t.Run("own index", func(t *testing.T) {
		run(true, "pip", "install", "-q", "-i", index, "--extra-index-url", srv.URL+"/extra/simple", "world-extra")
	})
	t.Run("another platform's wheel is not found", func(t *testing.T) {
		if out := run(false, "pip", "install", "-i", index, "wrong-platform"); !strings.Contains(out,
			"No matching distribution") {
			t.Error(out)
		}
	})
	t.Run("conflict is told", func(t *testing.T) {
		if out := run(false, "pip", "install", "-i", index, "conflicting-pkg",
			"requests>=2.30"); !strings.Contains(out, "conflict") {
			t.Error(out)
		}
	})
	t.Run("a lying index is caught by pip", func(t *testing.T) {
		if err := m.Fault(mirror.Fault{Match: `six-.*whl$`, Mode: "lying"}); err != nil {
			t.Fatal(err)
		}
		if out := run(false, "pip", "install", "-i", index, "--force-reinstall",
			"six"); !strings.Contains(out, "HASH") {
			t.Error(out)
		}
	})
}
