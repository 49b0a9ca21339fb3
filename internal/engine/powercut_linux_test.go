package engine_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/internal/engine/enginetest"
	"github.com/raybuild/raybuild/internal/powercut"
)

// TestM5PowerCutLeavesNoBrokenSnapshot cuts the power as soon as the engine takes its state for safe. What the state's
// databases have then must be there.
func TestM5PowerCutLeavesNoBrokenSnapshot(t *testing.T) {
	needBusybox(t)
	disk := powercut.New(t, 1536<<20)
	o := enginetest.Options(filepath.Join(disk.Dir, "home"))
	built := step{sh: "busybox head -c 30000000 /dev/urandom >/out/x"}
	mustSolve(t, ensure(t, o), built)
	engineDir := filepath.Join("home", "engine", "default")
	eventually(t, "the state is on the disk after the last client", func() bool {
		_, err := os.Stat(filepath.Join(disk.Dir, engineDir, "unsynced"))
		return errors.Is(err, os.ErrNotExist)
	})
	after := disk.Cut()
	compared := 0
	live := filepath.Join(disk.Dir, engineDir, "state")
	err := filepath.WalkDir(live, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || !strings.Contains(path, "/snapshots/") ||
			!strings.Contains(path, "/fs/") {
			return err
		}
		want, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(disk.Dir, path)
		if err != nil {
			return err
		}
		got, err := os.ReadFile(filepath.Join(after, rel))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s of %d bytes has %d after a power cut (%v)", rel, len(want), len(got), err)
		}
		if len(want) == 30000000 {
			compared++
		}
		return nil
	})
	if err != nil || compared == 0 {
		t.Errorf("%d large files compared: %v", compared, err)
	}
	if r := mustSolve(t, ensure(t, enginetest.Options(filepath.Join(after, "home"))), built); !r.cached {
		t.Error("after a power cut the step runs again")
	}
}
