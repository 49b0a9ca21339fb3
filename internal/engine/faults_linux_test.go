package engine_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"golang.org/x/sys/unix"

	"github.com/raybuild/raybuild/internal/engine"
	"github.com/raybuild/raybuild/internal/engine/enginetest"
)

func TestMissingRuntimeIsNamedWithItsCure(t *testing.T) {
	o := enginetest.Options(enginetest.Home(t))
	t.Setenv("PATH", "")
	_, err := engine.Ensure(t.Context(), o)
	if !errors.Is(err, engine.ErrNoRuntime) {
		t.Fatalf("got %v, want ErrNoRuntime", err)
	}
	if !strings.Contains(err.Error(), "install") || !strings.Contains(err.Error(), "runc") {
		t.Errorf("%q does not say how to install runc", err)
	}
}

func TestFullDiskIsNamedBeforeTheStart(t *testing.T) {
	for _, c := range []struct{ name, opts, want string }{
		{"no bytes", "size=8m", "needed"},
		{"no inodes", "size=4g,nr_inodes=64", "inodes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			home := enginetest.Home(t)
			if err := unix.Mount("tmpfs", home, "tmpfs", 0, c.opts); err != nil {
				enginetest.Skip(t, &engine.Error{Kind: engine.ErrNoPrivilege, Detail: "mount tmpfs: " + err.Error()})
			}
			t.Cleanup(func() { _ = unix.Unmount(home, unix.MNT_DETACH) })
			_, err := engine.Ensure(t.Context(), enginetest.Options(home))
			if !errors.Is(err, engine.ErrNoSpace) {
				t.Fatalf("got %v, want ErrNoSpace", err)
			}
			if s := err.Error(); !strings.Contains(s, home) || !strings.Contains(s, c.want) ||
				!strings.Contains(s, "prune") {
				t.Errorf("%q lacks the path, what is free and needed (%q), or the cure", s, c.want)
			}
			// Room is made: the next call works without more ado.
			if err := unix.Mount("", home, "", unix.MS_REMOUNT, "size=4g,nr_inodes=200000"); err != nil {
				t.Fatal(err)
			}
			o := enginetest.Options(home)
			ensure(t, o)
			enginetest.Stop(t, o)
		})
	}
}

func TestStateOfAnotherVersionIsPutAside(t *testing.T) {
	for name, format := range map[string]string{"older": "raybuild-engine-0\n", "without a format": ""} {
		t.Run(name, func(t *testing.T) {
			o := enginetest.Options(enginetest.Home(t))
			dir := filepath.Join(o.Home, "engine", "default")
			state := filepath.Join(dir, "state")
			if err := os.MkdirAll(state, 0o700); err != nil {
				t.Fatal(err)
			}
			if format != "" {
				writeFile(t, filepath.Join(state, "format"), format)
			}
			writeFile(t, filepath.Join(state, "cache.db"), "not a database of this version")
			var notes bytes.Buffer
			o.Notes = &notes
			ensure(t, o)
			aside, _ := filepath.Glob(state + ".old-*/cache.db")
			if len(aside) != 1 {
				t.Errorf("the old state is not beside the new one: %v", aside)
			}
			if len(aside) == 1 && !strings.Contains(notes.String(), filepath.Dir(aside[0])) {
				t.Errorf("nobody was told where it went: %q", notes.String())
			}
		})
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLongHomeGetsAShortSocket(t *testing.T) {
	needBusybox(t)
	home := filepath.Join(enginetest.Home(t), strings.Repeat("long/", 40)+"home")
	o := enginetest.Options(home)
	addr := ensure(t, o)
	socket := strings.TrimPrefix(addr, "unix://")
	t.Cleanup(func() { os.RemoveAll(filepath.Dir(socket)) })
	if len(socket) > 107 {
		t.Errorf("socket path %q has %d bytes", socket, len(socket))
	}
	// Another environment finds the same engine.
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	if again := ensure(t, o); again != addr {
		t.Errorf("with another XDG_RUNTIME_DIR the address is %q, was %q", again, addr)
	}
	mustSolve(t, addr, step{sh: "busybox true"})
}

func TestSocketIsPrivate(t *testing.T) {
	socket := strings.TrimPrefix(enginetest.Start(t), "unix://")
	for path, want := range map[string]os.FileMode{socket: 0o600, filepath.Dir(socket): 0o700} {
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", path, st.Mode().Perm(), want)
		}
	}
}

func TestSecondProcessOnOneStateIsRefused(t *testing.T) {
	o := enginetest.Options(enginetest.Home(t))
	socket := strings.TrimPrefix(ensure(t, o), "unix://")
	args := append(append([]string{}, o.Args...), "-dir", filepath.Dir(socket), "-socket", socket+"2")
	out, err := exec.Command("/proc/self/exe", args...).CombinedOutput()
	if err == nil {
		t.Fatal("a second engine served the same state")
	}
	if !strings.Contains(string(out), engine.ErrInUse.Error()) {
		t.Errorf("it said %q, want %q", out, engine.ErrInUse)
	}
	ensure(t, o)
}

func TestFrozenEngineIsNamed(t *testing.T) {
	t.Parallel()
	o := enginetest.Options(enginetest.Home(t))
	ensure(t, o)
	pid := pidOf(t, o.Home)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	_, err := engine.Ensure(t.Context(), o)
	if err2 := syscall.Kill(pid, syscall.SIGCONT); err2 != nil {
		t.Fatal(err2)
	}
	if !errors.Is(err, engine.ErrInUse) || !strings.Contains(err.Error(), "kill -9") {
		t.Errorf("got %v, want ErrInUse with the command that ends it", err)
	}
	ensure(t, o)
	if now := pidOf(t, o.Home); now != pid {
		t.Errorf("the engine that went on is not used: %d, was %d", now, pid)
	}
}

func TestLimitsOfTheCallerAreMet(t *testing.T) {
	o := enginetest.Options(enginetest.Home(t))
	ensure(t, o)
	first := pidOf(t, o.Home)
	o.CacheLimit = 7e9
	addr := ensure(t, o)
	second := pidOf(t, o.Home)
	if second == first {
		t.Error("an idle engine with another limit was not replaced")
	}
	c, err := client.New(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w, err := c.ListWorkers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := w[0].GCPolicy[0].MaxUsedSpace; got != o.CacheLimit {
		t.Errorf("the engine keeps %d bytes, want %d", got, o.CacheLimit)
	}
	// c is connected: the engine has work, so other limits must wait.
	var notes bytes.Buffer
	o.CacheLimit, o.Notes = 8e9, &notes
	ensure(t, o)
	if pidOf(t, o.Home) != second {
		t.Error("an engine with a client was ended")
	}
	if !strings.Contains(notes.String(), "busy") {
		t.Errorf("the caller was not told: %q", notes.String())
	}
}

func TestSettingsOfAProcessGetAnInstanceOfTheirOwn(t *testing.T) {
	o := enginetest.Options(enginetest.Home(t))
	plain := ensure(t, o)
	o.Env = []string{"HTTPS_PROXY=http://user:word@192.0.2.1:3128"}
	proxied := ensure(t, o)
	if plain == proxied {
		t.Fatal("a proxy reached another caller's engine")
	}
	if strings.Contains(proxied, "word") {
		t.Errorf("the address %q shows a password", proxied)
	}
	pid, err := os.ReadFile(filepath.Join(filepath.Dir(strings.TrimPrefix(proxied, "unix://")), "engine.pid"))
	if err != nil {
		t.Fatal(err)
	}
	argv, err := os.ReadFile("/proc/" + string(pid) + "/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(argv, []byte("word")) {
		t.Errorf("the engine's arguments show a password: %q", argv)
	}
	if st, err := os.Stat(filepath.Join(o.Home, "engine")); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("the engines' directory: %v, %v", st.Mode(), err)
	}
}

func TestStartThatFailsShowsTheLog(t *testing.T) {
	o := enginetest.Options(enginetest.Home(t))
	o.Exe, o.Args = "/bin/sh", []string{"-c", "echo the reason >&2; exit 3"}
	_, err := engine.Ensure(t.Context(), o)
	enginetest.Skip(t, err)
	if !errors.Is(err, engine.ErrStart) || !strings.Contains(err.Error(), "the reason") {
		t.Errorf("got %v, want ErrStart with the end of the log", err)
	}
	o.Args = []string{"-c", "exec sleep 20"}
	o.StartTimeout = 300 * time.Millisecond
	if _, err := engine.Ensure(t.Context(), o); !errors.Is(err, engine.ErrStart) ||
		!strings.Contains(err.Error(), "300ms") {
		t.Errorf("got %v, want ErrStart after 300ms", err)
	}
}
