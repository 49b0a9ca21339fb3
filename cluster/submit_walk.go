package cluster

import (
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
)

// jobFile is a regular file of a job's directory.
type jobFile struct {
	name string // slash-separated, relative: where the job finds it
	at   string // the same, without links: where it is
	mode fs.FileMode
	size int64
}

// jobDir lists what of a job's directory goes along: regular files that no ignore file names. Symbolic links are
// followed inside the directory: a package has none. A link that leads elsewhere is an error, so that nothing outside
// the directory leaves this machine, and nothing that a job needs is silently missing.
type jobDir struct {
	root   *os.Root
	whole  string // the directory's path without links
	ignore *ignorer
	files  []jobFile
}

// openJobDir opens a job's directory and lists its files. os.Root keeps every access inside.
func openJobDir(ctx context.Context, j Job) (*jobDir, error) {
	root, err := os.OpenRoot(j.Dir)
	if err != nil {
		return nil, err
	}
	d := &jobDir{root: root, ignore: newIgnorer(root, j)}
	if d.whole, err = filepath.Abs(j.Dir); err == nil {
		d.whole, err = filepath.EvalSymlinks(d.whole)
	}
	if err == nil {
		err = d.walk(ctx, ".", ".", nil)
	}
	if err != nil {
		root.Close() // only read
		return nil, err
	}
	return d, nil
}

func (d *jobDir) close() { d.root.Close() } // only read

// walk lists a directory that the job finds at name and that is at at. above are those that it is in.
func (d *jobDir) walk(ctx context.Context, name, at string, above []string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f, err := d.root.Open(at)
	if err != nil {
		return err
	}
	entries, err := f.ReadDir(-1)
	f.Close() // it was read
	if err != nil {
		return err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	for _, e := range entries {
		if err := d.add(ctx, path.Join(name, e.Name()), path.Join(at, e.Name()), e, append(above, at)); err != nil {
			return err
		}
	}
	return nil
}

// add lists one entry of a directory.
func (d *jobDir) add(ctx context.Context, name, at string, e fs.DirEntry, above []string) error {
	link := e.Type()&fs.ModeSymlink != 0
	if skip, err := d.ignore.ignored(name, e.IsDir()); skip || err != nil {
		return err
	}
	if link {
		var err error
		if at, err = d.resolve(name, at); err != nil {
			return err
		}
	}
	info, err := d.root.Stat(at)
	switch {
	case err != nil:
		return err
	case info.Mode().IsRegular():
		d.files = append(d.files, jobFile{name: name, at: at, mode: info.Mode().Perm(), size: info.Size()})
	case info.IsDir() && link && slices.Contains(above, at):
		return fmt.Errorf("follow link %q: it leads to a directory that it is in; name it in .rayignore", name)
	case info.IsDir():
		return d.walk(ctx, name, at, above)
	}
	return nil // a socket, a pipe or a device
}

// resolve returns where in the directory a link leads to.
func (d *jobDir) resolve(name, at string) (string, error) {
	info, err := d.root.Stat(at)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("follow link %q: it leads nowhere; mend it, or name it in .rayignore", name)
	}
	if err != nil {
		return "", fmt.Errorf("follow link %q: it leads out of the directory, or by an absolute path (%w); copy what "+
			"it leads to into the directory, or name it in .rayignore", name, err)
	}
	to, err := filepath.EvalSymlinks(filepath.Join(d.whole, filepath.FromSlash(at)))
	if err == nil {
		to, err = filepath.Rel(d.whole, to)
	}
	if err != nil {
		return "", fmt.Errorf("follow link %q: %w; name it in .rayignore", name, err)
	}
	if to = filepath.ToSlash(to); to == "." {
		return to, nil
	}
	hidden, err := d.ignore.hidden(to, info.IsDir())
	if err == nil && hidden {
		err = fmt.Errorf("follow link %q: it leads to %q, which is not sent; name the link in .rayignore, too", name,
			to)
	}
	return to, err
}

// each opens the files one after the other.
func (d *jobDir) each(ctx context.Context, f func(jobFile, io.Reader) error) error {
	for _, jf := range d.files {
		if err := ctx.Err(); err != nil {
			return err
		}
		file, err := d.root.Open(jf.at)
		if err != nil {
			return err
		}
		err = f(jf, io.LimitReader(file, jf.size))
		if err = errors.Join(err, file.Close()); err != nil {
			return err
		}
	}
	return nil
}

// largest tells which entries of the directory have most, for an error about its size.
func (d *jobDir) largest() string {
	sizes := map[string]int64{}
	for _, f := range d.files {
		top, _, below := strings.Cut(f.name, "/")
		if below {
			top += "/"
		}
		sizes[top] += f.size
	}
	type entry struct {
		name string
		size int64
	}
	var all []entry
	for name, size := range sizes {
		all = append(all, entry{name, size})
	}
	slices.SortFunc(all, func(a, b entry) int {
		return cmp.Or(cmp.Compare(b.size, a.size), cmp.Compare(a.name, b.name))
	})
	var out []string
	for _, e := range all[:min(3, len(all))] {
		out = append(out, fmt.Sprintf("%q (%d MB)", e.name, (e.size+999_999)/1_000_000))
	}
	return strings.Join(out, ", ")
}
