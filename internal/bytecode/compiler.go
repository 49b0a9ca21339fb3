package bytecode

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
)

// Python is an interpreter.
type Python struct {
	// Path is the program. Required.
	Path string
	// Home is the directory above lib/pythonX.Y, for an interpreter that was moved. Default: where it finds it.
	Home string
}

// Options say how sources are compiled. The zero value works.
type Options struct {
	// Version is what the interpreter has to be, as major.minor. Default: any from 3.7.
	Version string
	// Processes is the number of interpreters. Default: one for each CPU.
	Processes int
}

// Compiler compiles sources by some interpreters. Its methods may be called at the same time.
type Compiler struct {
	version string // major.minor.patch
	minor   int
	magic   uint32
	all     []*process
	free    chan *process
	stop    context.CancelFunc

	mu     sync.Mutex
	failed error
}

// Start starts interpreters, which end with ctx or by Close. It is an error if the interpreter cannot run on this
// machine, is no CPython, or is of another version than is wanted.
func Start(ctx context.Context, p Python, o Options) (*Compiler, error) {
	c, err := StartOn(ctx, p.here, o)
	if err != nil {
		return nil, fmt.Errorf("start Python %q: %w", p.Path, err)
	}
	return c, nil
}

// StartOn is Start for interpreters that start elsewhere, such as in a container: with [Arguments] and [Environment].
func StartOn(ctx context.Context, start func(context.Context) (Pipe, error), o Options) (*Compiler, error) {
	ctx, stop := context.WithCancel(ctx)
	c := &Compiler{stop: stop}
	n := cmp.Or(o.Processes, runtime.GOMAXPROCS(0))
	c.free = make(chan *process, n)
	for range n {
		pipe, err := start(ctx)
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		s := newProcess(pipe)
		c.all = append(c.all, s)
		if err := c.greet(s, o.Version); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.free <- s
	}
	return c, nil
}

// greet takes the first message of an interpreter.
func (c *Compiler) greet(s *process, want string) error {
	var major, minor, patch int
	var magic uint32
	var kind string
	text, err := s.hello()
	if err != nil {
		return err
	}
	if _, err := fmt.Sscanf(text, "%d.%d.%d %d %s", &major, &minor, &patch, &magic, &kind); err != nil {
		return fmt.Errorf("it does not say its version, but %.100q", text)
	}
	version := fmt.Sprintf("%d.%d", major, minor)
	switch {
	case kind != "cpython":
		return fmt.Errorf("it is a %s, not a cpython", kind)
	case want != "" && version != want:
		return fmt.Errorf("it is Python %s, not %s", version, want)
	case major != 3 || minor < 7:
		return fmt.Errorf("it is Python %s, whose byte code holds the time of its source", version)
	}
	c.version, c.minor, c.magic, s.minor, s.magic = fmt.Sprintf("%s.%d", version, patch), minor, magic, minor, magic
	return nil
}

// Version is the interpreter's, as major.minor.
func (c *Compiler) Version() string { return fmt.Sprintf("3.%d", c.minor) }

// Release is the interpreter's version with its patch release, as major.minor.patch. Byte code that is kept should be
// kept under it: patch releases have one magic number, and may generate other code.
func (c *Compiler) Release() string { return c.version }

// Magic is the number that its byte code begins with, as in importlib.util.MAGIC_NUMBER, the lowest byte first. It is
// the same for all patch releases of a version: each of them runs the others' byte code.
func (c *Compiler) Magic() uint32 { return c.magic }

// Compile gives the .pyc file of a source that is installed at path; nil: the source is not valid in this version of
// Python, which is no error, because installers go on, too. After an error no source can be compiled any more.
func (c *Compiler) Compile(ctx context.Context, path string, source []byte) ([]byte, error) {
	select {
	case s := <-c.free:
		defer func() { c.free <- s }()
		if err := c.failure(nil); err != nil {
			return nil, err
		}
		out, err := s.compile(ctx, path, source)
		if err != nil {
			err = fmt.Errorf("compile %q: %w", path, err)
			return nil, errors.Join(c.failure(err), ctx.Err())
		}
		return out, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// failure is the first error that there was, or err.
func (c *Compiler) failure(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil {
		c.failed = err
	}
	return c.failed
}

// Close ends the interpreters. Sources that are being compiled fail.
func (c *Compiler) Close() error {
	c.stop()
	_ = c.failure(errors.New("the compiler is closed"))
	for _, s := range c.all {
		s.wait()
	}
	return nil
}
