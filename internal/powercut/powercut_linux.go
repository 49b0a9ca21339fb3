package powercut

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/raybuild/raybuild/internal/testneeds"
)

// Disk is a file system of its own, in a file.
type Disk struct {
	// Dir is where it is mounted.
	Dir string

	t    testing.TB
	file string
	cuts int
	off  bool
}

// shutdown is FS_IOC_SHUTDOWN, and loseLog its flag for a file system that does not even write its log any more
// (fs/ext4/ioctl.c of Linux).
const (
	shutdown = 0x8004587d
	loseLog  = 2
)

// New makes a disk of so many bytes, which is gone at the end of the test. It skips the test where it cannot.
func New(t testing.TB, size int64) *Disk {
	t.Helper()
	testneeds.Root(t, "mkfs.ext4", "mount", "umount")
	d := &Disk{t: t, file: filepath.Join(t.TempDir(), "disk")}
	if err := os.WriteFile(d.file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.file, size); err != nil {
		t.Fatal(err)
	}
	d.run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", d.file)
	d.Dir = d.mount(d.file)
	return d
}

// Cut gives the directory of a disk that has what this one would have after a power cut at this moment.
func (d *Disk) Cut() string {
	d.t.Helper()
	d.cuts++
	file := d.file + "-" + strconv.Itoa(d.cuts)
	d.run("cp", "--sparse=always", d.file, file)
	return d.mount(file) // which replays the journal
}

// Off ends all writing at once, as a power cut does. Whatever uses the disk gets errors, until On.
func (d *Disk) Off() {
	d.t.Helper()
	root, err := os.Open(d.Dir)
	if err != nil {
		d.t.Fatal(err)
	}
	defer root.Close()
	if err := unix.IoctlSetPointerInt(int(root.Fd()), shutdown, loseLog); err != nil {
		d.t.Fatalf("shut down %s: %v", d.Dir, err)
	}
	d.off = true
}

// Sync brings all that was written to the disk.
func (d *Disk) Sync() {
	d.t.Helper()
	root, err := os.Open(d.Dir)
	if err != nil {
		d.t.Fatal(err)
	}
	defer root.Close()
	if err := unix.Syncfs(int(root.Fd())); err != nil {
		d.t.Fatalf("sync %s: %v", d.Dir, err)
	}
}

// On mounts a disk that is off at its directory again, with what was on it. Processes that used it have to be gone.
func (d *Disk) On() {
	d.t.Helper()
	if !d.off {
		d.t.Fatal("the disk is not off")
	}
	// The kernel may still hold the disk for a mount of somebody else, so that the same file would be the same disk.
	d.cuts++
	file := filepath.Join(filepath.Dir(d.file), "disk-"+strconv.Itoa(d.cuts))
	d.run("cp", "--sparse=always", d.file, file)
	d.run("umount", "--lazy", d.Dir)
	if err := os.Remove(d.file); err != nil {
		d.t.Fatal(err)
	}
	d.file, d.off = file, false
	d.run("mount", "-o", "loop", file, d.Dir) // which replays the journal
}

func (d *Disk) mount(file string) string {
	d.t.Helper()
	// An engine's socket needs a short path, and t.TempDir has the test's name in it.
	dir, err := os.MkdirTemp("", "cut")
	if err != nil {
		d.t.Fatal(err)
	}
	d.run("mount", "-o", "loop", file, dir)
	d.t.Cleanup(func() {
		d.run("umount", "--lazy", dir)
		if err := os.Remove(dir); err != nil {
			d.t.Errorf("remove mount point: %v", err)
		}
	})
	return dir
}

func (d *Disk) run(name string, args ...string) {
	d.t.Helper()
	cmd := exec.Command(name, args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		d.t.Fatalf("%s: %v\n%s", cmd, err, bytes.TrimSpace(out))
	}
}
