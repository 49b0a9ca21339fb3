package bytecode

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/testneeds"
	"github.com/raybuild/raybuild/wheel"
)

// TestLayersEqualWheelInstalls compares layers with what builds' own program installs, layers/scripts/wheel-install.py,
// for the wheels in the directory that RAYBUILD_TEST_WHEELS names. RECORD differs, because that program leaves out byte
// code, and so do flags of references in byte code, see [stable].
func TestLayersEqualWheelInstalls(t *testing.T) {
	t.Parallel()
	testneeds.Long(t)
	wheels := os.Getenv("RAYBUILD_TEST_WHEELS")
	if wheels == "" {
		t.Skip("RAYBUILD_TEST_WHEELS names no directory of wheels")
	}
	names, err := filepath.Glob(filepath.Join(wheels, "*.whl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, python := range pythons(t) {
		c, err := Start(t.Context(), Python{Path: python}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		out, err := exec.CommandContext(t.Context(), python, "-S", "-c",
			"import sys; print(sys.prefix); print(sys.executable)").Output()
		if err != nil {
			t.Fatal(err)
		}
		about := strings.Fields(string(out))
		to := wheel.Target{Prefix: about[0], Python: c.Version(), Executable: about[1]}
		for _, name := range names {
			t.Run(filepath.Base(python)+"/"+filepath.Base(name), func(t *testing.T) {
				want := installed(t, python, name)
				got := converted(t, c, to, name)
				for _, place := range slices.Sorted(mapsKeys(want, got)) {
					a, b := got[place], want[place]
					if strings.HasSuffix(place, ".pyc") && b.data != "" && a.data != "" {
						form, err := stable([]byte(b.data[headerSize:]), c.all[0].minor)
						if err != nil {
							t.Fatal(err)
						}
						b.data = b.data[:headerSize] + string(form)
					}
					if strings.HasSuffix(place, ".dist-info/RECORD") {
						a.data, b.data = rows(a.data), rows(b.data)
					}
					if a != b {
						t.Errorf("%s: mode %v, %d bytes, and wheel-install's mode %v, %d bytes", place, a.mode,
							len(a.data), b.mode, len(b.data))
					}
				}
				t.Logf("%d files", len(want))
			})
		}
	}
}

// rows are those of RECORD that are not of byte code.
func rows(record string) string {
	all := slices.Sorted(strings.SplitSeq(record, "\r\n"))
	return strings.Join(slices.DeleteFunc(all, func(s string) bool { return strings.HasSuffix(s, ".pyc,,") }), "\n")
}

type installedFile struct {
	mode fs.FileMode
	data string
}

func mapsKeys(all ...map[string]installedFile) func(func(string) bool) {
	return func(yield func(string) bool) {
		seen := map[string]bool{}
		for _, m := range all {
			for k := range m {
				if !seen[k] && !yield(k) {
					return
				}
				seen[k] = true
			}
		}
	}
}

// installed is what wheel-install.py installs.
func installed(t *testing.T, python, name string) map[string]installedFile {
	t.Helper()
	program, err := os.ReadFile("../../layers/scripts/wheel-install.py")
	if err != nil {
		t.Fatal(err)
	}
	from, to := t.TempDir(), t.TempDir()
	if err := os.Symlink(name, filepath.Join(from, filepath.Base(name))); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", `umask 022; exec "$@"`, "sh", python, "-S", "-W", "ignore",
		"-c", string(program), from, to)
	cmd.Env = []string{"PYTHONHASHSEED=0", "LC_ALL=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1"}
	if out, err := cmd.CombinedOutput(); err != nil && cmd.ProcessState.ExitCode() != 3 {
		t.Fatalf("%v\n%s", err, out)
	}
	all := map[string]installedFile{}
	err = filepath.WalkDir(to, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(p)
		all[strings.TrimPrefix(p, to)] = installedFile{info.Mode(), string(data)}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// converted is what the layer has.
func converted(t *testing.T, c *Compiler, to wheel.Target, name string) map[string]installedFile {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	w, err := wheel.Open(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := wheel.Write(t.Context(), &out, to, wheel.Options{Compiler: c}, w); err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(&out)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]installedFile{}
	for in := tar.NewReader(z); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		data, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		all["/"+h.Name] = installedFile{h.FileInfo().Mode(), string(data)}
	}
}
