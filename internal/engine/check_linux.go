package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	"golang.org/x/sys/unix"
)

// Check reports what this machine has and lacks for the embedded engine with its state
// below o.Home. It tries things instead of guessing: it mounts an overlay and makes a
// user namespace. It leaves nothing changed.
func Check(ctx context.Context, o Options) []Finding {
	out := []Finding{checkRuntime(ctx), checkPrivilege(ctx), checkKernel()}
	out = append(out, checkOverlay(o.Home), checkCgroups())
	return append(out, checkDisk(o)...)
}

// failed is the finding of an error; an *Error brings its own fix.
func failed(name string, err error, fix string) Finding {
	var e *Error
	if errors.As(err, &e) {
		return Finding{Name: name, Detail: e.Detail, Fix: e.Fix}
	}
	return Finding{Name: name, Detail: err.Error(), Fix: fix}
}

func checkRuntime(ctx context.Context) Finding {
	path, err := findRuntime(searchPath(os.Getenv("PATH")))
	if err != nil {
		return failed("runtime", err, "")
	}
	out, err := exec.CommandContext(ctx, path, "--version").CombinedOutput()
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if err != nil {
		return failed("runtime", fmt.Errorf("%s --version: %w: %s", path, err, first), installCommand("runc"))
	}
	return Finding{Name: "runtime", OK: true, Detail: path + ": " + first}
}

// capSysAdmin is CAP_SYS_ADMIN of capabilities(7), which mounts need.
const capSysAdmin = 21

func checkPrivilege(ctx context.Context) Finding {
	const name = "privilege"
	if os.Geteuid() == 0 {
		if !hasCapability(capSysAdmin) {
			return Finding{Name: name, Detail: "root, but without CAP_SYS_ADMIN",
				Fix: "give the container that this runs in --privileged, or build with --builder ADDR"}
		}
		return Finding{Name: name, OK: true, Detail: "root"}
	}
	m, err := findMapper(searchPath(os.Getenv("PATH")))
	if err != nil {
		return failed(name, err, "")
	}
	if err := tryUserNamespace(ctx); err != nil {
		return failed(name, namespaceError(err), "")
	}
	return Finding{Name: name, OK: true, Detail: fmt.Sprintf("rootless: %d subordinate user ids, %d group ids",
		m.uids.count, m.gids.count)}
}

// hasCapability reads the effective capabilities of this process.
func hasCapability(n uint) bool {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			caps, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			return err == nil && caps&(1<<n) != 0
		}
	}
	return false
}

// tryUserNamespace makes a user namespace with a mount namespace in it.
func tryUserNamespace(ctx context.Context) error {
	p, ok := findProgram("/usr/bin:/bin", "true")
	if !ok {
		return nil
	}
	cmd := exec.CommandContext(ctx, p)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	return cmd.Run()
}

func checkKernel() Finding {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return failed("kernel", err, "")
	}
	release := unix.ByteSliceToString(u.Release[:])
	f := Finding{Name: "kernel", OK: true, Detail: release + " " + unix.ByteSliceToString(u.Machine[:])}
	if os.Geteuid() != 0 && olderThan(release, 5, 11) {
		// Linux 5.11 lets a user namespace mount overlayfs.
		f.OK, f.Fix = false, "run raybuild as root, or update the kernel to 5.11 or later: a rootless engine copies "+
			"every layer on this one"
	}
	return f
}

// olderThan compares a kernel release ("5.10.0-8-amd64") with a version.
func olderThan(release string, major, minor int) bool {
	var a, b int
	if n, _ := fmt.Sscanf(release, "%d.%d", &a, &b); n != 2 {
		return false
	}
	return a < major || a == major && b < minor
}

// checkOverlay really mounts an overlay in home, or in its nearest parent.
func checkOverlay(home string) Finding {
	const name = "overlayfs"
	if os.Geteuid() != 0 {
		return Finding{Name: name, OK: true, Detail: "tried by the engine in its user namespace; without it " +
			"layers are copied"}
	}
	dir := nearest(home)
	if err := overlayutils.Supported(dir); err != nil {
		return Finding{Name: name, Detail: fmt.Sprintf("cannot be mounted on %s, layers will be copied: %v", dir, err),
			Fix: "set RAYBUILD_HOME to a directory on ext4 or xfs (ftype=1)"}
	}
	return Finding{Name: name, OK: true, Detail: "mounts on " + dir}
}

// nearest gives path or its first parent that is there.
func nearest(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		return "/"
	}
	for {
		if _, err := os.Stat(path); err == nil || path == "/" {
			return path
		}
		path = filepath.Dir(path)
	}
}

func checkCgroups() Finding {
	const name = "cgroups"
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		return Finding{Name: name, OK: true, Detail: "version 2"}
	}
	var v1 []string
	for _, c := range []string{"memory", "cpu", "pids", "devices"} {
		if _, err := os.Stat(filepath.Join("/sys/fs/cgroup", c)); err == nil {
			v1 = append(v1, c)
		}
	}
	if len(v1) == 0 {
		return Finding{Name: name, Detail: "none mounted below /sys/fs/cgroup",
			Fix: sudo() + "mount -t cgroup2 none /sys/fs/cgroup"}
	}
	return Finding{Name: name, OK: true, Detail: "version 1: " + strings.Join(v1, ", ")}
}

func checkDisk(o Options) []Finding {
	need := o.MinFree
	if need == 0 {
		need = defaultMinFree
	}
	dir := nearest(o.Home)
	if err := room(dir, need); err != nil {
		return []Finding{failed("disk", err, "")}
	}
	d, err := diskOf(dir)
	if err != nil {
		return []Finding{failed("disk", err, "")}
	}
	detail := fmt.Sprintf("%s has %s free", dir, size(d.free))
	if d.inodes > 0 {
		detail += fmt.Sprintf(" and %d inodes", d.freeInodes)
	}
	return []Finding{{Name: "disk", OK: true,
		Detail: detail + "; the cache may take " + size(cacheLimit(o.CacheLimit, dir))}}
}
