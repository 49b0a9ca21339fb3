package llb

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	bkllb "github.com/moby/buildkit/client/llb"
)

// maxFiles is the greatest number of bytes for one [Stage.Files].
const maxFiles = 4 << 20

// File is a file, directory or symbolic link that [Stage.Files] makes.
type File struct {
	Path     string      // absolute
	Data     []byte      // content of a file
	Mode     os.FileMode // permissions, setuid, setgid and sticky; default 0644, for directories 0755
	UID, GID int
	Link     string // target: makes a symbolic link
	Dir      bool   // makes a directory
}

// Files returns s with files added, all with the time [Epoch]. It makes missing parent directories. A parent that is
// not in the list gets the mode 0755 and the owner root, even if it was there before, because its time must be set.
// (/tmp, /var/tmp and /root get their usual modes.) Put a parent into the list to give it another mode or owner.
// The content of the files travels inside the graph, so it may have 4 MiB at most; for more use an [Artifact].
func (s Stage) Files(title string, files ...File) Stage {
	if s.err != nil {
		return s
	}
	if strings.TrimSpace(title) == "" {
		return s.fail(title, errors.New("files: title is required"))
	}
	if len(files) == 0 {
		return s
	}
	data, err := filesTar(files)
	if err != nil {
		return s.fail(title, err)
	}
	return s.fileOp(title, nil, func(*layout) *bkllb.FileAction { return nil }, data)
}

// Unpack returns s with the tar archive `name` of the stage tar unpacked at dest. Owners, modes and times are those of
// the archive. dest and its parents get the modes that [Stage.Files] gives to parents. If a directory needs another
// mode, put it into the archive and use "/" for dest. An archive without any entry cannot be unpacked.
func (s Stage) Unpack(title string, tar Stage, name, dest string) Stage {
	err := cleanAbs("destination", dest)
	if name == "" || path.Clean("/"+name) != "/"+name {
		err = errors.Join(err, fmt.Errorf("archive name %q: want a path inside its stage", name))
	}
	dest = strings.TrimSuffix(dest, "/") + "/"
	return s.copyOp(title, tar, err, "/"+name, dest, &bkllb.CopyInfo{AttemptUnpack: true, CreateDestPath: true})
}

// Copy returns s with src of the stage from copied to dst. If src is a directory, its content is
// copied. If src is a file, it becomes dst, or it goes into dst if dst ends with a slash. Copies get the
// time [Epoch]. Parents of dst get the modes that [Stage.Files] gives.
func (s Stage) Copy(title string, from Stage, src, dst string) Stage {
	err := errors.Join(cleanAbs("source", src), cleanAbs("destination", dst))
	epoch := Epoch()
	return s.copyOp(title, from, err, src, dst,
		&bkllb.CopyInfo{CopyDirContentsOnly: true, CreateDestPath: true, CreatedTime: &epoch})
}

func (s Stage) copyOp(title string, from Stage, err error, src, dst string, how *bkllb.CopyInfo) Stage {
	if e := firstErr(s, from); e != nil {
		return Stage{err: e}
	}
	if strings.TrimSpace(title) == "" {
		err = errors.Join(err, errors.New("copy: title is required"))
	}
	if from.n == nil {
		err = errors.Join(err, fmt.Errorf("copy %q: the stage to copy from is empty", src))
	}
	if err != nil {
		return s.fail(title, err)
	}
	var fix []byte
	if dirs := parents(dst); len(dirs) > 0 {
		if fix, err = writeTar(dirs); err != nil {
			return s.fail(title, err)
		}
	}
	return s.fileOp(title, from.n, func(l *layout) *bkllb.FileAction {
		return bkllb.Copy(l.state(from.n), src, dst, how)
	}, fix)
}

// fileOp is one file operation: first, which reads from (nil: nothing), and then an archive of
// files unpacked at the root. BuildKit's mkdir and mkfile cannot set the time of a directory after
// something was put in it; unpacking does, and can set every mode.
func (s Stage) fileOp(title string, from *node, first func(*layout) *bkllb.FileAction, archive []byte) Stage {
	return Stage{n: &node{title: title, base: s.n, layers: 1, contentAddressed: areContentAddressed(s.n, from),
		apply: func(l *layout, base bkllb.State) bkllb.State {
			act := first(l)
			if archive != nil {
				epoch := Epoch()
				const name = "/files.tar"
				file := bkllb.Mkfile(name, 0o600, archive, bkllb.WithCreatedTime(epoch)).WithState(bkllb.Scratch())
				unpack := &bkllb.CopyInfo{AttemptUnpack: true}
				if act == nil {
					act = bkllb.Copy(file, name, "/", unpack)
				} else {
					act = act.Copy(file, name, "/", unpack)
				}
			}
			return base.File(act, l.opts(title)...)
		}}}
}

// parents are the directories above p, and p itself when it is written as a directory.
func parents(p string) []File {
	var dirs []File
	dir := path.Dir(strings.TrimSuffix(p, "/"))
	if strings.HasSuffix(p, "/") {
		dir = path.Clean(p)
	}
	for ; dir != "/"; dir = path.Dir(dir) {
		dirs = append(dirs, File{Path: dir, Dir: true, Mode: parentMode(dir)})
	}
	slices.Reverse(dirs)
	return dirs
}

// parentMode is the mode of a directory that nobody asked for: those of Debian's base-files.
func parentMode(dir string) os.FileMode {
	switch dir {
	case "/tmp", "/var/tmp":
		return 0o777 | os.ModeSticky
	case "/root":
		return 0o700
	}
	return 0o755
}

// checkMerged refuses the directories that are links into /usr on merged-usr systems (every Debian
// and Ubuntu release of today); a layer with a real directory there would hide what the link leads
// to.
func checkMerged(p string) error {
	for _, m := range [...]string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"} {
		if p == m || strings.HasPrefix(p, m+"/") {
			return fmt.Errorf("path %q: %s is a link to /usr%s in the base; write /usr%s", p, m, m, p)
		}
	}
	return nil
}

// filesTar writes files and their parents, directories first, as an archive that unpacks at the root.
func filesTar(files []File) ([]byte, error) {
	byPath := map[string]File{}
	size := 0
	var errs []error
	for _, f := range files {
		f.Path = strings.TrimSuffix(f.Path, "/")
		err := errors.Join(cleanAbs("path", f.Path), checkMerged(f.Path))
		switch {
		case err != nil:
		case f.Dir && (f.Link != "" || len(f.Data) > 0), f.Link != "" && len(f.Data) > 0:
			err = fmt.Errorf("path %q: want one of data, link and dir", f.Path)
		case f.Mode&^(os.ModePerm|os.ModeSticky|os.ModeSetuid|os.ModeSetgid) != 0:
			err = fmt.Errorf("path %q: mode %v: want permissions only", f.Path, f.Mode)
		case f.UID < 0 || f.GID < 0:
			err = fmt.Errorf("path %q: owner %d:%d: want ids", f.Path, f.UID, f.GID)
		}
		if _, twice := byPath[f.Path]; twice {
			err = errors.Join(err, fmt.Errorf("path %q: given twice", f.Path))
		}
		errs = append(errs, err)
		byPath[f.Path] = f
		size += len(f.Data)
	}
	if size > maxFiles {
		errs = append(errs, fmt.Errorf("%d bytes of files: at most %d go into the graph; use an artifact",
			size, maxFiles))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for _, f := range files {
		for _, dir := range parents(strings.TrimSuffix(f.Path, "/")) {
			if above, ok := byPath[dir.Path]; !ok {
				byPath[dir.Path] = dir
			} else if !above.Dir {
				return nil, fmt.Errorf("path %q: %s is not a directory", f.Path, dir.Path)
			}
		}
	}
	all := make([]File, 0, len(byPath))
	for _, f := range byPath {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return writeTar(all)
}

// writeTar writes files, which are sorted so that parents come first, with fixed times.
func writeTar(files []File) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		h := &tar.Header{Name: strings.TrimPrefix(f.Path, "/"), ModTime: Epoch(), Uid: f.UID, Gid: f.GID}
		mode := f.Mode
		switch {
		case f.Dir:
			h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
			if mode == 0 {
				mode = 0o755
			}
		case f.Link != "":
			h.Typeflag, h.Linkname, mode = tar.TypeSymlink, f.Link, 0o777
		default:
			h.Typeflag, h.Size = tar.TypeReg, int64(len(f.Data))
			if mode == 0 {
				mode = 0o644
			}
		}
		h.Mode = tarMode(mode)
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("write file %q: %w", f.Path, err)
		}
		if _, err := w.Write(f.Data); err != nil {
			return nil, fmt.Errorf("write file %q: %w", f.Path, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("write files: %w", err)
	}
	return buf.Bytes(), nil
}

// tarMode is a mode in the numbers that tar and Unix use.
func tarMode(m os.FileMode) int64 {
	n := int64(m.Perm())
	if m&os.ModeSetuid != 0 {
		n |= 0o4000
	}
	if m&os.ModeSetgid != 0 {
		n |= 0o2000
	}
	if m&os.ModeSticky != 0 {
		n |= 0o1000
	}
	return n
}
