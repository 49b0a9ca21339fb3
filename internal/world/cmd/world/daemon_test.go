package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/raybuild/raybuild/internal/testneeds"
)

func TestStartTimeTellsProcessesApart(t *testing.T) {
	if startTime(os.Getpid()) == "" || startTime(1<<30) != "" {
		t.Error("start times are wrong")
	}
	if (&state{PID: os.Getpid(), Start: "1"}).alive() {
		t.Error("a process of another start time counts as the world's")
	}
}

func TestDownEndsNoOtherProcess(t *testing.T) {
	sleep := exec.Command("sleep", "60")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sleep.Wait() }()
	defer func() { _ = sleep.Process.Kill() }()
	dir := t.TempDir()
	data, err := json.Marshal(state{PID: sleep.Process.Pid, Start: "12345"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stateFile(dir), data, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := down(t.Context(), options{dir: dir, stdout: io.Discard}); err != nil {
		t.Fatal(err)
	}
	if err := sleep.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the process is gone: %v", err)
	}
}

// The whole life of a world in the background: up, up again, down, up on the same ports.
func TestUpAndDown(t *testing.T) {
	testneeds.Root(t, "mmdebstrap", "dpkg-deb", "go")
	dir := t.TempDir()
	exe := filepath.Join(dir, "world")
	if out, err := exec.Command("go", "build", "-o", exe, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	state := filepath.Join(dir, "state")
	run := func(command string) string {
		out, err := exec.Command(exe, command, "--dir", state).CombinedOutput()
		if err != nil {
			t.Fatalf("world %s: %v\n%s", command, err, out)
		}
		return string(out)
	}
	defer run("down")
	if out := run("up"); !strings.Contains(out, "is up (process") {
		t.Error(out)
	}
	if out := run("up"); !strings.Contains(out, "is up already") {
		t.Error(out)
	}
	s, err := readState(state)
	if err != nil || !s.alive() || !s.answers(t.Context()) {
		t.Fatalf("%v: %+v", err, s)
	}
	for _, f := range []string{"env", "raybuild.yaml"} {
		if data, err := os.ReadFile(filepath.Join(state, f)); err != nil ||
			!strings.Contains(string(data), s.Addrs[0]) {
			t.Errorf("%s: %v\n%s", f, err, data)
		}
	}
	if out := run("down"); !strings.Contains(out, "is down") || s.alive() {
		t.Error(out)
	}
	if _, err := http.Get("http://" + s.Addrs[0] + "/_world/stats"); err == nil {
		t.Error("a mirror answers after world down")
	}
	run("up")
	again, err := readState(state)
	if err != nil || again.Addrs != s.Addrs {
		t.Errorf("%v: addresses were %v and are %v", err, s.Addrs, again.Addrs)
	}
}
