// Package quickstart tests what a newcomer does: make quickstart in a fresh copy of the sources. It runs on the offline
// package world, so Ray and conda are stand-ins.
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
)

// need skips on a machine that lacks what the quickstart installs for those who are root; under RAYBUILD_TEST_STRICT=1 it fails.
func need(t *testing.T) {
	t.Helper()
	missing := ""
	if os.Geteuid() != 0 {
		missing = "root"
	}
	for _, tool := range []string{"make", "git", "go", "runc", "mmdebstrap", "tar"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing = tool
		}
	}
	if missing == "" {
		return
	}
	if os.Getenv("RAYBUILD_TEST_STRICT") == "1" {
		t.Fatalf("this test needs %s", missing)
	}
	t.Skipf("this test needs %s", missing)
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

// makes calls make in dir, and gives what it wrote.
func makes(t *testing.T, dir, home, target string) (stdout, stderr string) {
	t.Helper()
	var out, said bytes.Buffer
	cmd := exec.Command("make", target)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &said
	cmd.Env = append(os.Environ(), "QUICKSTART=offline", "RAYBUILD_HOME="+home, "MAKEFLAGS=", "MAKELEVEL=")
	if err := cmd.Run(); err != nil {
		t.Fatalf("make %s: %v\n%s\n%s", target, err, &out, &said)
	}
	return out.String(), said.String()
}

func TestQuickstartOnStandIns(t *testing.T) {
	need(t)
	dir, home := fresh(t), t.TempDir()
	t.Cleanup(func() {
		makes(t, dir, home, "world-down")
		// The engine has its files open until it ends.
		cmd := exec.Command(filepath.Join(dir, "bin/raybuild"), "cache", "prune", "--all")
		cmd.Env = append(os.Environ(), "RAYBUILD_HOME="+home)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Logf("prune: %v\n%s", err, out)
		}
	})
	reference := regexp.MustCompile(`^(127\.0\.0\.1:\d+)/quickstart/ray@sha256:[0-9a-f]{64}$`)
	var last string
	for n, want := range [][]string{
		{"STAND-INS", "ray, version ", "imported ray ", "uid 1000", "install ray", "make world-down"},
		{"STAND-INS", "up to date: ", "imported ray "}, // again: nothing is built twice
	} {
		stdout, stderr := makes(t, dir, home, "quickstart")
		lines := strings.Split(strings.TrimRight(stdout, "\n"), "\n")
		if got := lines[len(lines)-1]; !reference.MatchString(got) || n > 0 && got != last {
			t.Errorf("run %d ends with %q; the one before with %q", n+1, got, last)
		}
		last = lines[len(lines)-1]
		for _, text := range want {
			if !strings.Contains(stderr, text) {
				t.Errorf("run %d does not say %q:\n%s", n+1, text, stderr)
			}
		}
	}
	registry := fmt.Sprintf("http://%s/v2/", reference.FindStringSubmatch(last)[1])
	resp, err := http.Get(registry)
	if err != nil {
		t.Fatalf("the registry does not stay up: %v", err)
	}
	_ = resp.Body.Close()
	makes(t, dir, home, "world-down")
	if resp, err := http.Get(registry); err == nil {
		_ = resp.Body.Close()
		t.Error("the registry answers after make world-down")
	}
}
