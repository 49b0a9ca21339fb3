package llb

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/content/proxy"
	cerrdefs "github.com/containerd/errdefs"
	"github.com/klauspost/readahead"
	"github.com/moby/buildkit/client"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Tree is a solved stage whose files can be read.
type Tree struct{ ref gateway.Reference }

// Read solves st and calls fn with its files. Steps that are [Exec.Fresh] run once for each Read.
func (b *Builder) Read(ctx context.Context, st Stage, p Platform, s Session, o SolveOptions,
	fn func(context.Context, Tree) error) error {
	return b.withStage(ctx, st, p, s, o, nil, fn)
}

// ReadFiles solves st and reads files of it, by path. Those that are not there are left out.
func (b *Builder) ReadFiles(ctx context.Context, st Stage, p Platform, paths []string,
	s Session) (map[string][]byte, error) {
	out := map[string][]byte{}
	err := b.Read(ctx, st, p, s, SolveOptions{}, func(ctx context.Context, t Tree) error {
		for _, name := range paths {
			dt, err := t.ReadFile(ctx, name)
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			out[name] = dt
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ListDir solves st and lists the names in a directory of it, sorted.
func (b *Builder) ListDir(ctx context.Context, st Stage, p Platform, dir string, s Session) ([]string, error) {
	var names []string
	err := b.Read(ctx, st, p, s, SolveOptions{}, func(ctx context.Context, t Tree) (err error) {
		names, err = t.ListDir(ctx, dir)
		return err
	})
	return names, err
}

// Export solves st and copies its files into the local directory dir, which is made when it is not there.
func (b *Builder) Export(ctx context.Context, st Stage, p Platform, dir string, s Session, o SolveOptions) error {
	to := []client.ExportEntry{{Type: client.ExporterLocal, OutputDir: dir}}
	return b.withStage(ctx, st, p, s, o, to, func(context.Context, Tree) error { return nil })
}

func (b *Builder) withStage(ctx context.Context, st Stage, p Platform, s Session, o SolveOptions,
	to []client.ExportEntry, fn func(context.Context, Tree) error) (err error) {
	c, err := b.newCall(ctx, s, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.view.close()) }()
	return c.stage(ctx, st, p, to, func(ctx context.Context, ref gateway.Reference) error {
		return fn(ctx, Tree{ref: ref})
	})
}

// stage solves st, and calls fn with the result.
func (c *call) stage(ctx context.Context, st Stage, p Platform, to []client.ExportEntry,
	fn func(context.Context, gateway.Reference) error) error {
	return c.stageTo(ctx, st, p, to, func(ctx context.Context, _ gateway.Client, ref gateway.Reference) error {
		return fn(ctx, ref)
	})
}

// stageIn is stage for an fn that works in the builder.
func (c *call) stageIn(ctx context.Context, st Stage, p Platform,
	fn func(context.Context, gateway.Client, gateway.Reference) error) error {
	return c.stageTo(ctx, st, p, nil, fn)
}

func (c *call) stageTo(ctx context.Context, st Stage, p Platform, to []client.ExportEntry,
	fn func(context.Context, gateway.Client, gateway.Reference) error) error {
	var own error // of fn, which would come back from the builder as text
	_, err := c.solve(ctx, to, func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
		def, err := marshalStage(ctx, st, p,
			c.layout(ctx, gw, !canMerge(gw.BuildOpts().LLBCaps), c.o.NoCache))
		if err != nil {
			own = err
			return nil, err
		}
		ref, err := c.evaluate(ctx, gw, def)
		if err != nil {
			return nil, err
		}
		if own = fn(ctx, gw, ref); own != nil {
			return nil, own
		}
		out := gateway.NewResult()
		out.SetRef(ref)
		return out, nil
	}, true)
	if own != nil && ctx.Err() == nil {
		return own
	}
	return err
}

// readChunk keeps an answer below gRPC's limits.
const readChunk = 4 << 20

// ReadFile reads a file. If there is no such file, the error is os.ErrNotExist.
func (t Tree) ReadFile(ctx context.Context, name string) ([]byte, error) {
	var out []byte
	for {
		dt, err := t.ref.ReadFile(ctx, gateway.ReadRequest{Filename: name,
			Range: &gateway.FileRange{Offset: len(out), Length: readChunk}})
		if err != nil {
			return nil, fmt.Errorf("read file %q: %w", name, notExist(err))
		}
		out = append(out, dt...)
		if len(dt) < readChunk {
			return out, nil
		}
	}
}

// ListDir lists the names in a directory, sorted; directories end in a slash.
func (t Tree) ListDir(ctx context.Context, dir string) ([]string, error) {
	stats, err := t.ref.ReadDir(ctx, gateway.ReadDirRequest{Path: dir})
	if err != nil {
		return nil, fmt.Errorf("list directory %q: %w", dir, notExist(err))
	}
	names := make([]string, len(stats))
	for i, st := range stats {
		names[i] = st.Path
		if st.IsDir() {
			names[i] += "/"
		}
	}
	return names, nil
}

// notExist makes the error os.ErrNotExist again. gRPC carries only its text.
func notExist(err error) error {
	if status.Code(err) == codes.NotFound || strings.Contains(err.Error(), "no such file or directory") {
		return errors.Join(os.ErrNotExist, err)
	}
	return err
}

// Blob opens a blob of the builder's content store, such as a manifest or layer that it has built. If there is no such
// blob, the error is os.ErrNotExist.
func (b *Builder) Blob(ctx context.Context, d digest.Digest) (io.ReadCloser, int64, error) {
	return b.blobFrom(ctx, d, 0)
}

// Each read of a blob is a call of the builder, for readSize bytes; readsAhead of them are made
// before they are wanted, so that the builder reads while the one before is sent on.
const (
	readSize   = 1 << 20
	readsAhead = 4
)

// blobFrom is Blob from offset to its end; the size is that of the whole.
func (b *Builder) blobFrom(ctx context.Context, d digest.Digest, offset int64) (io.ReadCloser, int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	store := proxy.NewContentStore(b.c.ContentClient())
	r, err := store.ReaderAt(ctx, ocispecs.Descriptor{Digest: d})
	if err != nil {
		cancel()
		// A builder that serves no content has none.
		if cerrdefs.IsNotFound(err) || cerrdefs.IsNotImplemented(err) || status.Code(err) == codes.Unimplemented {
			err = errors.Join(os.ErrNotExist, err)
		}
		return nil, 0, fmt.Errorf("read blob %s: %w", d, err)
	}
	out, err := newBlob(r, offset, cancel)
	if err != nil {
		return nil, 0, fmt.Errorf("read blob %s: %w", d, err)
	}
	return out, r.Size(), nil
}

// blob is a blob that is read. It may be closed while it is, as net/http does with the body of a
// request that ends early.
type blob struct {
	cancel context.CancelFunc // ends a read that is under way
	from   io.Closer

	mu     sync.Mutex
	read   io.ReadCloser
	closed bool
}

// newBlob reads r from offset to its end. cancel ends r's reads.
func newBlob(r content.ReaderAt, offset int64, cancel context.CancelFunc) (*blob, error) {
	b := &blob{cancel: cancel, from: r}
	left := r.Size() - offset
	section := io.NewSectionReader(r, offset, left)
	if left <= readSize {
		b.read = io.NopCloser(bufio.NewReaderSize(section, int(max(left, 16))))
		return b, nil
	}
	var err error
	if b.read, err = readahead.NewReaderSize(section, readsAhead, readSize); err != nil {
		cancel()
		return nil, errors.Join(err, r.Close())
	}
	return b, nil
}

// Read implements io.Reader.
func (b *blob) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, os.ErrClosed
	}
	return b.read.Read(p)
}

// Close implements io.Closer.
func (b *blob) Close() error {
	b.cancel()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	return errors.Join(b.read.Close(), b.from.Close())
}

// readJSON reads a JSON blob into v; false where the builder has none, or serves no content.
func (b *Builder) readJSON(ctx context.Context, d digest.Digest, v any) (bool, error) {
	dt, ok, err := b.readDoc(ctx, d)
	if !ok {
		return false, err
	}
	if err := json.Unmarshal(dt, v); err != nil {
		return false, fmt.Errorf("read blob %s: %w", d, err)
	}
	return true, nil
}

// readDoc reads a small blob; false where the builder has none, or serves no content.
func (b *Builder) readDoc(ctx context.Context, d digest.Digest) ([]byte, bool, error) {
	var dt []byte
	r, _, err := b.Blob(ctx, d)
	if err == nil {
		dt, err = io.ReadAll(r)
		err = errors.Join(err, r.Close())
	}
	switch {
	case err == nil:
	// What was exported is the builder's no longer once the solve is over, and may go while it is read.
	case errors.Is(err, os.ErrNotExist), cerrdefs.IsNotFound(err), status.Code(err) == codes.NotFound,
		cerrdefs.IsNotImplemented(err), status.Code(err) == codes.Unimplemented:
		return nil, false, nil
	default:
		return nil, false, fmt.Errorf("read blob %s: %w", d, err)
	}
	return dt, true, nil
}
