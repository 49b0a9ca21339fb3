package build

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// example runs one of the Go programs in examples on the recipe here, with the test's engine and registry.
func (h *home) example(name, dst string) outcome {
	h.t.Helper()
	file := filepath.Join(h.t.TempDir(), name)
	build := exec.Command("go", "build", "-o", file, "github.com/raybuild/raybuild/examples/"+name)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		h.t.Fatalf("build example %s: %v\n%s", name, err, out)
	}
	cmd := h.command(h.t.Context())
	cmd.Path, cmd.Args = file, []string{file, h.cwd, dst}
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		h.t.Fatalf("run example %s: %v\n%s", name, err, tail(stderr.String(), 40))
	}
	return outcome{stdout: stdout.String(), stderr: stderr.String()}
}

// A Go program of some lines builds and pushes the image that the command does. It starts its engine by itself.
func TestEmbeddedBuildIsTheCommands(t *testing.T) {
	h := newHome(t)
	dst := ref(t, "1")
	h.write("raybuild.yaml", shortRecipe())
	out := h.example("embed", dst)
	again := h.push(dst)
	if !again.meta.Raybuild.UpToDate || strings.TrimSpace(out.stdout) != strings.TrimSpace(again.stdout) {
		t.Errorf("the program pushed %q, and the command finds %q, up to date: %v\n%s", out.stdout, again.stdout,
			again.meta.Raybuild.UpToDate, tail(again.stderr, 20))
	}
}

// An image with a layer of a program's own carries lock, recipe and record, so that the commands work on it.
func TestOwnLayerIsKnownToTheCommands(t *testing.T) {
	h := warmHome(t)
	dst, plain := ref(t, "own"), ref(t, "plain")
	h.write("raybuild.yaml", shortRecipe())
	h.push(plain)
	own := strings.TrimSpace(h.example("own-layer", dst).stdout)
	if again := strings.TrimSpace(h.example("own-layer", dst).stdout); again != own {
		t.Errorf("the program pushed %s, and the second time %s", own, again)
	}
	if why := h.run("why", plain, dst); why.code != 0 || !strings.Contains(why.stdout, "motd: is new") ||
		strings.Contains(why.stdout, "env:") {
		t.Errorf("why does not say that the layer alone is new: exit %d\n%s%s", why.code, why.stdout, why.stderr)
	}
	if plan := h.run("plan", dst); plan.code != 2 || !strings.Contains(plan.stdout, "motd") {
		t.Errorf("plan does not say that the recipe has no such layer: exit %d\n%s%s", plan.code,
			plan.stdout, plan.stderr)
	}
	if lock := h.run("inspect", "--lock", dst); lock.code != 0 || lock.stdout != h.read("raybuild.lock") {
		t.Errorf("the image does not carry the lock: exit %d\n%s", lock.code, lock.stderr)
	}
	added := h.run("add", "--push", "-t", ref(t, "more"), "uvicorn", "--onto", dst)
	if added.code != 0 {
		t.Errorf("add on the image: exit %d\n%s", added.code, tail(added.stderr, 20))
	}
	for what, said := range inContainer(t, ref(t, "more"), map[string]string{
		"the own layer is there":     "grep -q 'layer of our own' /etc/motd",
		"the added package is there": "python -c 'import uvicorn, ray'",
	}) {
		t.Errorf("%s: failed:\n%s", what, said)
	}
	// The recipe cannot make the layer, so the command must not lose it.
	h.refused(1, []string{"motd", "with that program"}, "rebase", "--push", dst)
}
