package wheel_test

import (
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/bytecode"
	"github.com/raybuild/raybuild/internal/testneeds"
	"github.com/raybuild/raybuild/internal/world"
	"github.com/raybuild/raybuild/wheel"
)

const (
	// importsEnv asks for TestImports: with torch for torch besides Ray (16 GB of disk), with anything else for Ray.
	importsEnv = "RAYBUILD_TEST_IMPORTS"
	// importRounds is how often each environment is measured.
	importRounds = 15
	// importBound is how much longer an import may take than in an environment that pip made.
	importBound = 1.05
)

// TestImports compares how long Ray, or Ray and torch, take to import in an environment of layers and in one that pip
// made, as a user who may not write there: from the disk, and from memory. It is part of no other test's run, because
// others on the machine disturb it.
func TestImports(t *testing.T) {
	requirements, statement := []string{"ray[default]==" + world.RayReal}, "import ray"
	switch os.Getenv(importsEnv) {
	case "":
		t.Skip(importsEnv + " is not set")
	case "torch":
		requirements, statement = append(requirements, "torch", "numpy"), "import ray, torch"
	}
	testneeds.Root(t, "setpriv", "tar", "/usr/bin/python3")
	index, err := world.RealIndex(t.Context())
	if err != nil {
		t.Skipf("no real wheels can be had: %v", err)
	}
	server := httptest.NewServer(index)
	t.Cleanup(server.Close)
	dir, err := os.MkdirTemp("", "rbi") //nolint:usetesting // another user has to reach it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	wheels, pip, layer := filepath.Join(dir, "wheels"), filepath.Join(dir, "pip"), filepath.Join(dir, "our")
	for _, venv := range []string{pip, layer} {
		wheel.Run(t, "/usr/bin/python3", "-m", "venv", "--without-pip", venv)
	}
	wheel.Run(t, append([]string{testneeds.Python(t), "-m", "pip", "--python", pip + "/bin/python", "download", "-q",
		"--no-cache-dir", "--only-binary", ":all:", "--index-url", server.URL + "/simple", "-d", wheels},
		requirements...)...)
	files, err := filepath.Glob(filepath.Join(wheels, "*.whl"))
	if err != nil || len(files) < 20 {
		t.Fatalf("pip brought %d wheels: %v", len(files), err)
	}
	wheel.Run(t, append([]string{testneeds.Python(t), "-m", "pip", "--python", pip + "/bin/python", "install", "-q",
		"--no-deps", "--no-index", "--compile"}, files...)...)
	unpackLayer(t, layer, files)
	for _, state := range []string{"cold", "warm"} {
		var times [2][]time.Duration
		for round := range importRounds {
			for i := range 2 {
				i = (i + round) % 2 // each is first every other time
				times[i] = append(times[i], importIn(t, []string{pip, layer}[i], statement, state == "cold"))
			}
		}
		ratio := slices.Min(times[1]).Seconds() / slices.Min(times[0]).Seconds() // others on the machine add to it
		t.Logf("%s: pip's environment %v (median %v), that of layers %v (median %v), shortest of %d; ratio %.3f",
			state, slices.Min(times[0]).Round(time.Millisecond), median(times[0]).Round(time.Millisecond),
			slices.Min(times[1]).Round(time.Millisecond), median(times[1]).Round(time.Millisecond), importRounds, ratio)
		if ratio > importBound {
			t.Errorf("%s, %q takes %.3f times as long as where pip installed it, want at most %v", state, statement,
				ratio, importBound)
		}
	}
}

// unpackLayer makes one layer of wheels, with byte code, and unpacks it as an engine does.
func unpackLayer(t *testing.T, prefix string, files []string) {
	t.Helper()
	c, err := bytecode.Start(t.Context(), bytecode.Python{Path: "/usr/bin/python3"}, bytecode.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var all []*wheel.Wheel
	for _, name := range files {
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
		all = append(all, w)
	}
	tar := exec.CommandContext(t.Context(), "tar", "--no-overwrite-dir", "-xz", "--numeric-owner", "-C", "/")
	in, err := tar.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := tar.Start(); err != nil {
		t.Fatal(err)
	}
	_, err = wheel.Write(t.Context(), in, wheel.Target{Prefix: prefix, Python: c.Version()},
		wheel.Options{Compiler: c}, all...)
	in.Close()
	if end := tar.Wait(); err != nil || end != nil {
		t.Fatalf("unpack the layer: %v, %v", err, end)
	}
}

// importIn is how long a Python takes that imports, as nobody: by the clock if it is cold, else in CPU time.
func importIn(t *testing.T, venv, statement string, cold bool) time.Duration {
	t.Helper()
	if cold {
		wheel.Run(t, "sync")
		if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
			testneeds.Skip(t, fmt.Sprintf("this machine does not let go of its page cache: %v", err))
		}
	}
	cmd := exec.CommandContext(t.Context(), "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
		venv+"/bin/python", "-c", statement+"; print(ray.__version__)")
	cmd.Env, cmd.Dir = []string{"PATH=/usr/bin:/bin", "HOME=/nonexistent"}, "/"
	start := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(start)
	if !cold && cmd.ProcessState != nil {
		took = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	if err != nil || strings.TrimSpace(string(out)) != world.RayReal {
		t.Fatalf("%s in %s: %v\n%s", statement, venv, err, out)
	}
	return took
}

func median(all []time.Duration) time.Duration {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}
