package build

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A disk that is too small, or full in the middle of a build, is an error that names it; with more
// room the same call works.
func TestFullDisk(t *testing.T) {
	warmHome(t)
	h := coldHome(t)
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	mount := func(size string, flags uintptr) {
		t.Helper()
		if err := syscall.Mount("raybuild-test", h.dir, "tmpfs", flags, "mode=0700,size="+size); err != nil {
			t.Fatal(err)
		}
	}
	mount("300m", 0)
	t.Cleanup(func() {
		if err := stopEngine(h.dir); err != nil {
			t.Errorf("stop engine: %v", err)
		}
		err := syscall.Unmount(h.dir, 0)
		// the engine lets go of its state before it ends
		for end := time.Now().Add(20 * time.Second); errors.Is(err, syscall.EBUSY) && time.Now().Before(end); {
			time.Sleep(50 * time.Millisecond)
			err = syscall.Unmount(h.dir, 0)
		}
		if err != nil {
			t.Errorf("unmount the builder's state: %v", err)
		}
	})
	dst := ref(t, "1")
	args := []string{"--push", "--progress", "plain", "--metadata-file", "meta.json", dst}
	h.refused(1, []string{"not enough disk", h.dir, "free", "1.0 GB needed", "raybuild cache prune"}, args...)
	nothingWritten(t, h, warm.lock, dst)

	// Room for an engine, and not for all that it is to do.
	mount("1200m", syscall.MS_REMOUNT)
	r := h.start(args...)
	if !r.says("] ") {
		t.Fatalf("the build ended before its disk was full:\n%s", tail(r.stderr.String(), 30))
	}
	filler := filepath.Join(h.dir, "filler")
	fill(t, filler, h.dir, 20<<20)
	<-r.done
	text := r.stderr.String()
	if code := r.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit %d on a full disk, want 1", code)
	}
	for _, want := range []string{h.dir, "raybuild cache prune", "free, "} {
		if last := tail(text, 12); !strings.Contains(last, want) {
			t.Errorf("the error of a full disk does not say %q:\n%s", want, last)
		}
	}
	nothingWritten(t, h, warm.lock, dst)

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	mount("6g", syscall.MS_REMOUNT)
	if got := h.push(dst).meta.Digest; got != warm.digest {
		t.Errorf("the image is %s, want %s", got, warm.digest)
	}
}

// fill writes a file until so many bytes of the disk are left, while others write to it as well.
func fill(t *testing.T, file, dir string, leave int64) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	chunk := make([]byte, 4<<20)
	for {
		var st syscall.Statfs_t
		if err := syscall.Statfs(dir, &st); err != nil {
			t.Fatal(err)
		}
		if int64(st.Bavail)*int64(st.Bsize) <= leave { //nolint:unconvert // other types on other architectures
			return
		}
		if _, err := f.Write(chunk); errors.Is(err, syscall.ENOSPC) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
