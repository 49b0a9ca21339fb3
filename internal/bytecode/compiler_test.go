package bytecode

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/testneeds"
)

// pythons are the interpreters that tests run: the machine's own, and those that RAYBUILD_TEST_PYTHONS lists, with
// colons between them.
func pythons(t testing.TB) []string {
	t.Helper()
	all := []string{testneeds.Python(t)}
	if more := os.Getenv("RAYBUILD_TEST_PYTHONS"); more != "" {
		all = append(all, strings.Split(more, ":")...)
	}
	return all
}

type source struct {
	path string
	data []byte
}

// sources are files to compile: some of the interpreter's own library, and all of the wheels in the directory that
// RAYBUILD_TEST_WHEELS names.
func sources(t testing.TB, python string) []source {
	t.Helper()
	lib, err := exec.CommandContext(t.Context(), python, "-c",
		"import os; print(os.path.dirname(os.__file__))").Output()
	if err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(lib)), "[a-f]*.py"))
	if err != nil || len(names) < 10 {
		t.Fatalf("%d sources of %s: %v", len(names), lib, err)
	}
	var all []source
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, source{"/opt/x/lib/" + filepath.Base(name), data})
	}
	all = append(all, source{"/opt/x/größe.py", []byte("# coding: latin-1\ns = '\xe9', {'a', 'b', None}, '{', ''\n")})
	wheels := os.Getenv("RAYBUILD_TEST_WHEELS")
	if wheels == "" {
		return all
	}
	files, err := filepath.Glob(filepath.Join(wheels, "*.whl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		all = append(all, ofWheel(t, file)...)
	}
	return all
}

func ofWheel(t testing.TB, file string) (all []source) {
	t.Helper()
	r, err := zip.OpenReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, f := range r.File {
		if !strings.HasSuffix(f.Name, ".py") {
			continue
		}
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, source{"/opt/x/" + f.Name, data})
	}
	return all
}

// compileAll compiles sources by n interpreters at the same time, and gives their .pyc files by path.
func compileAll(t testing.TB, python string, n int, all []source) map[string][]byte {
	t.Helper()
	c, err := Start(t.Context(), Python{Path: python}, Options{Processes: n})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	out, mu, wg := map[string][]byte{}, sync.Mutex{}, sync.WaitGroup{}
	for k := range n {
		wg.Go(func() {
			for i := k; i < len(all); i += n {
				code, err := c.Compile(t.Context(), all[i].path, all[i].data)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				out[all[i].path] = code
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return out
}

// pyCompile is what Python's own py_compile writes, one source after the other in one process, or each in a process of
// its own. It prints the .pyc file, or nothing for a source that is not valid.
const pyCompile = `
import os, py_compile, sys, unittest, argparse, logging
alone = sys.argv[1] == "1"
for line in sys.stdin:
    source, path = line.rstrip("\n").split("\t")
    child = os.fork() if alone else 0
    if child == 0:
        try:
            py_compile.compile(source, cfile=source + "c", dfile=path, doraise=True,
                               invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
        except Exception:
            pass
        if alone:
            os._exit(0)
    else:
        os.waitpid(child, 0)
`

// TestByteCodeEqualsPyCompiles compares with Python's own, in any order and number of processes. Flags of references
// are no part of the comparison, see [stable].
func TestByteCodeEqualsPyCompiles(t *testing.T) {
	t.Parallel()
	testneeds.Long(t)
	for _, python := range pythons(t) {
		t.Run(python, func(t *testing.T) {
			all := sources(t, python)
			got := compileAll(t, python, 2, all)
			slices.Reverse(all)
			for path, code := range compileAll(t, python, 1, all) {
				if !bytes.Equal(code, got[path]) {
					t.Errorf("%s: two processes give %d bytes, and one in another order %d", path, len(got[path]),
						len(code))
				}
			}
			c, err := Start(t.Context(), Python{Path: python}, Options{Processes: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			for _, alone := range []string{"0", "1"} {
				want := byPyCompile(t, python, alone, all)
				differ, raw := 0, 0
				for path, code := range got {
					if !bytes.Equal(code, want[path]) {
						raw++
					}
					if w := want[path]; w != nil {
						form, err := stable(w[headerSize:], c.all[0].minor)
						if err != nil {
							t.Fatal(err)
						}
						want[path] = append(w[:headerSize:headerSize], form...)
					}
					if !bytes.Equal(code, want[path]) {
						differ++
						t.Errorf("%s: %d bytes, and py_compile gives %d others", path, len(code), len(want[path]))
					}
				}
				t.Logf("%d files, each in a process of its own: %s: %d differ, %d with flags of references",
					len(got), alone, differ, raw)
			}
			samePython(t, python, all, got)
		})
	}
}

func byPyCompile(t *testing.T, python, alone string, all []source) map[string][]byte {
	t.Helper()
	dir, names := t.TempDir(), strings.Builder{}
	for i, s := range all {
		name := filepath.Join(dir, fmt.Sprint(i, ".py"))
		if err := os.WriteFile(name, s.data, 0o600); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&names, "%s\t%s\n", name, s.path)
	}
	cmd := exec.CommandContext(t.Context(), python, "-S", "-W", "ignore", "-c", pyCompile, alone)
	cmd.Env = []string{"PYTHONHASHSEED=0", "LC_ALL=C.UTF-8", "PYTHONUTF8=1"}
	cmd.Stdin = strings.NewReader(names.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out := map[string][]byte{}
	for i, s := range all {
		if data, err := os.ReadFile(filepath.Join(dir, fmt.Sprint(i, ".pyc"))); err == nil {
			out[s.path] = data
		}
	}
	return out
}

// samePython lets Python read the byte code, and compare it with what it compiles itself.
func samePython(t *testing.T, python string, all []source, got map[string][]byte) {
	t.Helper()
	dir, names := t.TempDir(), strings.Builder{}
	for i, s := range all {
		if got[s.path] == nil {
			continue
		}
		name := filepath.Join(dir, fmt.Sprint(i, ".py"))
		for file, data := range map[string][]byte{name: s.data, name + "c": got[s.path]} {
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		fmt.Fprintf(&names, "%s\t%s\n", name, s.path)
	}
	cmd := exec.CommandContext(t.Context(), python, "-S", "-W", "ignore", "-c", `
import marshal, sys
for line in sys.stdin:
    source, path = line.rstrip("\n").split("\t")
    code = compile(open(source, "rb").read(), path, "exec", dont_inherit=True)
    if marshal.loads(open(source + "c", "rb").read()[16:]) != code:
        print(path)
`)
	cmd.Env = []string{"LC_ALL=C.UTF-8", "PYTHONUTF8=1"}
	cmd.Stdin = strings.NewReader(names.String())
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("python reads other code: %v\n%s", err, out)
	}
}

func TestInvalidSources(t *testing.T) {
	t.Parallel()
	for _, python := range pythons(t) {
		c, err := Start(t.Context(), Python{Path: python}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, text := range []string{"print 'old'\n", "a = \x00\n", "# coding: no-such\n", "\xff\xfe", "def f(:\n"} {
			if code, err := c.Compile(t.Context(), "/x.py", []byte(text)); code != nil || err != nil {
				t.Errorf("%q: %d bytes, %v", text, len(code), err)
			}
		}
		// Nothing is run, and what is printed does not get into the answers.
		for _, text := range []string{"", "import os; os._exit(3)\n", "raise SystemExit\n", "'\\d'\n",
			"assert (1, 2)\n"} {
			if code, err := c.Compile(t.Context(), "/x.py", []byte(text)); len(code) <= headerSize || err != nil {
				t.Errorf("%q: %d bytes, %v", text, len(code), err)
			}
		}
		if c.Magic()&0xffff0000 != 0x0a0d0000 || !strings.HasPrefix(c.Version(), "3.") ||
			!strings.HasPrefix(c.Release(), c.Version()+".") {
			t.Errorf("magic number %x, version %s, release %s", c.Magic(), c.Version(), c.Release())
		}
	}
}

// fake is a program in the place of an interpreter, which says hello and then does something else.
func fake(t *testing.T, hello, then string) Python {
	t.Helper()
	name := filepath.Join(t.TempDir(), "python")
	text := fmt.Sprintf("#!/bin/sh\nprintf '\\000\\%03o\\000\\000\\000%s'\n%s\n", len(hello), hello, then)
	if err := os.WriteFile(name, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return Python{Path: name}
}

// TestInterpretersThatFail holds that an error names the file, and says why.
func TestInterpretersThatFail(t *testing.T) {
	t.Parallel()
	for then, want := range map[string]string{
		"head -c 4 >/dev/null; echo too little memory >&2; exit 7": "exit status 7: too little memory",
		"kill -9 $$": "signal: killed",
		`printf '\000\002\000\000\000ab'; exec sleep 60`:                                 "none that is known: 0, \"ab\"",
		`printf '\007\002\000\000\000ab'; exec sleep 60`:                                 "none that is known: 7",
		`printf '\000\377\377\377\377ab'; exec sleep 60`:                                 "4294967295 bytes",
		`printf '\002\005\000\000\000Error'; exec sleep 60`:                              "Error",
		`printf '\000\021\000\000\000\247\r\r\n\001\000\000\00012345678x'; exec sleep 9`: "byte code is damaged",
	} {
		c, err := Start(t.Context(), fake(t, "3.11.7 168627623 cpython", then), Options{Processes: 1})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			_, err = c.Compile(t.Context(), "/some/file.py", []byte("x"))
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `"/some/file.py"`) {
				t.Errorf("%s: the error is %v, want %q", then, err, want)
			}
		}
		c.Close()
	}
	for hello, want := range map[string]string{
		"3.11.7 168627623 pypy": "not a cpython", "3.12.0 1 cpython": "not 3.11", "hi": "does not say",
	} {
		if _, err := Start(t.Context(), fake(t, hello, "exec sleep 60"), Options{Version: "3.11"}); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: the error is %v, want %q", hello, err, want)
		}
	}
	if _, err := Start(t.Context(), fake(t, "3.6.1 1 cpython", "exec sleep 60"), Options{}); err == nil {
		t.Error("Python 3.6 is taken")
	}
	if _, err := Start(t.Context(), Python{Path: "/no/such/python"}, Options{}); err == nil ||
		!strings.Contains(err.Error(), "/no/such/python") {
		t.Errorf("no interpreter: %v", err)
	}
}

func TestInterpretersEndWithTheirContext(t *testing.T) {
	t.Parallel()
	c, err := Start(t.Context(), fake(t, "3.11.7 168627623 cpython", "exec sleep 600"), Options{Processes: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.Compile(ctx, "/x.py", nil); err == nil || ctx.Err() == nil {
		t.Errorf("the error is %v", err)
	}
	if err := c.all[0].end(); err == nil {
		t.Error("the interpreter ended by itself")
	}
}

// FuzzStable holds that no bytes panic, and that the form of a form is the form.
func FuzzStable(f *testing.F) {
	f.Add([]byte("\xe3\xfa\x01}r\x00\x00\x00\x00"), 11)
	f.Add([]byte(")\x04\xda\x01a\xfa\x01ar\x01\x00\x00\x00\xf5\x02\x00\x00\x00\xc3\xa9"), 13)
	f.Fuzz(func(t *testing.T, data []byte, minor int) {
		once, err := stable(data, minor)
		if err != nil {
			return
		}
		if twice, err := stable(once, minor); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%q becomes %q, and that %q (%v)", data, once, twice, err)
		}
	})
}
