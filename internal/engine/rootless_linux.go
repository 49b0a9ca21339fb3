package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// mapsFD is where a process in a new user namespace learns that its ids are mapped.
	mapsFD = 4
	// minSubIDs are the ids that an image's files may belong to: distributions
	// use 0 to 65534, and give each user a range of 65536 in /etc/subuid.
	minSubIDs = 65536
)

// idRange are ids of the host that a user may map.
type idRange struct{ start, count int }

// enterUserNamespace re-executes this process as root of a user namespace in
// which the caller's subordinate ids are mapped, and leaves it to itself.
func enterUserNamespace(ctx context.Context, o ServeOptions, r *reporter) error {
	m, err := findMapper(os.Getenv("PATH"))
	if err != nil {
		return err
	}
	mapped, done, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("enter user namespace: %w", err)
	}
	defer mapped.Close()
	defer done.Close()
	// The last of several -stage flags counts.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "/proc/self/exe",
		append(os.Args[1:len(os.Args):len(os.Args)], "-stage", strconv.Itoa(int(stageMapped)))...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{r.w, mapped}
	if r.w == nil {
		// Something must take descriptor 3, so that mapsFD is 4.
		cmd.ExtraFiles[0] = os.Stderr
	} else if o.ReadyFD != 3 {
		return fmt.Errorf("enter user namespace: -ready-fd is %d, want 3", o.ReadyFD)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS}
	if err := cmd.Start(); err != nil {
		return namespaceError(err)
	}
	if err := m.mapIDs(ctx, cmd.Process.Pid); err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return err
	}
	if _, err := io.WriteString(done, "mapped\n"); err != nil {
		return fmt.Errorf("enter user namespace: %w", err)
	}
	return cmd.Process.Release()
}

// becomeNamespaceRoot waits until this process's ids are mapped, and executes
// itself once more: only exec gives it the capabilities of the namespace's root.
func becomeNamespaceRoot(o ServeOptions) error {
	f := os.NewFile(mapsFD, "maps")
	line, err := bufio.NewReader(f).ReadString('\n')
	f.Close()
	if err != nil || line != "mapped\n" {
		return errors.New("enter user namespace: the ids were not mapped")
	}
	if o.ReadyFD > 2 {
		if _, err := unix.FcntlInt(uintptr(o.ReadyFD), unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("keep descriptor %d open: %w", o.ReadyFD, err)
		}
	}
	args := append(os.Args[:len(os.Args):len(os.Args)], "-stage", strconv.Itoa(int(stageRootless)))
	return fmt.Errorf("enter user namespace: %w", unix.Exec("/proc/self/exe", args, os.Environ()))
}

// mapper maps the ids of a user into a user namespace.
type mapper struct {
	newuidmap, newgidmap string
	uid, gid             int
	uids, gids           idRange
}

// findMapper finds the programs and id ranges for a rootless engine.
func findMapper(path string) (mapper, error) {
	m := mapper{uid: os.Getuid(), gid: os.Getgid()}
	var ok1, ok2 bool
	m.newuidmap, ok1 = findProgram(path, "newuidmap")
	m.newgidmap, ok2 = findProgram(path, "newgidmap")
	if !ok1 || !ok2 {
		return m, &Error{Kind: ErrNoPrivilege, Detail: "this is not root, and newuidmap and newgidmap are not on PATH",
			Fix: "run raybuild as root, or install them: " + installCommand("uidmap")}
	}
	name := strconv.Itoa(m.uid)
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	for _, f := range []struct {
		file string
		to   *idRange
	}{{"/etc/subuid", &m.uids}, {"/etc/subgid", &m.gids}} {
		text, err := os.ReadFile(f.file)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return m, fmt.Errorf("read subordinate ids %q: %w", f.file, err)
		}
		*f.to = parseSubIDs(string(text), name, m.uid)
		if f.to.count < minSubIDs {
			return m, &Error{Kind: ErrNoPrivilege,
				Detail: fmt.Sprintf("this is not root, and %s has no range of %d ids for %s", f.file, minSubIDs, name),
				Fix: "run raybuild as root, or: sudo usermod --add-subuids 100000-165535 --add-subgids " +
					"100000-165535 " + name}
		}
	}
	return m, nil
}

// parseSubIDs finds the largest range of a user in the text of /etc/subuid
// (subuid(5): "name-or-uid:start:count"); count is 0 if there is none.
func parseSubIDs(text, name string, uid int) idRange {
	var best idRange
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 3 || f[0] != name && f[0] != strconv.Itoa(uid) {
			continue
		}
		start, err1 := strconv.Atoi(f[1])
		count, err2 := strconv.Atoi(f[2])
		if err1 == nil && err2 == nil && start > 0 && count > best.count {
			best = idRange{start, count}
		}
	}
	return best
}

// mapIDs maps root to the user and 1… to the user's subordinate ids.
func (m mapper) mapIDs(ctx context.Context, pid int) error {
	for _, c := range []struct {
		program string
		own     int
		sub     idRange
	}{{m.newuidmap, m.uid, m.uids}, {m.newgidmap, m.gid, m.gids}} {
		args := []string{strconv.Itoa(pid), "0", strconv.Itoa(c.own), "1", "1", strconv.Itoa(c.sub.start),
			strconv.Itoa(c.sub.count)}
		out, err := exec.CommandContext(ctx, c.program, args...).CombinedOutput()
		if err != nil {
			return &Error{Kind: ErrNoPrivilege, Detail: fmt.Sprintf("%s: %v: %s", c.program, err,
				strings.TrimSpace(string(out))),
				Fix: "run raybuild as root, or check that newuidmap and newgidmap are setuid root and that the " +
					"container allows them"}
		}
	}
	return nil
}

// namespaceError says why no user namespace could be made.
func namespaceError(err error) error {
	fix := "run raybuild as root, or allow user namespaces: sudo sysctl -w user.max_user_namespaces=15000"
	for _, s := range []struct{ file, bad, fix string }{
		{"/proc/sys/kernel/unprivileged_userns_clone", "0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"},
		{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1",
			"sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"},
	} {
		if b, e := os.ReadFile(s.file); e == nil && strings.TrimSpace(string(b)) == s.bad {
			fix = "run raybuild as root, or: " + s.fix
		}
	}
	return &Error{Kind: ErrNoPrivilege, Detail: fmt.Sprintf("this is not root, and a user namespace cannot be made: %v",
		err), Fix: fix}
}
