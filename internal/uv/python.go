package uv

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/raybuild/raybuild/internal/pylock"
	"github.com/raybuild/raybuild/internal/wholefile"
)

// refused is the exit status of the script that stands for Python when it is asked to run something, and refusedText
// is what it says then.
const (
	refused     = 97
	refusedText = "raybuild: nothing is built on this machine"
)

// script stands for Python. It answers the question that uv 0.13.9 asks about an interpreter, with the file beside
// it, and runs nothing. It uses what is built into sh alone.
const script = `#!/bin/sh
case "$#:$1:$2:$3:$4" in
"4:-I:-B:-c:import sys; sys.path = "*"; from python.get_interpreter_info import main; main()")
	while IFS= read -r line; do
		printf '%s\n' "$line"
	done <"$0.json"
	;;
*)
	echo "` + refusedText + `" >&2
	exit 97
	;;
esac
`

// interpreterInfo is uv's question about an interpreter, answered: crates/uv-python/python/get_interpreter_info.py of
// uv 0.13.9.
type interpreterInfo struct {
	Result              string            `json:"result"`
	Markers             map[string]string `json:"markers"`
	SysBasePrefix       string            `json:"sys_base_prefix"`
	SysBaseExecPrefix   string            `json:"sys_base_exec_prefix"`
	SysPrefix           string            `json:"sys_prefix"`
	SysBaseExecutable   string            `json:"sys_base_executable"`
	SysExecutable       string            `json:"sys_executable"`
	SysPath             []string          `json:"sys_path"`
	SitePackages        []string          `json:"site_packages"`
	Stdlib              string            `json:"stdlib"`
	ExtensionSuffixes   []string          `json:"extension_suffixes"`
	Standalone          bool              `json:"standalone"`
	Scheme              map[string]string `json:"scheme"`
	Virtualenv          map[string]string `json:"virtualenv"`
	OS                  operatingSystem   `json:"os"`
	Arch                string            `json:"arch"`
	CPU                 map[string]any    `json:"cpu_info"`
	ManylinuxCompatible bool              `json:"manylinux_compatible"`
	FreeThreaded        bool              `json:"gil_disabled"`
	Debug               bool              `json:"debug_enabled"`
	PointerSize         string            `json:"pointer_size"`
}

type operatingSystem struct {
	Name  string `json:"name"`
	Major int    `json:"major"`
	Minor int    `json:"minor"`
}

// info describes the target's Python, as if it were in the directory home.
func info(t pylock.Target, home string) (interpreterInfo, error) {
	machine, err := t.Machine()
	if err != nil {
		return interpreterInfo{}, err
	}
	major, minor, err := t.PythonVersion()
	if err != nil {
		return interpreterInfo{}, err
	}
	glibcMajor, glibcMinor, err := t.GlibcVersion()
	if err != nil {
		return interpreterInfo{}, err
	}
	markers, err := t.Markers()
	if err != nil {
		return interpreterInfo{}, err
	}
	exe := filepath.Join(home, "python3")
	paths := func(root string) map[string]string {
		return map[string]string{"purelib": root, "platlib": root, "include": root, "scripts": root, "data": root}
	}
	return interpreterInfo{
		Result: "success", Markers: markers,
		SysBasePrefix: home, SysBaseExecPrefix: home, SysPrefix: home, SysBaseExecutable: exe, SysExecutable: exe,
		SysPath: []string{}, SitePackages: []string{filepath.Join(home, "site-packages")}, Stdlib: home,
		ExtensionSuffixes: []string{
			fmt.Sprintf(".cpython-%d%d-%s-linux-gnu.so", major, minor, machine), ".abi3.so", ".so"},
		Scheme: paths(home), Virtualenv: paths("lib"),
		OS: operatingSystem{Name: "manylinux", Major: glibcMajor, Minor: glibcMinor}, Arch: machine,
		CPU:                 map[string]any{"detected": map[string]string{"kind": "flags", "flags": ""}},
		ManylinuxCompatible: true, PointerSize: "64",
	}, nil
}

// standIn makes the script that stands for the target's Python, below dir, and returns its path. It stays there, so
// uv remembers its answer.
func standIn(dir string, t pylock.Target) (string, error) {
	key := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n%s", script, t.Python, t.Platform, t.Glibc))
	home := filepath.Join(dir, "python", hex.EncodeToString(key[:8]))
	said, err := info(t, home)
	if err != nil {
		return "", err
	}
	data, err := json.Marshal(said)
	if err != nil {
		return "", fmt.Errorf("describe Python %s: %w", t.Python, err)
	}
	if err := os.MkdirAll(home, 0o700); err != nil {
		return "", fmt.Errorf("make directory for Python's stand-in: %w", err)
	}
	exe := filepath.Join(home, "python3")
	// The answer first: whoever sees the script finds it.
	if err := writeOnce(exe+".json", append(data, '\n'), 0o600); err != nil {
		return "", err
	}
	return exe, writeOnce(exe, []byte(script), 0o700)
}

// writeOnce writes a file that is not there yet, and stays whole over a power cut. The path must tell the content.
func writeOnce(path string, data []byte, mode os.FileMode) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return wholefile.WriteLasting(path, data, mode)
}
