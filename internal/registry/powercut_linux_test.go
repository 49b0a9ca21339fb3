package registry

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/raybuild/raybuild/internal/powercut"
)

// TestM6PowerCutTakesNoPushedImage cuts the power as soon as a push is reported as done.
func TestM6PowerCutTakesNoPushedImage(t *testing.T) {
	disk := powercut.New(t, 64<<20)
	dir := filepath.Join(disk.Dir, "images")
	host, stop := run(t, dir)
	push(t, host+"/team/ray:1", index(t))
	if _, err := client(Options{}).Attach(t.Context(), host+"/team/ray:1",
		Document{ArtifactType: lockType, Data: []byte("lock")}); err != nil {
		t.Fatal(err)
	}
	after := filepath.Join(disk.Cut(), "images")
	stop()
	host, stop = run(t, after)
	defer stop()
	if err := client(Options{}).Validate(t.Context(), host+"/team/ray:1"); err != nil {
		t.Errorf("after a power cut: %v", err)
	}
	got, err := client(Options{}).Attached(t.Context(), host+"/team/ray:1", lockType)
	if err != nil || len(got) != 1 || string(got[0].Data) != "lock" {
		t.Errorf("attached after a power cut: %+v, %v", got, err)
	}
}

// TestM6EmptiedBlobsArePushedAgain: a registry of an earlier version has lost bytes, and kept their names.
func TestM6EmptiedBlobsArePushedAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	host, stop := run(t, dir)
	defer stop()
	image := index(t)
	push(t, host+"/team/ray:1", image)
	blobs, err := filepath.Glob(filepath.Join(dir, "blobs", "sha256", "*"))
	if err != nil || len(blobs) == 0 {
		t.Fatal(blobs, err)
	}
	for _, b := range blobs {
		if err := os.Truncate(b, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := client(Options{}).Validate(t.Context(), host+"/team/ray:1"); err == nil {
		t.Fatal("the image is whole without its bytes")
	}
	push(t, host+"/team/ray:1", image)
	if err := client(Options{}).Validate(t.Context(), host+"/team/ray:1"); err != nil {
		t.Errorf("after a second push: %v", err)
	}
}
