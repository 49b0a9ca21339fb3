package wheel

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

func oddWheel(t testing.TB) []byte {
	long := strings.Repeat("deeply/", 30) + "nested.py"
	return makeWheel(t, "Odd_Wheel", nil,
		file{name: "odd/__init__.py", data: "import os\n"},
		file{name: "odd/empty.py"},
		file{name: "odd/data.bin", data: strings.Repeat("0123456789abcdef", 100_000)},
		file{name: "odd/stored.bin", data: strings.Repeat("stored", 10_000), stored: true},
		file{name: "odd/tool.so", data: "\x7fELF", mode: 0o755},
		file{name: "odd/größe.txt", data: "non-ASCII"},
		file{name: "odd/a,b\"c.txt", data: "quotes in RECORD"},
		file{name: "odd/unlisted.txt", data: "RECORD does not have it", unlisted: true},
		file{name: long, data: "pass\n"},
		file{name: "Odd_Wheel-1.0.data/purelib/odd/pure.py", data: "pure = 1\n"},
		file{name: "Odd_Wheel-1.0.data/platlib/odd/plat.py", data: "plat = 1\n"},
		file{name: "Odd_Wheel-1.0.data/data/share/odd/doc.txt", data: "a document\n"},
		file{name: "Odd_Wheel-1.0.data/headers/odd.h", data: "#define ODD 1\n"},
		file{name: "Odd_Wheel-1.0.data/scripts/odd-script", data: "#!python -E\nprint('odd')\n", mode: 0o755},
		file{name: "Odd_Wheel-1.0.data/scripts/odd-shell", data: "#!/bin/sh\necho odd\n", mode: 0o755},
		file{name: "Odd_Wheel-1.0.data/scripts/odd-binary", data: "\x7fELF binary", mode: 0o755},
		file{name: "Odd_Wheel-1.0.data/scripts/odd-command", data: "#!python\nnever installed\n"},
		file{name: "Odd_Wheel-1.0.dist-info/entry_points.txt", data: "[console_scripts]\nodd-command = odd:main.run\n" +
			"odd-extra = odd.cli:main [extra]\n# a comment\n[gui_scripts]\nodd-gui = odd:gui\n[other]\nx = y\n"},
	)
}

func TestLayerHasWhatPipInstalls(t *testing.T) {
	t.Parallel()
	l, files, packed := convert(t, oddWheel(t), target())
	site := "/opt/conda/envs/ray/lib/python3.12/site-packages/"
	for place, want := range map[string]struct {
		data string
		mode int64
	}{
		site + "odd/__init__.py":                                 {"import os\n", 0o644},
		site + "odd/empty.py":                                    {"", 0o644},
		site + "odd/tool.so":                                     {"\x7fELF", 0o755},
		site + "odd/größe.txt":                                   {"non-ASCII", 0o644},
		site + "odd/pure.py":                                     {"pure = 1\n", 0o644},
		site + "odd/plat.py":                                     {"plat = 1\n", 0o644},
		"/opt/conda/envs/ray/share/odd/doc.txt":                  {"a document\n", 0o644},
		"/opt/conda/envs/ray/include/python3.12/odd-wheel/odd.h": {"#define ODD 1\n", 0o644},
		"/opt/conda/envs/ray/bin/odd-script": {"#!/opt/conda/envs/ray/bin/python\n" +
			"print('odd')\n", 0o755},
		"/opt/conda/envs/ray/bin/odd-shell":                {"#!/bin/sh\necho odd\n", 0o755},
		site + "Odd_Wheel-1.0.dist-info/INSTALLER":         {"pip\n", 0o644},
		site + "Odd_Wheel-1.0.dist-info/REQUESTED":         {"", 0o644},
		site + strings.Repeat("deeply/", 30) + "nested.py": {"pass\n", 0o644},
		"/opt/conda/envs/ray/bin/odd-gui":                  {string(target().script(entryPoint{"odd", "gui"})), 0o755},
		"/opt/conda/envs/ray/bin/odd-command": {string(target().script(entryPoint{"odd", "main.run"})),
			0o755},
	} {
		if got, ok := files[place]; !ok || got.data != want.data || got.Mode != want.mode {
			t.Errorf("%s: there: %v, mode %o, %.80q; want mode %o, %.80q", place, ok, got.Mode, got.data,
				want.mode, want.data)
		}
	}
	record := files[site+"Odd_Wheel-1.0.dist-info/RECORD"].data
	for _, want := range []string{"../../../bin/odd-script,sha256=", "odd/unlisted.txt,,\r\n",
		`"odd/a,b""c.txt",sha256=`,
		"../../../bin/odd-extra,sha256=", "Odd_Wheel-1.0.dist-info/RECORD,,\r\n"} {
		if !strings.Contains(record, want) {
			t.Errorf("RECORD lacks %q:\n%s", want, record)
		}
	}
	if len(l.Files)+dirs(files) != len(files) {
		t.Errorf("the layer says %d files, and has %d", len(l.Files), len(files)-dirs(files))
	}
	if gz, err := exec.LookPath("gzip"); err == nil {
		cmd := exec.CommandContext(t.Context(), gz, "-t")
		cmd.Stdin = bytes.NewReader(packed)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("gzip -t: %v\n%s", err, out)
		}
	}
}

func dirs(files map[string]entry) (n int) {
	for place := range files {
		if strings.HasSuffix(place, "/") {
			n++
		}
	}
	return n
}

// TestLayerIsTheSameEverywhere pins digests: they may not depend on the machine, the time, the number of CPUs, or the
// version of Go. If this test fails after a change of the rules or of a library, Version has to change, too.
func TestLayerIsTheSameEverywhere(t *testing.T) {
	t.Parallel()
	data := oddWheel(t)
	first, _, _ := convert(t, data, target())
	for range 3 {
		if l, _, _ := convert(t, data, target()); l.Digest != first.Digest {
			t.Errorf("the layer is %s, and was %s", l.Digest, first.Digest)
		}
	}
	// The wheel's own compression is that of this Go, so the uncompressed digest is pinned.
	if want := "sha256:4eabf90eb376dedf5ad7984175be71ba7d203ef448c603fc554f83c07ef5fd64"; first.DiffID.String() !=
		want {
		t.Errorf("the layer's tar file is %s, want %s", first.DiffID, want)
	}
	user := target()
	user.UID, user.GID = 1000, 100
	_, files, _ := convert(t, data, user)
	for place, f := range files {
		inside := strings.HasPrefix(place, user.Prefix+"/")
		if wantUID := map[bool]int{true: 1000}[inside]; f.Uid != wantUID {
			t.Errorf("%s is of user %d, want %d", place, f.Uid, wantUID)
		}
	}
}

// TestLargeProgram has a program among the scripts that is larger than what is ever read whole.
func TestLargeProgram(t *testing.T) {
	t.Parallel()
	program := "\x7fELF" + strings.Repeat("\x00", maxText)
	data := makeWheel(t, "large", nil, file{name: "large-1.0.data/scripts/large", data: program, mode: 0o755})
	_, files, _ := convert(t, data, target())
	if got := files["/opt/conda/envs/ray/bin/large"]; got.data != program || got.Mode != 0o755 {
		t.Errorf("the program has %d bytes and mode %o, want %d bytes", len(got.data), got.Mode, len(program))
	}
}
