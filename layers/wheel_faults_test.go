package layers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/testneeds"
)

// limited runs the program on a wheel with the shell's limits before it; it needs no venv, and does
// without site as the step does.
func limited(t *testing.T, limits, wheels, out string) (string, error) {
	t.Helper()
	return runPython(t, "/bin/sh", "-c", limits+`; exec "$0" -S -c "$@"`, testneeds.Python(t),
		wheelInstallProgram, wheels, out)
}

// TestWheelsNeedNoMemoryForTheirFiles has files that are larger than the memory that python may use.
func TestWheelsNeedNoMemoryForTheirFiles(t *testing.T) {
	t.Parallel()
	testneeds.Long(t)
	const size = 256 << 20
	wheels, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
	zeros := strings.Repeat("\x00", size)
	writeWheel(t, wheels, "large", "1", true, member{"large.bin", zeros, 0},
		member{"large-1.data/scripts/large", "#!python\n" + zeros, 0o755})
	if said, err := limited(t, fmt.Sprintf("ulimit -v %d", size>>10), wheels, out); err != nil {
		t.Errorf("install files of %d MiB with as much memory: %v\n%s", size>>20, err, said)
	}
}

// TestByteCodeFailsWithTheMachine: what is no fault of the source is no file without byte code. The
// limit is below the size of the byte code and above that of the source; the file is cut there, as
// on a full disk, which not every python tells.
func TestByteCodeFailsWithTheMachine(t *testing.T) {
	t.Parallel()
	wheels := t.TempDir()
	source := ""
	for i := range 2000 {
		source += fmt.Sprintf("def f%d():0\n", i)
	}
	writeWheel(t, wheels, "full", "1", true, member{"full.py", source, 0})
	said, err := limited(t, "ulimit -f 128", wheels, filepath.Join(t.TempDir(), "out")) // 64 KiB
	if err == nil || exitCode(err) == 3 || !strings.Contains(said, "make byte code of /") ||
		!strings.Contains(said, "full.py: OSError: ") {
		t.Errorf("got %v and %q, want an end that names full.py and the error, and another exit code than 3", err, said)
	}
}

// TestByteCodeIsThatOfCompileall: what is loaded from it is what python's own compileall makes for
// the place in the environment.
func TestByteCodeIsThatOfCompileall(t *testing.T) {
	t.Parallel()
	wheels, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
	writeWheel(t, wheels, "deep", "1", true, member{"deep/a.py", "def f(): return 1\n", 0},
		member{"deep/a/b/c.py", "x = {1: 'one'}\n", 0})
	if said, err := runPython(t, "python3", "-c", wheelInstallProgram, wheels, out); err != nil {
		t.Fatalf("wheel-install: %v\n%s", err, said)
	}
	check := `
import compileall, glob, marshal, os, py_compile, sys, sysconfig
site = sysconfig.get_paths()["purelib"]
def read():
    return {f: open(f, "rb").read() for f in glob.glob(sys.argv[1] + "/**/*.pyc", recursive=True)}
ours = read()
compileall.compile_dir(sys.argv[1] + site, ddir=site, quiet=1, force=True,
  invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
theirs = read()
assert len(ours) == 2 and set(ours) == set(theirs), (sorted(ours), sorted(theirs))
for f in ours:
    a, b = (marshal.loads(x[f][16:]) for x in (ours, theirs))
    assert ours[f][:16] == theirs[f][:16], "the heads of %s differ" % f
    assert a == b and a.co_filename == b.co_filename and a.co_filename.startswith(site), (f, a, b)
`
	if said, err := runPython(t, "python3", "-c", check, out); err != nil {
		t.Errorf("compare with compileall: %v\n%s", err, said)
	}
}

// TestKilledUnpackingIsTold kills the process that unpacks, which waits for a wheel that is a pipe.
func TestKilledUnpackingIsTold(t *testing.T) {
	t.Parallel()
	for signal, want := range map[syscall.Signal]string{
		syscall.SIGKILL: "was killed by signal 9: the builder has too little memory\n",
		syscall.SIGTERM: "was killed by signal 15\n",
	} {
		wheels := t.TempDir()
		if err := syscall.Mkfifo(filepath.Join(wheels, "pipe-1-py3-none-any.whl"), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), testneeds.Python(t), "-S", "-c", wheelInstallProgram, wheels,
			t.TempDir())
		said := &strings.Builder{}
		cmd.Stderr = said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		child := childOf(t, cmd.Process.Pid)
		if err := syscall.Kill(child, signal); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); exitCode(err) != 1 || !strings.HasSuffix(said.String(), want) {
			t.Errorf("got %v and %q, want exit code 1 and a text that ends with %q", err, said, want)
		}
	}
}

// childOf waits for a process's first child.
func childOf(t *testing.T, pid int) int {
	t.Helper()
	for range 3000 {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		if err != nil {
			t.Fatal(err)
		}
		if fields := strings.Fields(string(data)); len(fields) > 0 {
			child, err := strconv.Atoi(fields[0])
			if err != nil {
				t.Fatal(err)
			}
			return child
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("process %d has no child after 30 s", pid)
	return 0
}

// TestFilesWithoutByteCodeAreCounted runs the step's own script.
func TestFilesWithoutByteCodeAreCounted(t *testing.T) {
	t.Parallel()
	wheels := t.TempDir()
	writeWheel(t, wheels, "wrong", "1", true, member{"good.py", "", 0}, member{"one.py", "this is no python\n", 0},
		member{"two.py", "this is none\nelse\n", 0})
	cmd := exec.CommandContext(t.Context(), "sh", "-euc", wheelInstallText, "sh", "python3", wheels,
		filepath.Join(t.TempDir(), "out"))
	cmd.Env = append(os.Environ(), "PROGRAM="+wheelInstallProgram, "TMPDIR="+t.TempDir(), "fixed=@315532800")
	said, err := cmd.CombinedOutput()
	for _, want := range []string{"some files have no byte code: 2\n", "/one.py: SyntaxError: ",
		"/two.py: SyntaxError: "} {
		if err != nil || !strings.Contains(string(said), want) {
			t.Errorf("got %v and %q, want %q", err, said, want)
		}
	}
}
