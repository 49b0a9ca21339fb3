package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	"github.com/moby/buildkit/executor"
	resourcestypes "github.com/moby/buildkit/executor/resources/types"
)

// overRootDir is the directory below which a step's mounts are not mounted but laid over its root, the last name on
// top. So a step sees many layers as one filesystem, and nothing links or copies their files, as a merge does.
const overRootDir = "/.raybuild/over-root"

// treesVariable is a step's variable that names directories of the engine's trees, to be laid over the root among the
// mounts: "003=NAME 007=NAME". The number stands for the mount's name. The step does not get it.
const treesVariable = "RAYBUILD_OVER_ROOT"

// overRoot is an executor that lays mounts over the root, by overlayfs. What the step writes is thrown away, so its
// result is the root as it was.
type overRoot struct {
	executor.Executor
	dir     string   // for what steps write, on the disk of the layers
	options []string // of overlayfs
	trees   string   // the directory of trees; "": there are none
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
	var rest []executor.Mount
	process, over, err := e.treesOf(process)
	if err != nil {
		return nil, err
	}
	for _, m := range mounts {
		if name, ok := strings.CutPrefix(m.Dest, overRootDir+"/"); ok {
			over = append(over, laid{name: name, mount: m})
		} else {
			rest = append(rest, m)
		}
	}
	if len(over) > 0 {
		slices.SortFunc(over, func(a, b laid) int { return strings.Compare(a.name, b.name) })
		root.Src = layered{root.Src, e, over}
	}
	return e.Executor.Run(ctx, id, root, rest, process, started)
}

// laid is a tree or a mount that lies over a root.
type laid struct {
	name  string
	tree  string // the directory; "": it is a mount
	mount executor.Mount
}

// treesOf are the trees that a step lays over its root. It takes their variable from the step.
func (e overRoot) treesOf(p executor.ProcessInfo) (executor.ProcessInfo, []laid, error) {
	at := slices.IndexFunc(p.Meta.Env, func(v string) bool { return strings.HasPrefix(v, treesVariable+"=") })
	if at < 0 || e.trees == "" {
		return p, nil, nil
	}
	var all []laid
	for _, one := range strings.Fields(strings.TrimPrefix(p.Meta.Env[at], treesVariable+"=")) {
		name, tree, ok := strings.Cut(one, "=")
		if !ok || tree != filepath.Base(tree) || !filepath.IsLocal(tree) {
			return p, nil, fmt.Errorf("lay %q over the root: it names no tree", one)
		}
		dir := filepath.Join(e.trees, tree)
		if _, err := os.Stat(dir); err != nil {
			return p, nil, fmt.Errorf("lay a layer's files over the root: %w", err)
		}
		all = append(all, laid{name: name, tree: dir})
	}
	p.Meta.Env = slices.Delete(slices.Clone(p.Meta.Env), at, at+1)
	return p, all, nil
}

// layered is a root with overlays, the last one on top.
type layered struct {
	executor.Mountable
	e    overRoot
	over []laid
}

// Mount implements executor.Mountable.
func (l layered) Mount(ctx context.Context, readonly bool) (executor.MountableRef, error) {
	root, err := l.Mountable.Mount(ctx, readonly)
	if err != nil {
		return nil, err
	}
	out := layeredRef{MountableRef: root, e: l.e}
	for _, o := range l.over {
		if o.tree != "" {
			out.over = append(out.over, treeRef{root, o.tree})
			continue
		}
		if o.mount.Selector != "" && o.mount.Selector != "/" {
			return nil, fmt.Errorf("lay %q over the root: only whole layers can be", o.mount.Selector)
		}
		ref, err := o.mount.Src.Mount(ctx, true)
		if err != nil {
			return nil, err
		}
		out.over = append(out.over, ref)
	}
	return out, nil
}

// treeRef is a directory as a layer.
type treeRef struct {
	executor.MountableRef
	dir string
}

// Mount implements executor.MountableRef.
func (t treeRef) Mount() ([]mount.Mount, func() error, error) {
	return []mount.Mount{{Type: "bind", Source: t.dir, Options: []string{"rbind", "ro"}}},
		func() error { return nil }, nil
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
	err = errors.Join(os.Mkdir(upper, 0o755), os.Mkdir(work, 0o700))
	for i, to := range lower { // by short names: the kernel takes no more than a page of options
		lower[i] = filepath.Join(dir, strconv.Itoa(i))
		err = errors.Join(err, os.Symlink(to, lower[i]))
	}
	if err != nil {
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
