package layers

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/llb"
)

// LocalFile is an artifact that is made of files of this machine. The graph names it by its digest, as
// it names any artifact.
type LocalFile struct {
	Digest digest.Digest
	// Name is the artifact's file name.
	Name string
	// Size in bytes.
	Size int64
	// Open reads it from its start.
	Open func() (io.ReadCloser, error)
	// LeftOut are paths, relative to the recipe, that are not in it because of what raybuild always leaves out.
	LeftOut []string
	// Private are paths in it whose names say that their contents are secret.
	Private []string
}

// files copies local files into the image: as one archive with fixed times,
// modes and ids, so that two clones with another umask give one layer.
type files struct {
	archives []LocalFile
	copies   []FileCopy
}

func (files) Name() string    { return "files" }
func (files) Needs() []string { return nil }

func (files) Resolve(context.Context, *Resolver) ([]Artifact, error) { return nil, nil }

func (f files) Apply(on Stack, _ []Artifact) (Stack, error) {
	for i, a := range f.archives {
		name := "files"
		if i > 0 {
			name = fmt.Sprintf("files-%d", i+1)
		}
		title := fmt.Sprintf("[%s] copy %s to %s", name, f.copies[i].From, f.copies[i].To)
		stage := llb.Scratch().Unpack(title, llb.Artifact(llb.Blob{Digest: a.Digest, Name: a.Name}), a.Name, "/")
		on = on.Add("files", name, title, stage)
	}
	return on, nil
}

// packFiles makes the archive of one copy. Paths are read through root, which
// nothing can leave: neither with ".." nor with a symbolic link.
func packFiles(root *os.Root, c FileCopy, user string) (LocalFile, error) {
	ignored, err := readIgnored(root, c)
	var entries []fileEntry
	if err == nil {
		entries, err = listFiles(root, c.From, ignored)
	}
	if err != nil {
		return LocalFile{}, fmt.Errorf("files: copy %q to %q: %w", c.From, c.To, err)
	}
	write := func(w io.Writer) error { return writeArchive(w, root, c, entries, user) }
	digester, size := digest.SHA256.Digester(), &countWriter{}
	if err := write(io.MultiWriter(digester.Hash(), size)); err != nil {
		return LocalFile{}, fmt.Errorf("copy %q to %q: %w", c.From, c.To, err)
	}
	return LocalFile{
		Digest: digester.Digest(), Name: "files.tar", Size: size.n, LeftOut: ignored.left,
		Private: privateAmong(c.From, entries),
		Open: func() (io.ReadCloser, error) {
			r, w := io.Pipe()
			go func() { w.CloseWithError(write(w)) }()
			return r, nil
		},
	}, nil
}

type countWriter struct{ n int64 }

func (c *countWriter) Write(p []byte) (int, error) { c.n += int64(len(p)); return len(p), nil }

// fileEntry is one file below a copied path; name is relative to it, "." itself.
type fileEntry struct {
	name string
	mode fs.FileMode
	size int64
	link string
}

// listFiles lists what is copied, sorted by name. A directory that is left out is listed if something below it is not.
func listFiles(root *os.Root, from string, ignored *ignored) ([]fileEntry, error) {
	var entries []fileEntry
	have := map[string]bool{}
	add := func(p string) error {
		rel, err := filepath.Rel(filepath.FromSlash(from), filepath.FromSlash(p))
		if err != nil || have[rel] {
			return err
		}
		e, err := readEntry(root, p, filepath.ToSlash(rel))
		entries, have[rel] = append(entries, e), true
		return err
	}
	err := fs.WalkDir(root.FS(), path.Clean(from), func(p string, d fs.DirEntry, err error) error {
		if d == nil {
			return err
		}
		out, failed := ignored.leavesOut(p)
		switch {
		case failed != nil:
			return failed
		case out && d.IsDir() && (err != nil || !ignored.takesBack()):
			return fs.SkipDir
		case out || err != nil:
			return err
		}
		for dir := path.Dir(p); len(have) > 0 && dir != path.Clean(from) && dir != "."; dir = path.Dir(dir) {
			if err := add(dir); err != nil {
				return err
			}
		}
		return add(p)
	})
	var failed *fs.PathError
	switch {
	case errors.As(err, &failed):
		message, fix := unreadable(from, err)
		return nil, fmt.Errorf("%s; %s", message, fix)
	case err == nil && len(entries) == 0:
		return nil, fmt.Errorf("%s leaves all of it out: change that file, or add \"!.\" to the key ignore",
			dockerignore)
	}
	slices.SortFunc(entries, func(a, b fileEntry) int { return cmp.Compare(a.name, b.name) })
	return entries, err
}

// readEntry reads what a path is. name is relative to what is copied.
func readEntry(root *os.Root, p, name string) (fileEntry, error) {
	info, err := root.Lstat(p)
	if err != nil {
		return fileEntry{}, err
	}
	e := fileEntry{name: name, mode: info.Mode(), size: info.Size()}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		if e.link, err = root.Readlink(p); err != nil {
			return e, err
		}
		if path.IsAbs(e.link) || !filepath.IsLocal(path.Join(path.Dir(p), e.link)) {
			return e, fmt.Errorf("%s is a link to %s, outside of what is copied; copy the file itself, or name the "+
				"link in the key ignore", p, e.link)
		}
	case !info.IsDir() && !info.Mode().IsRegular():
		return e, fmt.Errorf("%s is neither file, directory nor link; an image cannot hold it: name it in the key "+
			"ignore", p)
	}
	return e, nil
}

func writeArchive(w io.Writer, root *os.Root, c FileCopy, entries []fileEntry, user string) error {
	t := tar.NewWriter(w)
	uid, gid := UserID, GroupID
	if user == "root" {
		uid, gid = 0, 0
	}
	for _, dir := range parents(c.To) {
		if err := t.WriteHeader(parentHeader(dir, user)); err != nil {
			return err
		}
	}
	for _, e := range entries {
		h := &tar.Header{
			Name: strings.TrimPrefix(path.Join(c.To, e.name), "/"), Format: tar.FormatPAX, ModTime: llb.Epoch(),
			Uid: uid, Gid: gid, Mode: 0o644,
		}
		switch {
		case e.mode.IsDir():
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
			if inHome("/"+h.Name, user) {
				h.Gid, h.Mode = 0, homeMode
			}
			h.Name += "/"
		case e.link != "":
			h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, e.link, 0o777
		default:
			h.Typeflag, h.Size = tar.TypeReg, e.size
			if e.mode&0o111 != 0 {
				h.Mode = 0o755
			}
		}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if h.Typeflag == tar.TypeReg {
			if err := copyFile(t, root, path.Join(c.From, e.name), e.size); err != nil {
				return err
			}
		}
	}
	return t.Close()
}

func copyFile(w io.Writer, root *os.Root, name string, size int64) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := io.CopyN(w, f, size)
	if err == nil && n != size || errors.Is(err, io.EOF) {
		return fmt.Errorf("%s became shorter while it was read; try again", name)
	}
	return err
}

// parents are the directories above p, outermost first, without the root.
func parents(p string) []string {
	var out []string
	for dir := path.Dir(p); dir != "/" && dir != "."; dir = path.Dir(dir) {
		out = append([]string{dir}, out...)
	}
	return out
}

// parentHeader is a directory above a copied path as every base has it: what is
// merged later wins, and must not take a home or /tmp away from its owner.
func parentHeader(dir, user string) *tar.Header {
	h := &tar.Header{Typeflag: tar.TypeDir, Name: strings.TrimPrefix(dir, "/") + "/", Format: tar.FormatPAX,
		Mode: 0o755, ModTime: llb.Epoch()}
	switch {
	case dir == "/tmp" || dir == "/var/tmp":
		h.Mode = 0o1777
	case dir == "/root":
		h.Mode = 0o700
	case inHome(dir, user):
		h.Uid, h.Gid, h.Mode = UserID, 0, homeMode
	}
	return h
}

// homeMode is that of the home of the image's user, and of directories in it. Platforms that choose the user of a
// container, as OpenShift does, give it group 0.
const homeMode = 0o775

// inHome tells whether a path is the home of the image's user, or in it.
func inHome(p, user string) bool {
	return user != "root" && (p == home(user) || strings.HasPrefix(p, home(user)+"/"))
}
