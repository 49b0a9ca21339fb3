package layers

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/testneeds"
)

// member is a file of a wheel that a test writes.
type member struct {
	name, data string
	mode       fs.FileMode
}

// bareReturns among a wheel's files makes its RECORD's lines end as those of old Macs did.
var bareReturns = member{name: "\r"}

// writeWheel writes a wheel with a RECORD of its files; those whose name begins with a dash are left out of it.
func writeWheel(t *testing.T, dir, name, version string, pure bool, files ...member) {
	t.Helper()
	info := name + "-" + version + ".dist-info/"
	tag := "py3-none-any"
	files = append(files,
		member{info + "METADATA", "Metadata-Version: 2.1\nName: " + name + "\nVersion: " + version + "\n", 0},
		member{info + "WHEEL", fmt.Sprintf("Wheel-Version: 1.0\nGenerator: test\n"+
			"Root-Is-Purelib: %v\nTag: %s\n", pure, tag), 0})
	f, err := os.Create(filepath.Join(dir, name+"-"+version+"-"+tag+".whl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := zip.NewWriter(f)
	record := ""
	add := func(m member) {
		h := &zip.FileHeader{Name: m.name, Method: zip.Deflate}
		h.SetMode(max(m.mode, 0o644))
		in, err := w.CreateHeader(h)
		if err == nil {
			_, err = in.Write([]byte(m.data))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	end := "\n"
	for _, m := range files {
		if m == bareReturns {
			end = "\r"
			continue
		}
		unlisted := strings.HasPrefix(m.name, "-")
		m.name = strings.TrimPrefix(m.name, "-")
		add(m)
		if !unlisted {
			sum := sha256.Sum256([]byte(m.data))
			field := m.name
			if strings.ContainsAny(field, `,"`) {
				field = `"` + strings.ReplaceAll(field, `"`, `""`) + `"`
			}
			record += fmt.Sprintf("%s,sha256=%s,%d\n", field, base64.RawURLEncoding.EncodeToString(sum[:]), len(m.data))
		}
	}
	add(member{info + "RECORD", strings.ReplaceAll(record+info+"RECORD,,\n", "\n", end), 0})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// venv makes a virtual environment of the machine's own Python; its Python and pip are what people use.
func venv(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if out, err := exec.CommandContext(t.Context(), "python3", "-m", "venv", dir).CombinedOutput(); err != nil {
		testneeds.Skip(t, fmt.Sprintf("python3 -m venv: %v\n%s", err, out))
	}
	return dir
}

// tree is what a directory holds: mode and content by path.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(p)
		out[strings.TrimPrefix(p, dir)] = fmt.Sprintf("%v %s", info.Mode(), data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func runPython(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/bin/sh", append([]string{"-c", `umask 022; exec "$@"`, "sh"}, args...)...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + t.TempDir(), "PYTHONHASHSEED=0", "LC_ALL=C.UTF-8",
		"PIP_CONFIG_FILE=/dev/null"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// requirementsOf names wheels by digest, as from an index: a wheel that is named by its path gets a direct_url.json.
func requirementsOf(t *testing.T, wheels string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(wheels, "*.whl"))
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, n := range names {
		data, err := os.ReadFile(n)
		if err != nil {
			t.Fatal(err)
		}
		part := strings.Split(filepath.Base(n), "-")
		// names pip's directory of headers
		name := strings.ToLower(strings.NewReplacer("_", "-", ".", "-").Replace(part[0]))
		text += fmt.Sprintf("%s==%s --hash=sha256:%x\n", name, part[1], sha256.Sum256(data))
	}
	file := filepath.Join(t.TempDir(), "requirements.txt")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// compareWithPip installs wheels by our program and by pip, which python finds on path, and compares every file
// but the byte code. It returns what our program said and the paths of its byte code.
func compareWithPip(t *testing.T, python, path, wheels string, complete bool) (said string, code []string) {
	t.Helper()
	theirs, ours := filepath.Join(t.TempDir(), "pip"), filepath.Join(t.TempDir(), "ours")
	out, err := runPython(t, "env", "PYTHONPATH="+path, python, "-m", "pip", "install", "-q", "--root", theirs, "-r",
		requirementsOf(t, wheels),
		"--require-hashes", "--no-index", "--find-links", wheels, "--no-deps", "--ignore-installed", "--no-compile",
		"--no-cache-dir",
		"--disable-pip-version-check", "--no-warn-script-location")
	if err != nil {
		t.Fatalf("pip install: %v\n%s", err, out)
	}
	said, err = runPython(t, python, "-c", wheelInstallProgram, wheels, ours)
	if want := map[bool]int{true: 0, false: 3}[complete]; exitCode(err) != want { // 3: a file has no byte code
		t.Fatalf("wheel-install ends with %v, want exit code %d\n%s", err, want, said)
	}
	want, got := tree(t, theirs), tree(t, ours)
	for name := range got {
		if strings.HasSuffix(name, ".pyc") {
			code = append(code, filepath.Join(ours, name))
			delete(got, name)
		}
	}
	for _, name := range slices.Sorted(mapKeys(want, got)) {
		if want[name] != got[name] {
			t.Errorf("%s\npip:  %q\nours: %q", name, want[name], got[name])
		}
	}
	return said, code
}

// TestWheelsAreInstalledAsPipDoes installs wheels by our program and by pip, and compares every file.
func TestWheelsAreInstalledAsPipDoes(t *testing.T) {
	t.Parallel()
	testneeds.Long(t)
	wheels := t.TempDir()
	writeWheel(t, wheels, "plain", "1.0", true,
		member{"plain/__init__.py", "x = 1\n", 0}, member{"plain/tool.sh", "#!/bin/sh\n", 0o755},
		member{"plain/a,b.txt", "comma\n", 0}, member{`plain/"q".txt`, "quote\n", 0}, member{"plain/empty", "", 0})
	writeWheel(t, wheels, "Up_per.Case", "2.0", false,
		member{"upper.py", "def f(): return {'a', 'b', 'c'}\n", 0},
		member{"Up_per.Case-2.0.data/scripts/fix-me", "#!python -u\nprint(1)\n", 0o755},
		member{"Up_per.Case-2.0.data/scripts/keep-me", "#!/bin/sh\necho 1\n", 0o644},
		member{"-Up_per.Case-2.0.data/scripts/unlisted", "#!python", 0o755},
		member{"Up_per.Case-2.0.data/purelib/other/__init__.py", "", 0},
		member{"Up_per.Case-2.0.data/platlib/third.py", "y = 2\n", 0},
		member{"Up_per.Case-2.0.data/data/share/doc/x.txt", "text\n", 0})
	writeWheel(t, wheels, "commands", "3.1", true,
		member{"commands.py", "class A:\n    @staticmethod\n    def run(): pass\ndef main(): pass\n", 0},
		member{"commands-3.1.dist-info/entry_points.txt", "# a comment\n[console_scripts]\nzeta = commands:main\n" +
			"alpha=commands:A.run [extra]\n\n[gui_scripts]\nwindow = commands:main\n\n[other]\n" +
			"no = commands:main\n", 0},
		member{"commands-3.1.data/scripts/zeta", "#!python\nold wrapper\n", 0o755},
		member{"-commands-3.1.dist-info/unlisted.txt", "not in RECORD\n", 0},
		member{"broken.py", "this is no python\n", 0}, member{"nul.py", "x = '\x00'\n", 0},
		member{"latin.py", "x = '\xe9'\n", 0})
	python := filepath.Join(venv(t, "venv"), "bin/python")
	said, code := compareWithPip(t, python, "", wheels, false)
	for _, name := range []string{"broken.py", "nul.py", "latin.py"} {
		if !strings.Contains(said, "site-packages/"+name+": ") {
			t.Errorf("it does not name %s as a file without byte code: %s", name, said)
		}
	}
	if n := strings.Count("\n"+said, "\n*** "); n != 3 || len(code) != 5 {
		t.Errorf("%d files have byte code and %d are said to have none, want 5 and 3\n%s", len(code), n, said)
	}
}

// TestOddWheelsAreInstalledAsPipDoes has what wheels seldom have: names that are not clean, files that come twice,
// a RECORD of an old Mac, the commands that pip names by python's version, and a python whose name has a space.
func TestOddWheelsAreInstalledAsPipDoes(t *testing.T) {
	t.Parallel()
	testneeds.Long(t)
	wheels := t.TempDir()
	writeWheel(t, wheels, "names", "1", true,
		member{"a/../x.py", "x = 1\n", 0}, member{`back\slash.txt`, "text\n", 0},
		member{"./dot//twice.txt", "text\n", 0},
		member{"names-1.data/scripts//etc/passwd", "#!python\n", 0o755},
		member{"names-1.data/data/share/../etc/conf", "text\n", 0},
		member{"names-1.data/scripts/../purelib/moved", "#!python\nmoved\n", 0},
		member{"names-1.dist-info/INSTALLER", "somebody\n", 0})
	writeWheel(t, wheels, "twice", "1", true,
		member{"twice-1.data/scripts/same", "#!python\nscript\n", 0o755},
		member{"twice-1.data/purelib/twice.py", "it = 'data'\n", 0},
		member{"twice-1.data/data/bin/same", "data\n", 0},
		member{"twice.py", "it = 'root'\n", 0})
	writeWheel(t, wheels, "returns", "1", true, member{"returns.py", "", 0},
		member{"returns.txt", "text\n", 0}, bareReturns)
	entries := "[console_scripts]\npip = old.cli:main\npip3 = old:x\npip9.9 = old:x\npipx = old:x\n" +
		"easy_install = old.easy:main\neasy_install-2.7 = old:x\n"
	writeWheel(t, wheels, "old", "1", true,
		member{"old.py", "", 0}, member{"old-1.dist-info/entry_points.txt", entries, 0},
		member{"old-1.data/scripts/pip9.9", "#!python\nold wrapper\n", 0o755},
		member{"old-1.data/scripts/easy_install-2.7", "#!python\nold wrapper\n", 0o755})
	compareWithPip(t, filepath.Join(venv(t, "a venv"), "bin/python"), "", wheels, true)
}

// TestHeadersAreInstalledAsPipDoes is for a python that is no virtual environment, as those of images are not: in one,
// pip has a place of its own for headers, include/site/pythonX.Y, that sysconfig does not know. pip comes from a venv.
func TestHeadersAreInstalledAsPipDoes(t *testing.T) {
	t.Parallel()
	testneeds.Long(t)
	dir := venv(t, "venv")
	sites, err := filepath.Glob(filepath.Join(dir, "lib/python*/site-packages"))
	if err != nil || len(sites) != 1 {
		t.Fatalf("find the venv's library: %v, %v", sites, err)
	}
	wheels := t.TempDir()
	writeWheel(t, wheels, "Head_ers.Of", "1", true, member{"heads.py", "", 0},
		member{"Head_ers.Of-1.data/headers/a/b.h", "int x;\n", 0},
		member{"Head_ers.Of-1.data/scripts/run", "#!python\n", 0o755})
	compareWithPip(t, testneeds.Python(t), sites[0], wheels, true)
}

// exitCode is 0 for no error, and -1 for one that is no program's.
func exitCode(err error) int {
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		return -1
	}
	return 0
}

func mapKeys(maps ...map[string]string) func(func(string) bool) {
	seen := map[string]bool{}
	return func(yield func(string) bool) {
		for _, m := range maps {
			for k := range m {
				if !seen[k] && !yield(k) {
					return
				}
				seen[k] = true
			}
		}
	}
}

// TestByteCodeIsTheSameEverywhere installs the same wheels twice, at different times.
func TestByteCodeIsTheSameEverywhere(t *testing.T) {
	t.Parallel()
	wheels := t.TempDir()
	writeWheel(t, wheels, "one", "1", true, member{"one.py", "def f(a): return a in {'x', 'y', 'z', 1, 2}\n", 0})
	writeWheel(t, wheels, "two", "1", true, member{"two.py", "from one import f\nNAMES = {'x': 1, 'two': f}\n", 0})
	var all []map[string]string
	for range 2 {
		out := filepath.Join(t.TempDir(), "out")
		if said, err := runPython(t, "python3", "-c", wheelInstallProgram, wheels, out); err != nil {
			t.Fatalf("wheel-install: %v\n%s", err, said)
		}
		all = append(all, tree(t, out))
	}
	for name, was := range all[0] {
		if all[1][name] != was {
			t.Errorf("%s differs from one install to the next", name)
		}
	}
}

// TestBadWheelsAreRefused: no file of a wheel gets outside of where it belongs, and what cannot be installed is named.
func TestBadWheelsAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file member
		want string
	}{
		"above":           {member{"../../evil.py", "", 0}, "evil.py"},
		"absolute":        {member{"/tmp/evil.py", "", 0}, "evil.py"},
		"above by data":   {member{"bad-1.data/scripts/../../../evil", "", 0}, "evil"},
		"above the root":  {member{"a/../../evil.py", "", 0}, "evil.py"},
		"beside the root": {member{"../site-packages-evil/x.py", "", 0}, "outside of"},
		"the root itself": {member{"a/..", "", 0}, "outside of"},
		"no kind":         {member{"bad-1.data/evil", "", 0}, "evil"},
		"kind's parent":   {member{"bad-1.data/../../../purelib/evil", "", 0}, "evil"},
		"unknown scheme":  {member{"bad-1.data/elsewhere/evil", "", 0}, "evil"},
		"two infos":       {member{"other-1.dist-info/METADATA", "", 0}, "2 .dist-info directories"},
		"no call": {member{"bad-1.dist-info/entry_points.txt", "[console_scripts]\nx = bad\n", 0},
			"entry point 'x = bad'"},
		"script's path": {member{"bad-1.dist-info/entry_points.txt", "[console_scripts]\n../x = bad:f\n", 0},
			"entry point"},
	} {
		t.Run(name, func(t *testing.T) {
			wheels, out := t.TempDir(), filepath.Join(t.TempDir(), "deep/er/out")
			writeWheel(t, wheels, "bad", "1", true, c.file)
			said, err := runPython(t, "python3", "-c", wheelInstallProgram, wheels, out)
			if err == nil || !strings.Contains(said, c.want) ||
				!strings.Contains(said, "install wheel bad-1-py3-none-any.whl") {
				t.Errorf("got %v and %q, want an error with %q and the wheel's name", err, said, c.want)
			}
		})
	}
}
