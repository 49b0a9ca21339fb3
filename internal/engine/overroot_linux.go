package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	"github.com/moby/buildkit/executor"
	resourcestypes "github.com/moby/buildkit/executor/resources/types"
)

// overRootDir is the directory below which a step's mounts are not mounted but laid over its root, the last name on
// top. So a step sees many layers as one filesystem, and nothing links or copies their files, as a merge does.
const overRootDir = "/.raybuild/over-root"

// overRoot is an executor that lays mounts over the root, by overlayfs. What the step writes is thrown away, so its
// result is the root as it was.
type overRoot struct {
	executor.Executor
	dir     string   // for what steps write, on the disk of the layers
	options []string // of overlayfs
}

// newOverRoot is an overRoot without its executor. state is the directory of the engine's state.
func newOverRoot(state string) (overRoot, error) {
	o := overRoot{dir: filepath.Join(state, "over-root")}
	// A killed engine leaves what its steps wrote.
	if err := errors.Join(os.RemoveAll(o.dir), os.Mkdir(o.dir, 0o700)); err != nil {
		return o, fmt.Errorf("make directory of steps: %w", err)
	}
	if _, err := os.Stat("/sys/module/overlay/parameters/index"); err == nil {
		o.options = append(o.options, "index=off") // as containerd's snapshotter has it
	}
	user, err := overlayutils.NeedsUserXAttr(o.dir)
	if err != nil {
		return o, fmt.Errorf("look at overlayfs: %w", err)
	}
	if user {
		o.options = append(o.options, "userxattr")
	}
	return o, nil
}

// Run implements executor.Executor.
func (e overRoot) Run(ctx context.Context, id string, root executor.Mount, mounts []executor.Mount,
	process executor.ProcessInfo, started chan<- struct{}) (resourcestypes.Recorder, error) {
	var over, rest []executor.Mount
	for _, m := range mounts {
		if strings.HasPrefix(m.Dest, overRootDir+"/") {
			over = append(over, m)
		} else {
			rest = append(rest, m)
		}
	}
	if len(over) > 0 {
		slices.SortFunc(over, func(a, b executor.Mount) int { return strings.Compare(a.Dest, b.Dest) })
		root.Src = layered{root.Src, e, over}
	}
	return e.Executor.Run(ctx, id, root, rest, process, started)
}

// layered is a root with mounts over it.
type layered struct {
	executor.Mountable
	e    overRoot
	over []executor.Mount
}

// Mount implements executor.Mountable.
func (l layered) Mount(ctx context.Context, readonly bool) (executor.MountableRef, error) {
	root, err := l.Mountable.Mount(ctx, readonly)
	if err != nil {
		return nil, err
	}
	out := layeredRef{MountableRef: root, e: l.e}
	for _, m := range l.over {
		if m.Selector != "" && m.Selector != "/" {
			return nil, fmt.Errorf("lay %q over the root: only whole layers can be", m.Selector)
		}
		ref, err := m.Src.Mount(ctx, true)
		if err != nil {
			return nil, err
		}
		out.over = append(out.over, ref)
	}
	return out, nil
}

type layeredRef struct {
	executor.MountableRef
	e    overRoot
	over []executor.MountableRef
}

// Mount implements executor.MountableRef.
func (r layeredRef) Mount() (_ []mount.Mount, release func() error, err error) {
	var releases []func() error
	release = func() error {
		var errs []error
		for _, f := range slices.Backward(releases) {
			errs = append(errs, f())
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, release())
		}
	}()
	var lower []string // the highest first
	for _, ref := range slices.Backward(append([]executor.MountableRef{r.MountableRef}, r.over...)) {
		one, f, err := ref.Mount()
		if f != nil {
			releases = append(releases, f)
		}
		if err != nil {
			return nil, release, err
		}
		dirs, err := readDirs(one)
		if err != nil {
			return nil, release, err
		}
		lower = append(lower, dirs...)
	}
	dir, err := os.MkdirTemp(r.e.dir, "")
	if err != nil {
		return nil, release, fmt.Errorf("make directory of a step: %w", err)
	}
	releases = append(releases, func() error { return os.RemoveAll(dir) })
	upper, work := filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	if err := errors.Join(os.Mkdir(upper, 0o755), os.Mkdir(work, 0o700)); err != nil {
		return nil, release, fmt.Errorf("make directory of a step: %w", err)
	}
	return []mount.Mount{{Type: "overlay", Source: "overlay", Options: append(slices.Clone(r.e.options),
		"workdir="+work, "upperdir="+upper, lowerOption+strings.Join(lower, ":"))}}, release, nil
}

// lowerOption is overlayfs's option for the directories that it reads, the highest first.
const lowerOption = "lowerdir="

// readDirs are the directories of a layer that is mounted to be read, the highest first.
func readDirs(all []mount.Mount) ([]string, error) {
	if len(all) == 1 && strings.Contains(all[0].Type, "bind") {
		return []string{all[0].Source}, nil
	}
	if len(all) == 1 && all[0].Type == "overlay" {
		for _, o := range all[0].Options {
			if dirs, ok := strings.CutPrefix(o, lowerOption); ok {
				return strings.Split(dirs, ":"), nil
			}
		}
	}
	return nil, fmt.Errorf("lay layers over the root: one is mounted as %v", all)
}
