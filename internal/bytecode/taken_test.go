package bytecode

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestPythonTakesByteCode imports byte code whose source says something else: Python does not look at it.
func TestPythonTakesByteCode(t *testing.T) {
	t.Parallel()
	text := "class A:\n    def f(self, größe=1.5): return {'a', None}, (1, 'é', b'', ...), -1 << 70, 2j, 'a'\n" +
		"print(len(A().f()), A.f.__qualname__, A.f.__code__.co_firstlineno, [x for x in 'ab'])\n"
	for _, python := range pythons(t) {
		dir := t.TempDir()
		c, err := Start(t.Context(), Python{Path: python}, Options{Processes: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		code, err := c.Compile(t.Context(), "/final/mod.py", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		tag := "cpython-" + strings.Replace(c.Version(), ".", "", 1)
		if err := os.Mkdir(filepath.Join(dir, "__pycache__"), 0o700); err != nil {
			t.Fatal(err)
		}
		for name, data := range map[string][]byte{"mod.py": []byte("raise SystemExit(3)\n"),
			"__pycache__/mod." + tag + ".pyc": code} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), python, "-B", "-c", "import mod")
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if want := "5 A.f 2 ['a', 'b']\n"; err != nil || string(out) != want {
			t.Errorf("%s: %v, %q, want %q", python, err, out, want)
		}
	}
}
