package publish

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// linked are the packages of the command for an operating system.
func linked(t *testing.T, goos string) []string {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", root+"cmd/raybuild")
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH=amd64", "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("list the packages of raybuild for %s: %v", goos, err)
	}
	return strings.Fields(string(out))
}

// On macOS there is no embedded engine: what builds nothing there (plan, cluster) is linked without it, and what
// builds (add) takes another builder.
func TestMacOSHasNoEngine(t *testing.T) {
	const engine = "github.com/moby/buildkit/control"
	if !slices.Contains(linked(t, "linux"), engine) {
		t.Fatalf("for Linux %s is not linked either: this test looks for the wrong package", engine)
	}
	for _, pkg := range linked(t, "darwin") {
		for _, part := range []string{engine, "github.com/moby/buildkit/executor", "github.com/moby/buildkit/worker"} {
			if strings.HasPrefix(pkg, part) {
				t.Errorf("%s is linked for macOS", pkg)
			}
		}
	}
}
