package gitsource

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// Archive says what an archive is made of.
type Archive struct {
	// Commit is its whole name.
	Commit string
	// Top is the directory that all files are below.
	Top string
	// Tag is one of the commit's, which tells tools that read versions from git which version it is. Default: none.
	Tag string
}

// Limits of submodules in submodules, of directories in directories, and of an archive in bytes. A submodule may be
// anybody's.
const (
	maxModules = 8
	maxDepth   = 128
	maxArchive = 8 << 30
)

// bounded passes on bytes until there are too many.
type bounded struct {
	to   io.Writer
	left int64
}

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, errors.New("its files are too large: build a wheel of the project and name it under pip.wheels")
	}
	return b.to.Write(p)
}

// Archive writes a tar of a commit's files, those of submodules too. There is no .git in it: what it says of versions
// is in .git_archival.txt, as in archives that git makes, unless the commit has such a file of its own.
func (r Repository) Archive(ctx context.Context, a Archive, to io.Writer) error {
	if !IsCommit(a.Commit) {
		return fmt.Errorf("archive %q: want the whole name of a commit", a.Commit)
	}
	w := &writer{tar: tar.NewWriter(&bounded{to, maxArchive})}
	err := r.within(ctx, a.Commit, func(c *object.Commit) error {
		if err := w.directory(a.Top); err != nil {
			return err
		}
		if err := w.archival(c, a); err != nil {
			return err
		}
		return w.commit(ctx, r, c, a.Top, maxModules)
	})
	if err != nil {
		return fmt.Errorf("archive commit %s of repository %q: %w", a.Commit, r.URL, err)
	}
	return w.tar.Close()
}

// writer writes trees into a tar.
type writer struct{ tar *tar.Writer }

// stamp is the time of all files: a commit's own would be in what is built.
func stamp() time.Time { return time.Unix(315532800, 0) }

const archival = ".git_archival.txt"

// archival writes what setuptools_scm, and tools on top of it, read of git (setuptools-scm.readthedocs.io, "Git
// archives"). A placeholder in the commit's own file is for git archive to fill, so it is replaced.
func (w *writer) archival(c *object.Commit, a Archive) error {
	own, err := c.File(archival)
	if err == nil {
		text, err := own.Contents()
		if err != nil || !strings.Contains(text, "$Format:") {
			return err
		}
	} else if !errors.Is(err, object.ErrFileNotFound) {
		return err
	}
	text := "node: " + a.Commit + "\nnode-date: " + c.Committer.When.UTC().Format(time.RFC3339) + "\n"
	if a.Tag != "" {
		text += "describe-name: " + a.Tag + "\nref-names: tag: " + a.Tag + "\n"
	}
	return w.file(path.Join(a.Top, archival), 0o644, int64(len(text)), strings.NewReader(text))
}

// commit writes the files of a commit.
func (w *writer) commit(ctx context.Context, r Repository, c *object.Commit, dir string, modules int) error {
	tree, err := c.Tree()
	if err != nil {
		return err
	}
	return w.tree(ctx, module{r, c, dir, modules}, tree, "", maxDepth)
}

// module is a commit whose files are written.
type module struct {
	Repository
	commit *object.Commit
	dir    string
	left   int // of submodules in each other
}

// tree writes a directory of a commit.
func (w *writer) tree(ctx context.Context, m module, tree *object.Tree, below string, depth int) error {
	if depth == 0 {
		return errors.New("its directories are too deep")
	}
	for _, e := range tree.Entries {
		if e.Name == "" || e.Name == "." || e.Name == ".." || strings.ContainsAny(e.Name, "/\\\x00") ||
			strings.EqualFold(e.Name, ".git") {
			return fmt.Errorf("it has a file with the name %q", e.Name)
		}
		at := path.Join(below, e.Name)
		var err error
		switch e.Mode {
		case filemode.Dir:
			var sub *object.Tree
			if sub, err = tree.Tree(e.Name); err == nil {
				if err = w.directory(path.Join(m.dir, at)); err == nil {
					err = w.tree(ctx, m, sub, at, depth-1)
				}
			}
		case filemode.Submodule:
			err = w.submodule(ctx, m, at, e.Hash.String())
		default:
			if at != archival || w.keeps(m.commit) || m.left != maxModules {
				err = w.blob(tree, e, path.Join(m.dir, at))
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// keeps tells whether a commit's own file about git has no placeholders.
func (w *writer) keeps(c *object.Commit) bool {
	own, err := c.File(archival)
	if err != nil {
		return false
	}
	text, err := own.Contents()
	return err == nil && !strings.Contains(text, "$Format:")
}

// submodule writes the commit of another repository.
func (w *writer) submodule(ctx context.Context, m module, at, commit string) error {
	where, err := m.moduleURL(at)
	if err != nil {
		return err
	}
	if m.left == 0 {
		return fmt.Errorf("submodule %q: submodules are in each other too deep", at)
	}
	if err := w.directory(path.Join(m.dir, at)); err != nil {
		return err
	}
	sub := Repository{URL: where, Client: m.Client}
	return sub.within(ctx, commit, func(c *object.Commit) error {
		return w.commit(ctx, sub, c, path.Join(m.dir, at), m.left-1)
	})
}

// moduleURL is where the repository of a submodule is.
func (m module) moduleURL(at string) (string, error) {
	list, err := m.commit.File(".gitmodules")
	if err != nil {
		return "", fmt.Errorf("submodule %q: .gitmodules: %w", at, err)
	}
	text, err := list.Contents()
	if err != nil {
		return "", fmt.Errorf("submodule %q: .gitmodules: %w", at, err)
	}
	modules := config.NewModules()
	if err := modules.Unmarshal([]byte(text)); err != nil {
		return "", fmt.Errorf("submodule %q: .gitmodules: %w", at, err)
	}
	for _, s := range modules.Submodules {
		if path.Clean(s.Path) != at {
			continue
		}
		where := s.URL
		if strings.HasPrefix(where, "./") || strings.HasPrefix(where, "../") {
			base, err := url.Parse(m.URL)
			if err != nil {
				return "", fmt.Errorf("submodule %q: %w", at, err)
			}
			base.Path = path.Join(base.Path, where) // git reads it as below the repository
			where = base.String()
		}
		if u, err := url.Parse(where); err != nil || u.Scheme != "https" && !strings.HasPrefix(m.URL, u.Scheme+"://") ||
			u.User != nil {
			return "", fmt.Errorf("submodule %q is at %q: only https URLs without a login can be fetched; build a "+
				"wheel of the project and name it under pip.wheels", at, where)
		}
		return where, nil
	}
	return "", fmt.Errorf("submodule %q is not in .gitmodules", at)
}

// blob writes a file or a link.
func (w *writer) blob(tree *object.Tree, e object.TreeEntry, name string) error {
	f, err := tree.TreeEntryFile(&e)
	if err != nil {
		return fmt.Errorf("read %q: %w", name, err)
	}
	if e.Mode == filemode.Symlink {
		to, err := f.Contents()
		if err != nil {
			return fmt.Errorf("read %q: %w", name, err)
		}
		return w.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777,
			ModTime: stamp()})
	}
	r, err := f.Reader()
	if err != nil {
		return fmt.Errorf("read %q: %w", name, err)
	}
	defer func() { _ = r.Close() }() // it was only read
	mode := int64(0o644)
	if e.Mode == filemode.Executable {
		mode = 0o755
	}
	return w.file(name, mode, f.Size, r)
}

func (w *writer) file(name string, mode, size int64, data io.Reader) error {
	err := w.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: size, ModTime: stamp()})
	if err == nil {
		_, err = io.Copy(w.tar, data)
	}
	if err != nil {
		return fmt.Errorf("write %q: %w", name, err)
	}
	return nil
}

func (w *writer) directory(name string) error {
	return w.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755, ModTime: stamp()})
}
