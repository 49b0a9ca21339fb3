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
	a := layer.Compiler
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[digest.Digest]*lazyCompiler{}
	}
	l := s.all[a.Digest()]
	if l == nil {
		l = &lazyCompiler{of: s, python: a, version: layer.Python, layer: layer}
		s.all[a.Digest()] = l
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
	python  layers.Artifact
	version string
	once    sync.Once
	started *bytecode.Compiler
	end     func() // of where it runs; nil: here
	err     error
	layer   layers.WheelLayer // one of those that it is for
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
	r, _, err := o.Artifacts.Open(ctx, l.python.Digest())
	if err != nil {
		return nil, &llb.FetchError{Digest: l.python.Digest(), Name: l.python.Filename(), Err: err}
	}
	defer r.Close()
	file, ok := r.(*os.File)
	if !ok {
		if file, err = copied(r); err != nil {
			return nil, err
		}
		defer os.Remove(file.Name())
		defer file.Close()
	}
	python, err := bytecode.Unpack(ctx, filepath.Join(o.Dir, "python"), file.Name(), l.python.Digest().String())
	if err == nil {
		return bytecode.Start(ctx, python, bytecode.Options{Version: l.version})
	}
	if o.Elsewhere == nil || ctx.Err() != nil {
		return nil, err
	}
	start, end, elsewhere := l.elsewhere(ctx, o, file.Name())
	if elsewhere != nil {
		return nil, fmt.Errorf("%w; nor in the builder: %w", err, elsewhere)
	}
	l.end = end
	return bytecode.StartOn(ctx, start, bytecode.Options{Version: l.version})
}

// elsewhere starts interpreters where they can run: of another system, or of another kind of CPU.
func (l *lazyCompiler) elsewhere(ctx context.Context, o Options,
	file string) (start func(context.Context) (bytecode.Pipe, error), end func(), err error) {
	archive, err := os.CreateTemp("", "raybuild-python-*.tar")
	if err != nil {
		return nil, nil, err
	}
	sum := digest.SHA256.Digester()
	err = bytecode.Repack(ctx, file, l.python.Digest().String(), io.MultiWriter(archive, sum.Hash()))
	if err = errors.Join(err, archive.Close()); err == nil {
		start, end, err = o.Elsewhere(ctx, l.layer, archive.Name(), sum.Digest())
	}
	if err != nil {
		return nil, nil, errors.Join(err, os.Remove(archive.Name()))
	}
	stop := end
	return start, func() { stop(); _ = os.Remove(archive.Name()) }, nil
}

// copied is a temporary file of r.
func copied(r io.Reader) (*os.File, error) {
	f, err := os.CreateTemp("", "raybuild-python-*")
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(f, r); err != nil {
		_ = f.Close()
		_ = os.Remove(f.Name())
		return nil, err
	}
	return f, nil
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
