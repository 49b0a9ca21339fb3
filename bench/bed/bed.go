// Package bed is what benchmarks stand on: an offline package world, state directories with engines
// of their own, and the same image as a Dockerfile for BuildKit's frontend, made from raybuild's
// lock.
package bed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/raybuild/raybuild/internal/engine"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/world"
)

// Options say what a bed is made of. Raybuild, Buildctl and Dir are required.
type Options struct {
	// Raybuild and Buildctl are the programs to measure.
	Raybuild, Buildctl string
	// Dir is a scratch directory, emptied first and removed at the end.
	Dir string
	// World are the options of the world, but for its Dir and Log.
	World world.Options
	// Log gets a line for each thing that is done. Default: nowhere.
	Log io.Writer
}

// Bed is a world and what is measured in it.
type Bed struct {
	Options
	World *world.World
	homes []string

	discarded int // directories
}

// New starts a world.
func New(ctx context.Context, o Options) (*Bed, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("only root can measure: the engines run containers")
	}
	for _, file := range []*string{&o.Raybuild, &o.Buildctl, &o.Dir} {
		var err error
		if *file, err = filepath.Abs(*file); err != nil {
			return nil, err
		}
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	if err := os.RemoveAll(o.Dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, err
	}
	o.World.Dir, o.World.Log = filepath.Join(o.Dir, "world"), o.Log
	w, err := world.Start(ctx, o.World)
	if err != nil {
		return nil, err
	}
	return &Bed{Options: o, World: w}, nil
}

// Say writes a line to the log; a log that cannot be written ends no benchmark.
func (b *Bed) Say(format string, args ...any) { _, _ = fmt.Fprintf(b.Log, format+"\n", args...) }

// Home is a new state directory of raybuild.
func (b *Bed) Home(name string) string {
	home := filepath.Join(b.Dir, "home-"+name)
	b.homes = append(b.homes, home)
	return home
}

// Engine says which engine that of a home is.
func (b *Bed) Engine(home string) engine.Options {
	return engine.Options{Home: home, Exe: b.Raybuild, Notes: b.Log}
}

// Drop ends the engine of a home and takes a directory of it away.
func (b *Bed) Drop(ctx context.Context, home, dir string) error {
	if err := engine.Stop(ctx, b.Engine(home)); err != nil {
		return err
	}
	return b.Discard(filepath.Join(home, dir))
}

// Discard takes a directory away, which Close removes: for some minutes after many files were
// removed ext4 gives none of their inodes out (recently_deleted in fs/ext4/ialloc.c of Linux), and
// each new file has it search for another one, which showed as a third of all that a build
// computed.
func (b *Bed) Discard(dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	b.discarded++
	to := filepath.Join(b.Dir, fmt.Sprintf("discarded-%d", b.discarded))
	return os.Rename(dir, to)
}

// inodeRest is how long ext4 holds the inodes of removed files back, once their directories are written: RECENTCY_MIN.
const inodeRest = time.Minute

// Empty removes what was discarded, for who has no room to keep it until the end, and waits until
// no build pays for that.
func (b *Bed) Empty(ctx context.Context) error {
	gone, err := filepath.Glob(filepath.Join(b.Dir, "discarded-*"))
	if err != nil || len(gone) == 0 {
		return err
	}
	for _, dir := range gone {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	unix.Sync()
	select {
	case <-time.After(inodeRest):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends the engines and the world, and removes what they left.
func (b *Bed) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	var errs []error
	for _, home := range b.homes {
		if _, err := os.Stat(home); err == nil {
			errs = append(errs, engine.Stop(ctx, b.Engine(home)))
		}
	}
	errs = append(errs, b.World.Close(), os.RemoveAll(b.Dir))
	return errors.Join(errs...)
}

// Command runs a program with a home of its own, and gives what it wrote to standard output, also where it failed.
func (b *Bed) Command(ctx context.Context, home, program string, args ...string) (string, error) {
	cmd := b.Cmd(ctx, home, program, args...)
	var out, said strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return out.String(), Failed(cmd, err, said.String())
	}
	return strings.TrimSpace(out.String()), nil
}

// Failed is the error of a program, with the last of what it said.
func Failed(cmd *exec.Cmd, err error, said string) error {
	const most = 8 << 10
	return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, said[max(0, len(said)-most):])
}

// Cmd is a command with nothing of the caller's settings: no builder, no CI.
func (b *Bed) Cmd(ctx context.Context, home, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = b.Dir
	cmd.Env = []string{"RAYBUILD_HOME=" + home}
	for _, v := range os.Environ() {
		switch name, _, _ := strings.Cut(v, "="); name {
		case "RAYBUILD_HOME", "BUILDKIT_HOST", "DOCKER_HOST", "CI", "SOURCE_DATE_EPOCH":
		default:
			cmd.Env = append(cmd.Env, v)
		}
	}
	return cmd
}

// Registry starts an empty registry, so that no push finds blobs of the build before.
func (b *Bed) Registry(ctx context.Context, name string) (host string, err error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go func() {
		if err := registry.Serve(ctx, ln, filepath.Join(b.Dir, "registry-"+name)); err != nil &&
			!errors.Is(err, http.ErrServerClosed) {
			b.Say("registry %s: %v", name, err)
		}
	}()
	return ln.Addr().String(), nil
}
