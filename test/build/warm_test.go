package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/engine"
	"github.com/raybuild/raybuild/internal/world"
)

// warmth is a builder that many tests share: it has built the short recipe once, so that a test
// pays for its own edit only.
type warmth struct {
	once   sync.Once
	dir    string // RAYBUILD_HOME
	lock   string // of the short recipe
	digest string // of its image
	err    error
}

var warm warmth

// shortRecipe is the smallest recipe of the world, with a line for each key that is given.
func shortRecipe(more ...string) string {
	in, _ := testEnv.Installer("miniconda")
	return fmt.Sprintf(`base: %s
mirrors: {fetch: [%s]}
apt: [less]
miniconda: {version: %s, sha256: %s}
env: {python: "3.11", channels: [conda-forge]}
ray: {version: %s, extras: []}
`, testEnv.Base, testEnv.A.Fetch(), in.Version, in.SHA256, world.RayOld) + strings.Join(more, "\n") + "\n"
}

// warmHome is the shared builder with the short recipe and its lock in a directory of the test's own.
func warmHome(t *testing.T) *home {
	t.Helper()
	need(t)
	warm.once.Do(func() {
		//nolint:usetesting // it outlives the test that makes it, and a socket's path has to be short
		warm.dir, warm.err = os.MkdirTemp("", "rbw")
		if warm.err != nil {
			return
		}
		h := &home{t: t, dir: warm.dir, cwd: t.TempDir()}
		h.write("raybuild.yaml", shortRecipe())
		start := time.Now()
		warm.digest = h.push(testEnv.Registry + "/warm:1").meta.Digest
		t.Logf("the shared builder made its first image in %.1f s", time.Since(start).Seconds())
		warm.lock = h.read("raybuild.lock")
	})
	if warm.err != nil || warm.lock == "" {
		t.Fatalf("the shared builder could not be made: %v", warm.err)
	}
	return warmLike(t, warm.dir)
}

// warmLike is a home in dir with the short recipe and its lock.
func warmLike(t *testing.T, dir string) *home {
	t.Helper()
	h := &home{t: t, dir: dir, cwd: t.TempDir()}
	h.write("raybuild.yaml", shortRecipe())
	h.write("raybuild.lock", warm.lock)
	t.Cleanup(func() {
		if left, err := filepath.Glob(filepath.Join(h.cwd, ".*.*")); err != nil || len(left) > 0 {
			t.Errorf("left behind beside the recipe: %v %v", left, err)
		}
	})
	return h
}

// coldHome is a new builder with the short recipe and its lock.
func coldHome(t *testing.T) *home {
	t.Helper()
	warmHome(t)
	return warmLike(t, newHome(t).dir)
}

// full is a builder that has built the world's whole recipe once. It is another than warm, whose tests count on what
// was never fetched.
var full struct {
	once sync.Once
	dir  string // RAYBUILD_HOME
	lock string
}

// fullHome is the builder of the world's whole recipe, with recipe and lock in a directory of the test's own.
func fullHome(t *testing.T) *home {
	t.Helper()
	need(t)
	full.once.Do(func() {
		//nolint:usetesting // it outlives the test, and a socket's path must be short
		dir, err := os.MkdirTemp("", "rbf")
		if err != nil {
			t.Fatal(err)
		}
		full.dir = dir
		h := &home{t: t, dir: dir, cwd: t.TempDir()}
		h.write("raybuild.yaml", string(testEnv.Recipe()))
		h.push(testEnv.Registry + "/full:1")
		full.lock = h.read("raybuild.lock")
	})
	if full.lock == "" {
		t.Fatal("the builder of the whole recipe could not be made")
	}
	h := &home{t: t, dir: full.dir, cwd: t.TempDir()}
	h.write("raybuild.yaml", string(testEnv.Recipe()))
	h.write("raybuild.lock", full.lock)
	return h
}

// stopWarm ends the shared builders.
func stopWarm() error {
	var errs []error
	for _, dir := range []string{warm.dir, full.dir} {
		if dir != "" {
			errs = append(errs, stopEngine(dir), os.RemoveAll(dir))
		}
	}
	return errors.Join(errs...)
}

// stopEngine ends the engine of a builder whose state is in dir. It was started with nothing of
// this process's environment.
func stopEngine(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return engine.Stop(ctx, engine.Options{Home: dir, Exe: program, Env: []string{}})
}

// honest ends all faults of the world's mirrors, now and after the test.
func honest(t *testing.T) {
	t.Helper()
	reset := func() {
		for _, m := range []world.Mirror{testEnv.A, testEnv.B} {
			if err := m.Fault(fault{Mode: "off"}); err != nil {
				t.Error(err)
			}
			m.ResetStats()
		}
	}
	reset()
	t.Cleanup(reset)
}
