package engine_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/buildkit/client"
	"github.com/tonistiigi/fsutil"

	"github.com/raybuild/raybuild/internal/engine/enginetest"
)

// TestDockerfileIsBuilt: benchmarks compare with a Dockerfile on this engine.
func TestDockerfileIsBuilt(t *testing.T) {
	needBusybox(t)
	addr := enginetest.Start(t)
	ref := pushBusybox(t, "127.0.0.1:0")
	src, out := t.TempDir(), t.TempDir()
	writeFile(t, filepath.Join(src, "Dockerfile"), "FROM "+ref+"\nCOPY word /word\n"+
		"RUN [\"/bin/busybox\", \"sh\", \"-c\", \"busybox tr a-z A-Z < /word > /loud\"]\n")
	writeFile(t, filepath.Join(src, "word"), "hello")
	fs, err := fsutil.NewFS(src)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Solve(t.Context(), nil, client.SolveOpt{
		Frontend:    "dockerfile.v0",
		LocalMounts: map[string]fsutil.FS{"context": fs, "dockerfile": fs},
		Exports:     []client.ExportEntry{{Type: client.ExporterLocal, OutputDir: out}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(out, "loud")); err != nil || string(b) != "HELLO" {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestRegistryCacheServesAFreshEngine(t *testing.T) {
	needBusybox(t)
	host, _, _ := strings.Cut(pushBusybox(t, "127.0.0.1:0"), "/")
	s := step{sh: "busybox echo slow >/out/x", cache: host + "/cache:main"}
	if r := mustSolve(t, enginetest.Start(t), s); r.cached {
		t.Error("the first engine did not run the step")
	}
	if r := mustSolve(t, enginetest.Start(t), s); !r.cached {
		t.Error("the second engine ran the step again")
	}
}
