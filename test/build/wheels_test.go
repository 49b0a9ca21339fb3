package build

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A Python that this machine may not run makes its byte code in the builder, the same bytes: here the
// directory that it is unpacked into allows no programs.
func TestPythonThatCannotRunHereRunsInTheBuilder(t *testing.T) {
	first := warmHome(t).push(ref(t, "1"), "--graph-tag=false").meta
	h := coldHome(t)
	dir := filepath.Join(h.dir, "layers", "python")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_NOEXEC, ""); err != nil {
		t.Fatalf("mount a directory without programs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	there := h.push(ref(t, "2"), "--graph-tag=false", "--reuse=false").meta
	if there.Digest != first.Digest {
		t.Errorf("the image is %s, and %s where Python runs here\n%s", there.Digest, first.Digest,
			differing(there, first))
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%d files are left of a Python that cannot run (%v)", len(left), err)
	}
}
