package engine

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"

	"github.com/raybuild/raybuild/internal/testneeds"
)

// An engine that is killed between making a snapshot's directory and writing it down leaves one
// that is in the way of the next.
func TestDirectoryThatAKilledEngineLeftIsNoHindrance(t *testing.T) {
	root := t.TempDir()
	if err := overlayutils.Supported(root); err != nil {
		testneeds.Skip(t, err.Error())
	}
	prepare := func(key string) {
		t.Helper()
		s, err := snapshotter(t.Context(), root, &syncer{}).New(root)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Prepare(t.Context(), key, ""); err != nil {
			t.Errorf("prepare %s: %v", key, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	prepare("first") // number 1
	left := filepath.Join(root, "snapshots", "2", "fs")
	if err := os.MkdirAll(left, 0o711); err != nil {
		t.Fatal(err)
	}
	prepare("second")
	if _, err := os.Stat(filepath.Join(root, "snapshots", "1")); err != nil {
		t.Errorf("the snapshot that is written down is gone: %v", err)
	}
}
