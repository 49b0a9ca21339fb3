package convert

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/bytecode"
	"github.com/raybuild/raybuild/internal/wholefile"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
	"github.com/raybuild/raybuild/wheel"
)

// compilers are the Pythons that make byte code, each started when the first source needs it.
type compilers struct {
	start func(*lazyCompiler) (*bytecode.Compiler, error)
	mu    sync.Mutex
	all   map[digest.Digest]*lazyCompiler // by the digest of the conda package
}

func (s *compilers) of(layer layers.WheelLayer) *lazyCompiler {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[digest.Digest]*lazyCompiler{}
	}
	key := layer.Compiler.Digest()
	l := s.all[key]
	if l == nil {
		l = &lazyCompiler{of: s, layer: layer}
		s.all[key] = l
	}
	return l
}

// close ends all interpreters.
func (s *compilers) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.all {
		if l.started != nil {
			_ = l.started.Close() // what it compiled is whole
		}
		if l.end != nil {
			l.end()
		}
	}
}

// lazyCompiler is a Python that starts with the first source.
type lazyCompiler struct {
	of      *compilers
	layer   layers.WheelLayer // one of those that it is for
	once    sync.Once
	started *bytecode.Compiler
	end     func() // of where it runs; nil: here
	err     error
}

// Compile implements wheel.Compiler.
func (l *lazyCompiler) Compile(ctx context.Context, path string, source []byte) ([]byte, error) {
	l.once.Do(func() {
		if l.started, l.err = l.of.start(l); l.err != nil {
			l.err = fmt.Errorf("start the Python that makes byte code: %w", l.err)
		}
	})
	if l.err != nil {
		return nil, l.err
	}
	return l.started.Compile(ctx, path, source)
}

func (l *lazyCompiler) start(ctx context.Context, o Options) (*bytecode.Compiler, error) {
	file, _, end, err := openFile(ctx, o, l.layer.Compiler)
	if err != nil {
		return nil, err
	}
	defer end()
	python, err := bytecode.Unpack(ctx, pythons(o.Dir), file.Name(), l.layer.Compiler.Digest().String())
	if err == nil {
		return bytecode.Start(ctx, python, bytecode.Options{Version: l.layer.Python})
	}
	if o.Elsewhere == nil || ctx.Err() != nil {
		return nil, err
	}
	start, ended, elsewhere := l.elsewhere(ctx, o, file.Name())
	if elsewhere != nil {
		return nil, fmt.Errorf("%w; nor in the builder: %w", err, elsewhere)
	}
	l.end = ended
	return bytecode.StartOn(ctx, start, bytecode.Options{Version: l.layer.Python})
}

// pythons is the directory below dir that Pythons are unpacked into. What was unpacked before the machine last started
// may lack bytes, and is removed.
func pythons(dir string) string {
	boot, err := wholefile.Boot()
	if err != nil {
		boot = "unknown"
	}
	all := filepath.Join(dir, "python")
	entries, _ := os.ReadDir(all) // there may be none
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && e.Name() != boot && time.Since(info.ModTime()) > sweepAfter { // another machine may use it
			_ = os.RemoveAll(filepath.Join(all, e.Name())) // another process may do so
		}
	}
	return filepath.Join(all, boot)
}

// elsewhere starts interpreters where they can run: of another system, or of another kind of CPU.
func (l *lazyCompiler) elsewhere(ctx context.Context, o Options,
	file string) (start func(context.Context) (bytecode.Pipe, error), end func(), err error) {
	archive, err := os.CreateTemp("", "raybuild-python-*.tar")
	if err != nil {
		return nil, nil, err
	}
	sum := digest.SHA256.Digester()
	err = bytecode.Repack(ctx, file, l.layer.Compiler.Digest().String(), io.MultiWriter(archive, sum.Hash()))
	if err = errors.Join(err, archive.Close()); err == nil {
		start, end, err = o.Elsewhere(ctx, l.layer, archive.Name(), sum.Digest())
	}
	if err != nil {
		return nil, nil, errors.Join(err, os.Remove(archive.Name()))
	}
	stop := end
	return start, func() { stop(); _ = os.Remove(archive.Name()) }, nil
}

// openFile opens an artifact as a file: most are one, and others are copied. end closes it.
func openFile(ctx context.Context, o Options, a layers.Artifact) (f *os.File, size int64, end func(), err error) {
	r, size, err := o.Artifacts.Open(ctx, a.Digest())
	if err != nil {
		return nil, 0, nil, &llb.FetchError{Digest: a.Digest(), Name: a.Filename(), Err: err}
	}
	if f, ok := r.(*os.File); ok {
		return f, size, func() { _ = f.Close() }, nil // it was only read
	}
	defer r.Close()
	if f, err = os.CreateTemp("", "raybuild-artifact-*"); err != nil {
		return nil, 0, nil, err
	}
	end = func() { _, _ = f.Close(), os.Remove(f.Name()) }
	if size, err = io.Copy(f, r); err != nil {
		end()
		return nil, 0, nil, err
	}
	return f, size, end, nil
}

// wholeCode tells whether kept byte code is as it was made: it ends with its SHA-256.
func wholeCode(code []byte) bool {
	end := len(code) - sha256.Size
	return end > 0 && sha256.Sum256(code[:end]) == [sha256.Size]byte(code[end:])
}

// compile gives a wheel its byte code: what is kept of it, or what a Python makes now.
func (c *Converter) compile(ctx context.Context, l layers.WheelLayer, t wheel.Target, a layers.Artifact,
	w *wheel.Wheel) error {
	key := digest.FromString(fmt.Sprintf("%d %s %s %s %s", wheel.Version, a.Digest(), l.Compiler.Digest(), l.Prefix,
		l.Python))
	file := c.store.codeFile(key)
	if code, err := os.ReadFile(file); err == nil && !c.o.Anew && wholeCode(code) {
		w.ByteCode = code
		used(file)
		return nil
	}
	code, err := w.Compile(ctx, t, c.python.of(l))
	if err != nil {
		return err
	}
	w.ByteCode = code
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return wholefile.Write(file, code, 0o644)
}
