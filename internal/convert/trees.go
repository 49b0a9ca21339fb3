package convert

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/wholefile"
	"github.com/raybuild/raybuild/llb"
)

// trees is a directory that has layers' files, each layer's in a directory of its own. The engine of this machine reads
// them there: it need not get the layers, nor unpack them. The zero value keeps none.
//
// After a power cut a file may lack its bytes, so a tree is used only until the machine starts again.
type trees struct {
	dir  string
	boot string // which start of the machine it is
}

// errNoTrees says that layers' files are not laid out.
var errNoTrees = fmt.Errorf("layers are not laid out as directories: %w", os.ErrNotExist)

// openTrees opens the trees in dir. Their files have owners, so only root can make them.
func openTrees(dir string) trees {
	boot, err := wholefile.Boot()
	if err != nil || os.Geteuid() != 0 {
		return trees{}
	}
	return trees{dir, strings.ReplaceAll(boot, "-", "")}
}

func (t trees) of(d digest.Digest) string { return filepath.Join(t.dir, d.Encoded()+"."+t.boot) }

// find is the directory of a layer's files, if it is there.
func (t trees) find(d digest.Digest) (string, bool) {
	dir := t.of(d)
	if _, err := os.Stat(dir); t.dir == "" || err != nil {
		return "", false
	}
	used(dir)
	return dir, true
}

// TreesDir is the directory of layers' files, below that of the layers.
const TreesDir = "trees"

// treesLeave is how many bytes of the disk trees leave free.
const treesLeave = 10e9

// sweep removes trees that nobody uses any more, and those that were used least while the disk is full.
func (t trees) sweep(now time.Time, full func() bool) {
	entries, err := os.ReadDir(t.dir)
	if t.dir == "" || err != nil {
		return // there are none
	}
	type tree struct {
		dir  string
		used time.Time
	}
	var all []tree
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // another process removed it
		}
		dir, age := filepath.Join(t.dir, e.Name()), now.Sub(info.ModTime())
		whole := strings.HasSuffix(e.Name(), "."+t.boot)
		switch {
		case age < sweepAfter: // somebody may be writing or reading it
		case !whole || age > unusedAfter:
			_ = os.RemoveAll(dir) // another process may do so
		default:
			all = append(all, tree{dir, info.ModTime()})
		}
	}
	slices.SortFunc(all, func(a, b tree) int { return a.used.Compare(b.used) })
	for _, one := range all {
		if !full() {
			return
		}
		_ = os.RemoveAll(one.dir)
	}
}

// growing is a tree that is being made of a tar file that is written to it.
type growing struct {
	trees trees
	dir   string
	pipe  *io.PipeWriter
	done  chan struct{}
	err   error // valid when done is closed
}

// begin begins a tree.
func (t trees) begin() (*growing, error) {
	if t.dir == "" {
		return nil, errNoTrees
	}
	if err := os.MkdirAll(t.dir, 0o700); err != nil {
		return nil, fmt.Errorf("lay out layer: %w", err)
	}
	dir, err := os.MkdirTemp(t.dir, "new-*")
	if err != nil {
		return nil, fmt.Errorf("lay out layer: %w", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // it becomes the root of a filesystem
		return nil, fmt.Errorf("lay out layer: %w", errors.Join(err, os.Remove(dir)))
	}
	r, w := io.Pipe()
	g := &growing{trees: t, dir: dir, pipe: w, done: make(chan struct{})}
	go func() {
		defer close(g.done)
		g.err = layOut(dir, r)
		_ = r.CloseWithError(g.err)
	}()
	return g, nil
}

// Write never fails: a layer is whole without its tree.
func (g *growing) Write(b []byte) (int, error) {
	_, _ = g.pipe.Write(b)
	return len(b), nil
}

// keep names the tree after its layer, when all of the tar file is written.
func (g *growing) keep(d digest.Digest) error {
	_ = g.pipe.Close()
	<-g.done
	err := g.err
	if err == nil {
		err = os.Rename(g.dir, g.trees.of(d))
	}
	if errors.Is(err, fs.ErrExist) { // another process has made it
		err = nil
	}
	return err
}

// discard removes a tree that has no name.
func (g *growing) discard() {
	_ = g.pipe.CloseWithError(errNoTrees)
	<-g.done
	_ = os.RemoveAll(g.dir)
}

// plant makes the tree of a layer that is in the store.
func (c *Converter) plant(l llb.StoredLayer) error {
	f, err := c.store.open(l.Digest)
	if err != nil {
		return err
	}
	defer f.Close()
	g, err := c.trees.begin()
	if err != nil {
		return err
	}
	defer g.discard()
	in, err := gzip.NewReader(bufio.NewReaderSize(f, treeBuffer))
	if err == nil {
		_, err = io.CopyBuffer(g.pipe, struct{ io.Reader }{in}, make([]byte, treeBuffer))
	}
	if err != nil {
		return fmt.Errorf("lay out layer %s: %w", l.Digest, err)
	}
	return g.keep(l.Digest)
}

// Tree implements llb.TreeSource. It waits until a layer is made whose making began.
func (c *Converter) Tree(ctx context.Context, key digest.Digest) (string, error) {
	if c.trees.dir == "" {
		return "", errNoTrees
	}
	l, err := c.Layer(ctx, key, true)
	if err != nil {
		return "", err
	}
	if dir, ok := c.trees.find(l.Digest); ok {
		return dir, nil
	}
	_, err, _ = c.planting.Do(l.Digest.Encoded(), func() (any, error) { return nil, c.plant(l) })
	if err != nil {
		return "", err
	}
	if dir, ok := c.trees.find(l.Digest); ok {
		return dir, nil
	}
	return "", errNoTrees
}

const treeBuffer = 256 << 10

// layOut makes the files of a layer of wheels, which has directories and regular files only, in dir.
func layOut(dir string, r io.Reader) error {
	in, buf := tar.NewReader(r), make([]byte, treeBuffer)
	var dirs []*tar.Header
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read layer: %w", err)
		}
		if !filepath.IsLocal(h.Name) {
			return fmt.Errorf("read layer: %q lies outside of it", h.Name)
		}
		path := filepath.Join(dir, h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			dirs = append(dirs, h)
			if err = os.Mkdir(path, 0o700); err == nil {
				err = os.Chown(path, h.Uid, h.Gid)
			}
			if err == nil {
				err = os.Chmod(path, h.FileInfo().Mode())
			}
		case tar.TypeReg:
			err = layFile(path, h, in, buf)
		default:
			err = fmt.Errorf("%q is neither file nor directory", h.Name)
		}
		if err != nil {
			return fmt.Errorf("lay out layer: %w", err)
		}
	}
	for _, h := range slices.Backward(dirs) {
		if err := os.Chtimes(filepath.Join(dir, h.Name), h.ModTime, h.ModTime); err != nil {
			return fmt.Errorf("lay out layer: %w", err)
		}
	}
	_, err := io.Copy(io.Discard, r)
	return err
}

func layFile(path string, h *tar.Header, in io.Reader, buf []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	// Without the wrapper, each file would bring a buffer of its own.
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, in, buf)
	return errors.Join(err, f.Chown(h.Uid, h.Gid), f.Chmod(h.FileInfo().Mode()), f.Close(),
		os.Chtimes(path, h.ModTime, h.ModTime))
}

var _ llb.TreeSource = (*Converter)(nil)
