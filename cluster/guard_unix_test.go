//go:build unix

package cluster

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fakeNFT keeps one table in a file, as nft(8) keeps it in the kernel.
const fakeNFT = `#!/bin/sh
dir=$(dirname "$0")
case "$1 $2" in
"-f -")
	[ -e "$dir/broken" ] && exit 1
	cat >"$dir/new" && mv "$dir/new" "$dir/table" ;;
"-s list") cat "$dir/table" 2>/dev/null ;;
esac
`

// scripts runs guard.sh and gate.sh on this machine, with a fake nft.
type scripts struct {
	dir, shell string
}

func newScripts(t *testing.T, shell string) scripts {
	t.Helper()
	s := scripts{t.TempDir(), shell}
	if err := os.WriteFile(filepath.Join(s.dir, "nft"), []byte(fakeNFT), 0o755); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s scripts) path(name string) string { return filepath.Join(s.dir, name) }

// start runs a script until the returned function is called.
func (s scripts) start(t *testing.T, script string, args ...string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	words := append(strings.Fields(s.shell), "-c", script, "sh")
	cmd := exec.CommandContext(ctx, words[0], append(words[1:], args...)...)
	cmd.Env = append(os.Environ(), "PATH="+s.dir+":"+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its children end with it
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() {
		cancel()
		_ = cmd.Wait() // it was killed
	}
	t.Cleanup(stop)
	return stop
}

// there waits a while for a file.
func (s scripts) there(name string, limit time.Duration) bool {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(s.path(name)); err == nil {
			return true
		}
	}
	return false
}

func TestH6GateOpensAfterALookAtTheFilter(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"dash", "bash", "busybox sh"} {
		if _, err := exec.LookPath(strings.Fields(shell)[0]); err != nil {
			t.Logf("no %s", shell)
			continue
		}
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			s := newScripts(t, shell)
			gate := s.path("gate")
			node := func(mark string) { s.start(t, gateScript, gate, "touch", s.path(mark)) }
			guard := func() func() { return s.start(t, guardScript, "raybuild-x", "rules of x", gate) }
			node("early") // the guard has never run
			if s.there("early", 300*time.Millisecond) {
				t.Error("a node starts without a gate")
			}
			stop := guard()
			if !s.there("table", 5*time.Second) || !s.there("gate", 5*time.Second) {
				t.Fatal("the guard installs nothing")
			}
			for _, mark := range []string{"one", "two", "three"} {
				node(mark)
			}
			for _, mark := range []string{"one", "two", "three"} {
				if !s.there(mark, 5*time.Second) {
					t.Errorf("node %s does not start", mark)
				}
			}
			if err := os.Remove(s.path("table")); err != nil {
				t.Fatal(err)
			}
			if !s.there("table", 5*time.Second) {
				t.Error("the guard does not put the table back")
			}
			stop()
			node("alone")
			if s.there("alone", 500*time.Millisecond) {
				t.Error("a node starts without a guard")
			}
			guard()
			if !s.there("alone", 5*time.Second) {
				t.Error("the node does not start when the guard is back")
			}
		})
	}
}

func TestH6NoFilterNoNode(t *testing.T) {
	t.Parallel()
	s := newScripts(t, "sh")
	gate := s.path("gate")
	s.start(t, guardScript, "raybuild-x", "rules of x", gate)
	if !s.there("gate", 5*time.Second) {
		t.Fatal("the guard makes no gate")
	}
	for _, err := range []error{os.WriteFile(s.path("broken"), nil, 0o644), os.Remove(s.path("table"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s.start(t, gateScript, gate, "touch", s.path("mark"))
	if s.there("mark", 2*time.Second) {
		t.Error("a node starts although the filter cannot be installed")
	}
}
