package uv

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/pylock"
)

func testTarget() pylock.Target {
	return pylock.Target{Python: "3.11.9", Platform: "linux/arm64", Glibc: "2.28"}
}

// fake is a program in uv's place.
func fake(t *testing.T, dir, text string) *Resolver {
	t.Helper()
	program := filepath.Join(t.TempDir(), "uv")
	if err := writeOnce(program, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	r, err := New(Options{Program: program, Dir: dir, Gateway: &handlerGateway{handler: http.HandlerFunc(echo)}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestCommandHasNothingOfThisMachine: the secret is in the environment alone, and no setting of the user's is.
func TestCommandHasNothingOfThisMachine(t *testing.T) {
	t.Setenv("UV_INDEX_URL", "http://evil.example")
	t.Setenv("NO_PROXY", "*")
	seen := filepath.Join(t.TempDir(), "seen")
	r := fake(t, t.TempDir(), `
for v in HTTP_PROXY http_proxy ALL_PROXY; do eval "printf '%s\n' \"\$$v\"" >>'`+seen+`'; done
{ printf '%s\n' "$@"; echo "NO_PROXY=$NO_PROXY INDEX=$UV_INDEX_URL HOME=$HOME CONFIG=$UV_NO_CONFIG"; } >'`+seen+`.args'
exit 1
`)
	_, err := r.Resolve(t.Context(), Question{Target: testTarget(), Requirements: []string{"a"}})
	if err == nil {
		t.Fatal("no error")
	}
	proxies, err2 := os.ReadFile(seen)
	args, err3 := os.ReadFile(seen + ".args")
	if err2 != nil || err3 != nil {
		t.Fatal(err2, err3)
	}
	_, secret, _ := strings.Cut(strings.TrimPrefix(strings.Split(string(proxies), "\n")[0], "http://"), ":")
	secret, _, _ = strings.Cut(secret, "@")
	if len(secret) < 20 || strings.Count(string(proxies), secret) != 3 {
		t.Errorf("the proxies are %s", proxies)
	}
	if strings.Contains(string(args), secret) || strings.Contains(err.Error(), secret) {
		t.Error("the secret is where others see it")
	}
	home, _ := os.UserHomeDir()
	if !strings.Contains(string(args), "NO_PROXY= INDEX= ") || strings.Contains(string(args), "HOME="+home+" ") ||
		!strings.Contains(string(args), "CONFIG=1") {
		t.Errorf("%s", args)
	}
}

// TestRunDirsOfKilledRuns: what a killed run leaves goes away in time, and what a living one needs stays.
func TestRunDirsOfKilledRuns(t *testing.T) {
	dir := t.TempDir()
	old, young := filepath.Join(dir, "runs", "run-old"), filepath.Join(dir, "runs", "run-young")
	for _, d := range []string{old, young} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(old, time.Time{}, time.Now().Add(-2*runsKept)); err != nil {
		t.Fatal(err)
	}
	r := fake(t, dir, "exit 1\n")
	if _, err := r.Resolve(t.Context(), Question{Target: testTarget(), Requirements: []string{"a"}}); err == nil {
		t.Error("no error")
	}
	left, err := os.ReadDir(filepath.Join(dir, "runs"))
	if err != nil || len(left) != 1 || left[0].Name() != "run-young" {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestStandInAnswersOneQuestionAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a 'dir' $HOME `id`")
	var exe string
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			got, err := standIn(dir, testTarget())
			if err != nil {
				t.Error(err)
			}
			exe = got
		})
		wg.Wait()
	}
	question := []string{"-I", "-B", "-c", `import sys; sys.path = [x] + sys.path; from python.get_interpreter_info ` +
		`import main; main()`}
	run := func(args ...string) ([]byte, error) {
		cmd := exec.Command(exe, args...)
		cmd.Env = []string{"PATH=/nonexistent"}
		return cmd.CombinedOutput()
	}
	out, err := run(question...)
	var said interpreterInfo
	if err != nil || json.Unmarshal(out, &said) != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if said.Arch != "aarch64" || said.OS.Minor != 28 || said.Markers["python_full_version"] != "3.11.9" ||
		said.SysExecutable != exe {
		t.Errorf("%+v", said)
	}
	for _, args := range [][]string{nil, {"-c", "print(1)"}, append(slices.Clone(question), "x"),
		{"-I", "-B", "-c", "import sys; sys.path = x; import setuptools"}} {
		out, err := run(args...)
		if e, ok := errors.AsType[*exec.ExitError](err); !ok || e.ExitCode() != refused ||
			!strings.Contains(string(out), refusedText) {
			t.Errorf("%q: %v %s", args, err, out)
		}
	}
}

func TestErrorsAreClean(t *testing.T) {
	stubs := map[string]Installed{"/own/installed/ff/a_b-1-py3-none-any.whl": {Name: "a-b", Version: "1"}}
	said := "warning: x\n\x1b[31merror\x1b[0m: No solution found when resolving dependencies\n  cause: Because a-b @ " +
		"file:///own/installed/ff/a_b-1-py3-none-any.whl and you require c[x]>=1,<2, and " +
		"/own/runs/run-1/requirements.txt at http://pypi.org/simple/c/\n" + strings.Repeat("         more\n", 30)
	q := Question{Requirements: []string{"c[x] >=1,<2"}, Installed: []Installed{{Name: "A_B", Version: "1"}}}
	got := text{said: said, run: "/own/runs/run-1", dir: "/own", stubs: stubs}.clean(q)
	const want = "warning: x\nBecause a-b==1 and you require c[x]>=1,<2, and " +
		"requirements.txt at https://pypi.org/simple/c/\n"
	if !strings.HasPrefix(got, want) || strings.Count(got, "\n") >= maxLines || !strings.Contains(got, "lines more") {
		t.Errorf("%s", got)
	}
	if named := fmt.Sprint(q.named(got)); named != "[c[x]>=1,<2]" {
		t.Error(named)
	}
	if env := q.environment(got); env != "\nthe environment has A_B 1" {
		t.Error(env)
	}
}
