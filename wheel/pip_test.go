package wheel

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/bytecode"
	"github.com/raybuild/raybuild/internal/testneeds"
)

// TestLayersEqualPips installs made wheels by the machine's own pip, and compares all files with those of their layer.
func TestLayersEqualPips(t *testing.T) {
	t.Parallel()
	testneeds.Long(t)
	dir, names := t.TempDir(), []string(nil)
	for name, data := range pipWheels(t) {
		file := filepath.Join(dir, name+"-1.0-py3-none-any.whl")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		names = append(names, file)
	}
	for _, venv := range []string{"venv", "a venv"} {
		equalsPips(t, venv, "--no-compile", Options{}, names...)
	}
}

// TestLayersOfRealWheelsEqualPips compares the wheels of the directory that RAYBUILD_TEST_WHEELS names.
func TestLayersOfRealWheelsEqualPips(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("RAYBUILD_TEST_WHEELS")
	if dir == "" {
		t.Skip("RAYBUILD_TEST_WHEELS names no directory of wheels")
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.whl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) { equalsPips(t, "venv", "--no-compile", Options{}, name) })
	}
}

// TestGroupsEqualPips installs several wheels, which overwrite each other's files, one after the other.
func TestGroupsEqualPips(t *testing.T) {
	t.Parallel()
	testneeds.Long(t)
	dir, names := t.TempDir(), []string(nil)
	shared := file{name: "space/__init__.py", data: "equal = True\n"}
	for name, data := range map[string][]byte{
		"one": makeWheel(t, "one", nil, shared, file{name: "space/both.py", data: "1\n", mode: 0o755},
			file{name: "implicit/one.py", data: "1\n"}, file{name: "one-1.0.data/scripts/tool", data: "#!python\n1\n"}),
		"two": makeWheel(t, "two", nil, shared, file{name: "space/both.py", data: "2\n"},
			file{name: "implicit/two.py", data: "2\n"}, file{name: "two-1.0.dist-info/entry_points.txt",
				data: "[console_scripts]\ntool = space.both:main\n"}),
	} {
		file := filepath.Join(dir, name+"-1.0-py3-none-any.whl")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		names = append(names, file)
	}
	slices.Sort(names)
	for _, order := range [][]string{names, {names[1], names[0]}} {
		venv := newVenv(t, "venv")
		for _, name := range order {
			venv.install(t, "--no-compile", name)
		}
		venv.compare(t, Options{}, order...)
	}
}

// TestByteCodeIsThatOfPip compares for which files there is byte code, and what RECORD says of it. pip's own holds the
// time of its source. pip makes some for files outside of the library, too.
func TestByteCodeIsThatOfPip(t *testing.T) {
	t.Parallel()
	testneeds.Long(t)
	name := filepath.Join(t.TempDir(), "code-1.0-py3-none-any.whl")
	data := makeWheel(t, "code", nil,
		file{name: "code/__init__.py", data: "a = 1\n"}, file{name: "code/größe.py", data: "b = 1\n"},
		file{name: "code/old.py", data: "print 'old'\n"}, file{name: "code/nul.py", data: "a = '\x00'\n"},
		file{name: "code/latin.py", data: "a = '\xe9'\n"}, file{name: "code/data.txt", data: "no source\n"},
		file{name: "code/.hidden.py", data: "c = 1\n"}, file{name: "code/two.dots.py", data: "d = 1\n"},
		file{name: "code-1.0.data/purelib/more.py", data: "e = 1\n"}, file{name: "code/test/of.py", data: "f = 1\n"},
		file{name: "code/tests.py", data: "g = 1\n"})
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := bytecode.Start(t.Context(), bytecode.Python{Path: testneeds.Python(t)}, bytecode.Options{Processes: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	equalsPips(t, "venv", "--compile", Options{Compiler: c}, name)
}

// equalsPips installs wheels into a virtual environment, and compares them with their layer.
func equalsPips(t *testing.T, name, compile string, o Options, names ...string) {
	t.Helper()
	venv := newVenv(t, name)
	venv.install(t, compile, names...)
	venv.compare(t, o, names...)
}

// venv is a virtual environment of the machine's Python.
type venv struct {
	dir, python, version string
	had                  map[string]string // before wheels were installed
}

func newVenv(t *testing.T, name string) venv {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	run(t, testneeds.Python(t), "-m", "venv", "--without-pip", dir)
	python := filepath.Join(dir, "bin", "python")
	version := strings.TrimSpace(run(t, python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"))
	return venv{dir, python, version, tree(t, dir)}
}

// install lets pip install wheels, which lie in one directory.
func (v venv) install(t *testing.T, compile string, names ...string) {
	t.Helper()
	var lines []byte
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		// pip names the directory of headers as the requirement does. The wheel is named by digest, as from an
		// index: one that is named by its path gets a direct_url.json.
		distribution := strings.Split(filepath.Base(name), "-")
		lines = fmt.Appendf(lines, "%s==%s --hash=sha256:%x\n", normalized(distribution[0]), distribution[1],
			sha256.Sum256(data))
	}
	requirements := filepath.Join(t.TempDir(), "requirements.txt")
	if err := os.WriteFile(requirements, lines, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, testneeds.Python(t), "-m", "pip", "--python", v.python, "install", "-q", "--no-deps", "--no-index", compile,
		"--find-links", filepath.Dir(names[0]), "-r", requirements)
}

// compare compares what was installed with the layer of wheels.
func (v venv) compare(t *testing.T, o Options, names ...string) {
	t.Helper()
	var wheels []*Wheel
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		wheels = append(wheels, open(t, data))
	}
	want := tree(t, v.dir)
	maps.DeleteFunc(want, func(p, _ string) bool { return v.had[p] != "" })
	var out bytes.Buffer
	l, err := Write(t.Context(), &out, Target{Prefix: v.dir, Python: v.version, Executable: v.python}, o, wheels...)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for place, f := range readLayer(t, l, &out) {
		if !strings.HasSuffix(place, "/") {
			got[strings.TrimPrefix(place, v.dir)] = describe(fs.FileMode(f.Mode), []byte(f.data))
		}
	}
	for place := range want {
		if strings.HasSuffix(place, ".pyc") && got[place] != "" {
			want[place] = got[place]
		}
	}
	compareTrees(t, got, want)
}

// compareTrees compares files. In a virtual environment headers have a place of their own; and RECORD's order is free.
func compareTrees(t *testing.T, got, want map[string]string) {
	t.Helper()
	for place := range want {
		if moved := strings.Replace(place, "/include/site/", "/include/", 1); moved != place {
			want[moved] = want[place]
			delete(want, place)
		}
	}
	for _, place := range slices.Sorted(maps.Keys(want)) {
		switch {
		case got[place] == "":
			t.Errorf("pip installs %s, and the layer lacks it", place)
		case got[place] != want[place] && !strings.HasSuffix(place, ".dist-info/RECORD"):
			t.Errorf("%s is %.300q, and pip's %.300q", place, got[place], want[place])
		case got[place] != want[place]:
			a, b := lines(got[place]), lines(strings.ReplaceAll(want[place], "/include/site/", "/include/"))
			if !slices.Equal(a, b) {
				t.Errorf("%s differs: the layer alone has %.800q, pip alone %.800q", place, without(a, b),
					without(b, a))
			}
		}
	}
	for place := range got {
		if want[place] == "" {
			t.Errorf("the layer has %s, and pip does not install it", place)
		}
	}
}

// lines are those of RECORD. pip's has a command twice that is one of console and of gui.
func lines(s string) []string {
	return slices.Compact(slices.Sorted(strings.Lines(strings.ReplaceAll(s, "\r\n", "\n"))))
}

func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

func run(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/bin/sh", append([]string{"-c", `umask 022; exec "$@"`, "sh"}, args...)...)
	cmd.Env = append(os.Environ(), "PIP_CONFIG_FILE=/dev/null", "PIP_DISABLE_PIP_VERSION_CHECK=1")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%q: %v\n%s%s", args, err, out.String(), errs.String())
	}
	return out.String()
}

// tree is what a directory holds: mode and content by path.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(p)
		out[strings.TrimPrefix(p, dir)] = describe(info.Mode(), data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// describe is a file's mode and content, as a digest if it is long.
func describe(mode fs.FileMode, data []byte) string {
	if len(data) > 1<<20 {
		return fmt.Sprintf("%v %d bytes %x", mode.Perm(), len(data), sha256.Sum256(data))
	}
	return fmt.Sprintf("%v %s", mode.Perm(), data)
}
