package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// stateFormat is the version of what lies in a state directory. A directory of
// another one is put aside. BuildKit converts its own older files by itself.
const stateFormat = "raybuild-engine-1"

// prepare makes the state fit for use: it puts state of another version aside
// and removes what a killed engine has left behind. The state is locked.
func (p place) prepare(ctx context.Context, note func(string)) error {
	if err := p.dropUnsynced(note); err != nil {
		return err
	}
	if err := p.putAside(note); err != nil {
		return err
	}
	if err := os.MkdirAll(p.state(), 0o700); err != nil {
		return homeError(p.state(), err)
	}
	if err := os.WriteFile(p.format(), []byte(stateFormat+"\n"), 0o600); err != nil {
		return homeError(p.format(), err)
	}
	if err := p.cleanUp(ctx); err != nil {
		return err
	}
	if err := os.RemoveAll(p.tmp()); err != nil {
		return homeError(p.tmp(), err)
	}
	if err := os.MkdirAll(p.tmp(), 0o700); err != nil {
		return homeError(p.tmp(), err)
	}
	return nil
}

func (p place) format() string { return filepath.Join(p.state(), "format") }

// putAside renames state that this version cannot read, and says so.
func (p place) putAside(note func(string)) error {
	entries, err := os.ReadDir(p.state())
	if errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return homeError(p.state(), err)
	}
	b, err := os.ReadFile(p.format())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return homeError(p.format(), err)
	}
	if strings.TrimSpace(string(b)) == stateFormat {
		return nil
	}
	aside := p.state() + ".old-" + time.Now().UTC().Format("20060102T150405")
	if err := p.unmountBelow(); err != nil {
		return err
	}
	if err := os.Rename(p.state(), aside); err != nil {
		return homeError(p.state(), err)
	}
	note(fmt.Sprintf("the build cache was made by another version of raybuild: it is now in %s and may be removed",
		aside))
	return nil
}

// cleanUp ends the containers and removes the mounts of a killed engine.
func (p place) cleanUp(ctx context.Context) error {
	bundles, err := filepath.Glob(filepath.Join(p.state(), "*", "executor", "*", "config.json"))
	if err != nil {
		return fmt.Errorf("look for leftovers in %q: %w", p.state(), err)
	}
	if len(bundles) > 0 {
		runtime, err := findRuntime(os.Getenv("PATH"))
		if err != nil {
			return err
		}
		for _, b := range bundles {
			endContainer(ctx, runtime, filepath.Dir(b))
		}
	}
	if err := p.unmountBelow(); err != nil {
		return err
	}
	for _, b := range bundles {
		if err := os.RemoveAll(filepath.Dir(b)); err != nil {
			return homeError(filepath.Dir(b), err)
		}
	}
	return nil
}

// endContainer kills what runs in a bundle, whose name is the container's id.
// A container that the runtime does not know has ended before.
func endContainer(ctx context.Context, runtime, bundle string) {
	// Bounded, as a runtime that hangs must not keep the engine from starting.
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	id := filepath.Base(bundle)
	out, err := exec.CommandContext(ctx, runtime, "state", id).Output()
	if err != nil {
		return
	}
	var st struct {
		Bundle string `json:"bundle"`
	}
	if json.Unmarshal(out, &st) != nil || st.Bundle != bundle {
		return
	}
	_ = exec.CommandContext(ctx, runtime, "delete", "--force", id).Run()
}

// unmountBelow removes all mounts below the state directory.
func (p place) unmountBelow() error {
	for _, root := range []string{p.state(), p.tmp()} {
		if _, err := os.Stat(root); err != nil {
			continue
		}
		mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(root))
		if err != nil {
			return fmt.Errorf("read mounts below %q: %w", root, err)
		}
		// The last one mounted is the first one to go.
		for _, m := range slices.Backward(mounts) {
			if m.Mountpoint == root {
				continue
			}
			if err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil &&
				!errors.Is(err, unix.EINVAL) {
				return fmt.Errorf("unmount leftover %q: %w", m.Mountpoint, err)
			}
		}
	}
	return nil
}
