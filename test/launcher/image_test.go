package launcher

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/raybuild/raybuild/internal/engine"
	"github.com/raybuild/raybuild/internal/world"
)

// imageEnv names an image of the offline world that raybuild has built, to save building it here: a
// reference that can be pulled, or a tar of `raybuild --output type=docker`. Ray in it is the
// world's stand-in, which runs tasks and jobs; it is not Ray.
const imageEnv = "RAYBUILD_TEST_RAY_IMAGE"

// rayImage brings the world's image to the bed's registry, once for all tests that run it.
func (b *bed) rayImage(t *testing.T) string {
	t.Helper()
	if b.world != "" {
		return b.world
	}
	from := os.Getenv(imageEnv)
	if from == "" {
		from = buildImage(t)
	}
	var img v1.Image
	var err error
	if strings.HasSuffix(from, ".tar") {
		img, err = tarball.ImageFromPath(from, nil)
	} else {
		img, err = remote.Image(must(name.ParseReference(from, name.Insecure)))
	}
	if err != nil {
		t.Fatal(err)
	}
	d := must(img.Digest())
	ref := must(name.ParseReference(b.Registry+"/ray:world", name.Insecure))
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	b.world = b.Registry + "/ray@" + d.String()
	return b.world
}

var (
	programOnce sync.Once
	programDir  string // TestMain removes it
	errProgram  error
)

// buildProgram is the real raybuild, built once.
func buildProgram(t *testing.T) string {
	t.Helper()
	programOnce.Do(func() {
		//nolint:usetesting // it outlives the test
		if programDir, errProgram = os.MkdirTemp("", "rbp"); errProgram != nil {
			return
		}
		build := exec.Command("go", "build", "-o", programDir, "github.com/raybuild/raybuild/cmd/raybuild")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			errProgram = fmt.Errorf("build raybuild: %w\n%s", err, out)
		}
	})
	if errProgram != nil {
		t.Fatal(errProgram)
	}
	return filepath.Join(programDir, "raybuild")
}

// buildImage is the main job: the real program builds the offline world's recipe, with the newer of
// its rays, and pushes it. It gives the pinned reference that the program printed.
func buildImage(t *testing.T) string {
	t.Helper()
	testEnv, err := world.Start(t.Context(), world.Options{Log: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := testEnv.Close(); err != nil {
			t.Errorf("end the world: %v", err)
		}
	})
	dir, home := t.TempDir(), shortDir(t)
	program := buildProgram(t)
	if err := os.WriteFile(filepath.Join(dir, "raybuild.yaml"), testEnv.Recipe(), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := engine.Stop(ctx, engine.Options{Home: home, Exe: program, Env: []string{}}); err != nil {
			t.Errorf("stop engine: %v", err)
		}
	})
	start := time.Now()
	var log strings.Builder
	push := exec.CommandContext(t.Context(), program, "--push", "--progress", "plain", "--set",
		"ray.version="+world.RayNew, testEnv.Registry+"/cluster/ray:test")
	push.Dir, push.Stderr = dir, &log
	push.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "RAYBUILD_HOME=" + home}
	out, err := push.Output()
	if err != nil {
		t.Fatalf("build and push the world's image: %v\n%s", err, log.String())
	}
	t.Logf("built and pushed in %.0f s: %s", time.Since(start).Seconds(), out)
	return strings.TrimSpace(string(out))
}

// shortDir is a directory for the engine's state: a socket's path has to be short.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rbl") //nolint:usetesting // t.TempDir has the test's name in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the builder's state: %v", err)
		}
	})
	return dir
}
