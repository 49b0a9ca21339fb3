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

	"github.com/raybuild/raybuild/internal/testneeds"
)

// TestLayersEqualPips installs wheels by the machine's own pip, and compares all files with those of the layers: made
// wheels, and real ones of the directory that RAYBUILD_TEST_WHEELS names.
func TestLayersEqualPips(t *testing.T) {
	t.Parallel()
	testneeds.Long(t)
	testneeds.Programs(t, "python3")
	wheels := t.TempDir()
	if err := os.WriteFile(filepath.Join(wheels, "odd_wheel-1.0-py3-none-any.whl"), oddWheel(t), 0o600); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(wheels, "*.whl"))
	if dir := os.Getenv("RAYBUILD_TEST_WHEELS"); dir != "" && err == nil {
		var more []string
		more, err = filepath.Glob(filepath.Join(dir, "*.whl"))
		names = append(names, more...)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			venv := filepath.Join(t.TempDir(), "venv")
			run(t, "python3", "-m", "venv", "--without-pip", venv)
			had := tree(t, venv)
			python := filepath.Join(venv, "bin", "python")
			version := strings.TrimSpace(run(t, python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"))
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			// pip names the directory of headers as the requirement does. The wheel is named by digest, as from an
			// index: one that is named by its path gets a direct_url.json.
			distribution := strings.Split(filepath.Base(name), "-")
			requirements := filepath.Join(t.TempDir(), "requirements.txt")
			if err := os.WriteFile(requirements, fmt.Appendf(nil, "%s==%s --hash=sha256:%x\n",
				normalized(distribution[0]), distribution[1], sha256.Sum256(data)), 0o600); err != nil {
				t.Fatal(err)
			}
			run(t, "python3", "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index",
				"--no-compile",
				"--find-links", filepath.Dir(name), "-r", requirements)
			want := tree(t, venv)
			maps.DeleteFunc(want, func(p, _ string) bool { return had[p] != "" })
			got := map[string]string{}
			_, files, _ := convert(t, data, Target{Prefix: venv, Python: version, Executable: python})
			for place, f := range files {
				if !strings.HasSuffix(place, "/") {
					got[strings.TrimPrefix(place, venv)] = describe(fs.FileMode(f.Mode), []byte(f.data))
				}
			}
			compareTrees(t, got, want)
		})
	}
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

func lines(s string) []string {
	return slices.Sorted(strings.Lines(strings.ReplaceAll(s, "\r\n", "\n")))
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
