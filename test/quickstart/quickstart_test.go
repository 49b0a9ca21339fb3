// Package quickstart tests what a newcomer does: make quickstart in a fresh copy of the sources,
// once with the sources that answer, and once on the offline package world, where Ray and conda are
// stand-ins.
package quickstart

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/testneeds"
	"github.com/raybuild/raybuild/internal/world"
)

// need skips on a machine that lacks what the quickstart installs for those who are root.
func need(t *testing.T) {
	t.Helper()
	testneeds.Root(t, "make", "git", "go", "runc", "mmdebstrap", "tar")
}

// fresh copies the sources, as they are now, to a new directory.
func fresh(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	list := exec.Command("git", "ls-files", "-co", "--exclude-standard", "--deduplicate", "-z")
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		t.Fatalf("list the sources: %v", err)
	}
	dir := t.TempDir()
	for name := range strings.SplitSeq(strings.Trim(string(out), "\x00"), "\x00") {
		from, to := filepath.Join(root, name), filepath.Join(dir, name)
		info, err := os.Lstat(from)
		if os.IsNotExist(err) { // deleted, not committed yet
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if !info.Mode().IsRegular() {
			continue
		}
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, data, info.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// copied is a fresh copy of the sources, and a home for raybuild.
type copied struct{ dir, home string }

func newCopy(t *testing.T) copied {
	t.Helper()
	need(t)
	c := copied{dir: fresh(t), home: t.TempDir()}
	t.Cleanup(func() {
		c.makes(t, "offline", "world-down")
		// The engine has its files open until it ends.
		cmd := exec.Command(filepath.Join(c.dir, "bin/raybuild"), "cache", "prune", "--all")
		cmd.Env = append(os.Environ(), "RAYBUILD_HOME="+c.home)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Logf("prune: %v\n%s", err, out)
		}
	})
	return c
}

// makes calls make in the copy, and gives what it wrote.
func (c copied) makes(t *testing.T, sources, target string) (stdout, stderr string) {
	t.Helper()
	var out, said bytes.Buffer
	cmd := exec.Command("make", target)
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.dir, &out, &said
	cmd.Env = append(os.Environ(), "QUICKSTART="+sources, "RAYBUILD_HOME="+c.home, "MAKEFLAGS=", "MAKELEVEL=")
	if err := cmd.Run(); err != nil {
		t.Fatalf("make %s: %v\n%s\n%s", target, err, &out, &said)
	}
	return out.String(), said.String()
}

// reference is the last line of make quickstart.
var reference = regexp.MustCompile(`^(127\.0\.0\.1:\d+)/quickstart/ray@sha256:[0-9a-f]{64}$`)

// says runs make quickstart, which must end with a reference and say all of want in this order.
func (c copied) says(t *testing.T, sources string, want ...string) (ref string) {
	t.Helper()
	stdout, stderr := c.makes(t, sources, "quickstart")
	lines := strings.Split(strings.TrimRight(stdout, "\n"), "\n")
	ref = lines[len(lines)-1]
	if !reference.MatchString(ref) {
		t.Errorf("it ends with %q, which is no reference by digest", ref)
	}
	rest := stderr
	for _, text := range want {
		_, after, ok := strings.Cut(rest, text)
		if !ok {
			t.Fatalf("it does not say %q, or not in this place:\n%s", text, stderr)
		}
		rest = after
	}
	return ref
}

func TestQuickstartRunsRealRay(t *testing.T) {
	c := newCopy(t)
	if err := world.Answers(t.Context(), world.Index()); err != nil {
		t.Skip("needs a Python index: ", err)
	}
	c.says(t, "", "$ ray --version\nray, version "+world.RayReal, "$ python squares.py",
		"squares: [0, 1, 4, 9, 16, 25, 36, 49]",
		"$ pip check\nNo broken requirements found", "real: Ray "+world.RayReal+" and ", " packages from ",
		"make world-down")
}

func TestQuickstartOnStandIns(t *testing.T) {
	c := newCopy(t)
	first := c.says(t, "offline", "STAND-INS", "install ray", "uid 1000", "ray, version ", "imported ray ",
		"make world-down")
	again := c.says(t, "offline", "STAND-INS", "up to date: ", "imported ray ") // nothing is built twice
	if again != first {
		t.Errorf("the second run made %q, the first %q", again, first)
	}
	registry := fmt.Sprintf("http://%s/v2/", reference.FindStringSubmatch(first)[1])
	resp, err := http.Get(registry)
	if err != nil {
		t.Fatalf("the registry does not stay up: %v", err)
	}
	_ = resp.Body.Close()
	c.makes(t, "offline", "world-down")
	if resp, err := http.Get(registry); err == nil {
		_ = resp.Body.Close()
		t.Error("the registry answers after make world-down")
	}
}
