// Package enginetest starts a real embedded engine for a test.
package enginetest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/engine"
	"github.com/raybuild/raybuild/internal/testneeds"
)

// Options gives options that start this test binary as an engine with its
// state in home. The engine ends by itself one minute after the last client.
func Options(home string) engine.Options {
	return engine.Options{Home: home, Args: []string{serveArg}, Idle: time.Minute, Env: []string{}}
}

// Start starts a fresh engine in a directory of its own and gives its address
// ("unix://…"); both are gone when the test ends. The test is skipped, with
// the reason, on a machine where no engine can run, unless
// RAYBUILD_TEST_STRICT=1 makes that a failure.
func Start(t testing.TB) (addr string) {
	t.Helper()
	return StartWith(t, Options(Home(t)))
}

// StartWith is Start with options of the caller's, which come from Options.
func StartWith(t testing.TB, o engine.Options) (addr string) {
	t.Helper()
	addr, err := engine.Ensure(t.Context(), o)
	Skip(t, err)
	if err != nil {
		t.Fatalf("start engine: %v", err)
	}
	t.Cleanup(func() { Stop(t, o) })
	return addr
}

// Stop ends the engine that o describes and waits until it is gone.
func Stop(t testing.TB, o engine.Options) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute) // in a cleanup t's own is over
	defer cancel()
	if err := engine.Stop(ctx, o); err != nil {
		t.Errorf("stop engine: %v", err)
	}
}

// Home makes a directory with a short path for an engine's state. It is
// removed when the test ends, after what was started with it.
func Home(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		testneeds.Skip(t, testneeds.Missing())
	}
	//nolint:usetesting // a socket's path has to be short; t.TempDir has the test's name in it
	dir, err := os.MkdirTemp("", "rbe")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove engine state %s: %v", filepath.Base(dir), err)
		}
	})
	return dir
}

// Skip skips the test when err says that this machine cannot run an engine,
// and fails it instead when RAYBUILD_TEST_STRICT=1.
func Skip(t testing.TB, err error) {
	t.Helper()
	for _, kind := range []error{engine.ErrUnsupported, engine.ErrNoRuntime, engine.ErrNoPrivilege} {
		if !errors.Is(err, kind) {
			continue
		}
		testneeds.Skip(t, "no engine here: "+err.Error())
	}
}
