package wheel_test

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/testneeds"
	"github.com/raybuild/raybuild/internal/world"
	"github.com/raybuild/raybuild/wheel"
)

// oddWheels has a line for each wheel: its path below /packages/ of PyPI's file server, its SHA-256, and what is odd
// about it.
//
//go:embed testdata/odd-wheels.txt
var oddWheels string

// TestOddRealWheelsEqualPips compares the layers of real wheels, each with something that most do not have, with what
// pip installs. It also checks that each wheel has what the table says. The machine's Python has to be one that the
// wheels are for.
func TestOddRealWheelsEqualPips(t *testing.T) {
	t.Parallel()
	testneeds.Long(t)
	testneeds.Programs(t, "python3")
	index, err := world.RealIndex(t.Context())
	if err != nil {
		t.Skipf("no real wheels can be had: %v", err)
	}
	server := httptest.NewServer(index)
	t.Cleanup(server.Close)
	covered, count := map[string]bool{}, 0
	for line := range strings.Lines(oddWheels) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 3 {
			t.Fatalf("line %q: want a path, a digest and what is odd", line)
		}
		odd := strings.Split(strings.Join(fields[2:], " "), ", ")
		for _, o := range odd {
			covered[o] = true
		}
		count++
		t.Run(path.Base(fields[0]), func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), path.Base(fields[0]))
			data := fetched(t, server, fields[0], fields[1])
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
			has := oddities(t, path.Base(fields[0]), data)
			for _, o := range odd {
				if !has[o] {
					t.Errorf("the table says %q, and the wheel has %q", o, slices.Sorted(maps.Keys(has)))
				}
			}
			if strings.Contains(fields[0], "-cp311-") && python(t) != "3.11" {
				t.Skipf("the wheel is for Python 3.11, and the machine's is %s", python(t))
			}
			if has[wrongHash] {
				refused(t, data)
				return
			}
			wheel.EqualsPips(t, "venv", "--no-compile", wheel.Options{}, file)
		})
	}
	if count < 60 {
		t.Errorf("the table has %d wheels, want 60", count)
	}
	for _, o := range all {
		if !covered[o] {
			t.Errorf("the table has no wheel with %q", o)
		}
	}
}

// refused wants an error of a wheel that pip installs although a file is not what RECORD says.
func refused(t *testing.T, data []byte) {
	t.Helper()
	w, err := wheel.Open(bytes.NewReader(data), int64(len(data)))
	if err == nil {
		_, err = w.Layer(t.Context(), wheel.Target{Prefix: "/opt/env", Python: "3.11"}, io.Discard)
	}
	if err == nil || !strings.Contains(err.Error(), "another hash than RECORD says") {
		t.Errorf("a wheel whose RECORD lies: %v, want an error that says so", err)
	}
}

func fetched(t *testing.T, server *httptest.Server, file, sum string) []byte {
	t.Helper()
	resp, err := server.Client().Get(server.URL + "/packages/" + file)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("get %s: %s, %v", file, resp.Status, err)
	}
	if got := fmt.Sprintf("%x", sha256.Sum256(data)); got != sum {
		t.Fatalf("%s has the SHA-256 %s, and the table says %s", file, got, sum)
	}
	return data
}

// all are the oddities that the table has to have. Made wheels have those that were not found in real ones, such as
// .data/purelib (see pipWheels).
var all = []string{".data/data", ".data/headers", ".data/scripts", "a program as script", "#!python script",
	"another script", "commands with windows", "commands with extras", "pip's versions", "namespace by .pth", ".pth",
	"namespace without __init__", "signed", "old metadata", "space in a name", "non-ASCII name", "signs in a name",
	"name over 100 bytes", "stored members", "directories", "executable files", "made on Windows", "mode 600",
	"mode 640", "mode 700", "mode 777", "no modes", "bills of materials", "byte code in the wheel", "no library",
	"over 1000 files", "over 10000 files", "build number", "stable ABI", "stubs", "upper case",
	"a Python's tag of its own", "old manylinux", wrongHash}

// wrongHash is what pip does not look at, and what is refused here.
const wrongHash = "a wrong hash in RECORD"

// byName are oddities that the names of a wheel's files have.
var byName = map[string]*regexp.Regexp{
	".data/data":             regexp.MustCompile(`^[^/]+\.data/data/`),
	".data/headers":          regexp.MustCompile(`^[^/]+\.data/headers/`),
	".data/scripts":          regexp.MustCompile(`^[^/]+\.data/scripts/`),
	"namespace by .pth":      regexp.MustCompile(`^[^/]*-nspkg\.pth$`),
	".pth":                   regexp.MustCompile(`^[^/]*[a-z]\.pth$`),
	"signed":                 regexp.MustCompile(`^[^/]+\.dist-info/RECORD\.jws$`),
	"old metadata":           regexp.MustCompile(`^[^/]+\.dist-info/(metadata|pydist)\.json$`),
	"space in a name":        regexp.MustCompile(` `),
	"non-ASCII name":         regexp.MustCompile(`[^\x00-\x7f]`),
	"signs in a name":        regexp.MustCompile(`[,'"~$%&()\[\]{}@#!;=+]`),
	"name over 100 bytes":    regexp.MustCompile(`^.{101}`),
	"directories":            regexp.MustCompile(`/$`),
	"bills of materials":     regexp.MustCompile(`^[^/]+\.dist-info/sboms/`),
	"byte code in the wheel": regexp.MustCompile(`\.pyc$`),
	"stubs":                  regexp.MustCompile(`^[^/]*-stubs/`),
}

// oddities are those that a wheel has.
func oddities(t *testing.T, name string, data []byte) map[string]bool {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	has := map[string]bool{}
	for _, f := range r.File {
		for o, re := range byName {
			has[o] = has[o] || re.MatchString(f.Name)
		}
		switch _, file, _ := strings.Cut(f.Name, ".dist-info/"); {
		case file == "RECORD" && strings.Count(f.Name, "/") == 1:
			has[wrongHash] = lies(t, text(t, f), r)
		case file == "entry_points.txt" && strings.Count(f.Name, "/") == 1:
			commands(has, text(t, f))
		case strings.Contains(f.Name, ".data/scripts/"):
			script(has, text(t, f))
		}
		members(has, f)
	}
	places(has, r)
	has["over 1000 files"], has["over 10000 files"] = len(r.File) > 1000, len(r.File) > 10_000
	parts := strings.Split(strings.TrimSuffix(name, ".whl"), "-")
	has["build number"], has["upper case"] = len(parts) == 6, strings.ToLower(parts[0]) != parts[0]
	has["stable ABI"], has["old manylinux"] = slices.Contains(parts, "abi3"), strings.Contains(name, "manylinux1_")
	has["a Python's tag of its own"] = regexp.MustCompile(`-py3\d+-none-`).MatchString(name)
	maps.DeleteFunc(has, func(_ string, v bool) bool { return !v })
	return has
}

// lies tells whether a RECORD has a SHA-256 that is not the file's.
func lies(t *testing.T, record string, r *zip.Reader) bool {
	t.Helper()
	rows := csv.NewReader(strings.NewReader(record))
	rows.FieldsPerRecord = -1
	all, err := rows.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, row := range all {
		if sum, ok := strings.CutPrefix(strings.Join(row[1:], ","), "sha256="); ok {
			want[row[0]], _, _ = strings.Cut(sum, ",")
		}
	}
	for _, f := range r.File {
		sum := sha256.Sum256([]byte(text(t, f)))
		if w := want[f.Name]; w != "" && w != base64.RawURLEncoding.EncodeToString(sum[:]) {
			return true
		}
	}
	return false
}

func text(t *testing.T, f *zip.File) string {
	t.Helper()
	in, err := f.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	data, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func commands(has map[string]bool, text string) {
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = line
			continue
		}
		if section == "[gui_scripts]" && line != "" {
			has["commands with windows"] = true
		}
		if section == "[console_scripts]" && strings.HasSuffix(line, "]") {
			has["commands with extras"] = true
		}
		if regexp.MustCompile(`^(pip|easy_install)-?\d`).MatchString(line) {
			has["pip's versions"] = true
		}
	}
}

func script(has map[string]bool, text string) {
	switch {
	case strings.HasPrefix(text, "\x7fELF"):
		has["a program as script"] = true
	case strings.HasPrefix(text, "#!python"):
		has["#!python script"] = true
	default:
		has["another script"] = true
	}
}

// members adds what is odd about a member of the archive.
func members(has map[string]bool, f *zip.File) {
	if strings.HasSuffix(f.Name, "/") {
		return
	}
	unix, mode := f.CreatorVersion>>8 == 3, f.ExternalAttrs>>16
	for o, is := range map[string]bool{
		"stored members":   f.Method == zip.Store && f.UncompressedSize64 > 0,
		"empty files":      f.UncompressedSize64 == 0,
		"made on Windows":  f.CreatorVersion>>8 == 0,
		"no modes":         unix && mode == 0,
		"mode 600":         mode&0o777 == 0o600,
		"mode 640":         mode&0o777 == 0o640,
		"mode 700":         mode&0o777 == 0o700,
		"mode 777":         mode&0o777 == 0o777,
		"executable files": mode&0o111 != 0 && !strings.Contains(f.Name, ".data/scripts/"),
	} {
		has[o] = has[o] || is
	}
}

// places adds what is odd about a wheel's directories.
func places(has map[string]bool, r *zip.Reader) {
	library, packages, folders := false, map[string]bool{}, map[string]bool{}
	for _, f := range r.File {
		top, rest, in := strings.Cut(f.Name, "/")
		if strings.HasSuffix(top, ".dist-info") || strings.HasSuffix(top, ".data") {
			continue
		}
		library = true
		if in && strings.HasSuffix(rest, "/__init__.py") {
			folders[top] = true
		}
		if in && strings.HasPrefix(rest, "__init__.py") {
			packages[top] = true
		}
	}
	has["no library"] = !library
	for top := range folders {
		has["namespace without __init__"] = has["namespace without __init__"] || !packages[top]
	}
}

var pythonVersion = regexp.MustCompile(`\d+\.\d+`)

// python is the version of the machine's Python.
func python(t *testing.T) string {
	t.Helper()
	return pythonVersion.FindString(wheel.Run(t, testneeds.Python(t), "--version"))
}
