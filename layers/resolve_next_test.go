package layers

import (
	"strings"
	"testing"
)

// TestNextSteps: for twenty kinds of conflicts and failing builds and more, the error says what to do. The first are
// uv's own words (internal/uv tests that it still says them), the others those of compilers and build backends.
func TestNextSteps(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ kind, text, want string }{
		{"two requirements",
			"Because all versions of a depend on b<2 and you require a, we can conclude that you require " +
				"b<2.\nAnd because you require b>=2, we can conclude that your requirements are unsatisfiable.",
			"loosen one of them, or leave one out"},
		{"a name that no index has",
			"Because nowhere was not found in the package registry and you require nowhere, we can conclude " +
				"that your requirements are unsatisfiable.",
			"no index has nowhere: see how it is written on pypi.org"},
		{"a package that asks for such a name",
			"Because not-there was not found in the package registry and all versions of x depend on " +
				"not-there>=1",
			"no index has not-there"},
		{"another system",
			"we can conclude that your requirements are unsatisfiable.\nhint: Wheels are available for " +
				"`winonly` (v1) on the following platform: `win_amd64`",
			"winonly has files for other systems alone"},
		{"a newer glibc",
			"hint: Wheels are available for `glibc` (v1) on the following platform: `manylinux_2_39_x86_64`",
			"glibc wants glibc 2.39 or later: take a newer base, or an older version of glibc"},
		{"files for another Python", "hint: You require CPython 3.11 (`cp311`), but we only found wheels for " +
			"`old` (v1) with the following Python ABI tag: `cp38`",
			`set env.python: "3.8", or take a version of old that has some for 3.11`},
		{"a newer Python",
			"Because the current Python version (3.11.9) does not satisfy Python>=3.12 and newpy==1 depends on " +
				"Python>=3.12, we can conclude",
			`set env.python: "3.12", or take an older version of newpy`},
		{"a version that is not there",
			"Because there is no version of b==9 and you require b==9, we can conclude",
			"b has no version 9: see which there are on pypi.org, or leave == out"},
		{"pg_config",
			"Error: pg_config executable not found.",
			"apt: [libpq-dev]"},
		{"mysql_config",
			"/bin/sh: 1: mysql_config: not found\nException: Can not find valid pkg-config name.",
			"apt: [default-libmysqlclient-dev, pkg-config]"},
		{"a header",
			"src/x.c:3:10: fatal error: ffi.h: No such file or directory\ncompilation terminated.",
			"the build lacks the header ffi.h: name the package that has it under apt"},
		{"Python's header",
			"x.c:1:10: fatal error: Python.h: No such file or directory",
			"comes with conda's python"},
		{"Fortran",
			"../meson.build:83:0: ERROR: Unknown compiler(s): [['gfortran'], ['flang'], ['nvfortran']]",
			"apt: [gfortran]"},
		{"Rust",
			"error: can't find Rust compiler",
			"it is written in Rust: apt: [cargo]"},
		{"Cargo",
			"Cargo, the Rust package manager, is not installed or is not on PATH.",
			"apt: [cargo]"},
		{"CMake",
			"CMake must be installed to build dlib",
			"apt: [cmake]"},
		{"pkg-config",
			"Did not find pkg-config by name 'pkg-config'",
			"apt: [pkg-config]"},
		{"a compiler",
			"error: command 'x86_64-linux-gnu-gcc' failed: No such file or directory",
			"apt: [build-essential]"},
		{"a program",
			"error: command 'swig' failed: No such file or directory",
			"the build runs swig: name the package"},
		{"a program of Python's",
			"FileNotFoundError: [Errno 2] No such file or directory: 'bc'",
			"the build runs bc"},
		{"a library",
			"/usr/bin/ld: cannot find -lssl: No such file or directory",
			"name its package under apt (libssl-dev)"},
		{"the network in setup.py",
			"urllib.error.URLError: <urlopen error [Errno -3] Temporary failure in name resolution>",
			"its build asks the network, which builds do not have"},
		{"Python 2",
			"    print \"hello\"\nSyntaxError: Missing parentheses in call to 'print'. Did you mean print(...)?",
			"it is for Python 2"},
		{"an old setuptools",
			"error in x setup command: use_2to3 is invalid.",
			"it is for setuptools before 58"},
		{"setuptools_scm",
			"LookupError: setuptools-scm was unable to detect version for /tmp/x.",
			"lack their version"},
		{"pkg_resources",
			"ModuleNotFoundError: No module named 'pkg_resources'",
			"it uses pkg_resources, which newer"},
		{"a missing build requirement",
			"ModuleNotFoundError: No module named 'torch'",
			"no_build_isolation: [NAME]"},
	} {
		after := afterBuild
		if strings.Contains(c.text, "Because") || strings.Contains(c.text, "hint: ") {
			after = afterConflict
		}
		got := whatToDo(after, c.text)
		line, ok := strings.CutPrefix(got, "\nwhat to do: ")
		if !ok || !strings.Contains(line, c.want) || strings.Contains(line, "\n") {
			t.Errorf("%s: got %q, want %q", c.kind, got, c.want)
		}
	}
	if got := whatToDo(afterBuild, "Segmentation fault"); got != "" {
		t.Errorf("nothing is known of it, and it says %q", got)
	}
}

// FuzzWhatToDo: whatever a build or uv prints, the next step is one line of the table's, with what the text names.
func FuzzWhatToDo(f *testing.F) {
	f.Add("error: command '$1${2}' failed: No such file or directory")
	f.Add("hint: Wheels are available for `x` (v1) on the following platform: `manylinux_2_39_x86_64`")
	f.Fuzz(func(t *testing.T, text string) {
		for _, after := range [][]nextStep{afterConflict, afterBuild} {
			if got := whatToDo(after, text); strings.Contains(strings.TrimPrefix(got, "\n"), "\n") {
				t.Errorf("%q gives more than one line: %q", text, got)
			}
		}
	})
}
