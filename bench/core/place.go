package main

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

	"github.com/raybuild/raybuild/internal/engine"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/world"
	"github.com/raybuild/raybuild/layers"
)

// place is where everything is measured: a world, its recipe and lock, and the files that the Dockerfile needs.
type place struct {
	options
	log    io.Writer
	world  *world.World
	lock   *layers.LockPlatform
	runner string // the program that runs images
	homes  []string
}

// prepare starts a world and resolves its recipe, once: both sides build from that lock. What has to come from outside (apt's
// lists, Debian packages) is asked for once, so that the mirror has it when it counts.
func prepare(ctx context.Context, o options, log io.Writer) (p *place, err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("only root can measure: both engines run containers")
	}
	for _, file := range []*string{&o.raybuild, &o.buildctl, &o.dockerfile, &o.dir, &o.out} {
		if *file, err = filepath.Abs(*file); err != nil {
			return nil, err
		}
	}
	if err := os.RemoveAll(o.dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return nil, err
	}
	p = &place{options: o, log: log, runner: filepath.Join(o.dir, "world-run")}
	if p.world, err = world.Start(ctx, world.Options{Dir: filepath.Join(o.dir, "world"), Log: log}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close(ctx))
		}
	}()
	if err := p.world.Write(o.dir); err != nil {
		return nil, err
	}
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", p.runner, "./internal/world/cmd/world").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the program that runs images: %w\n%s", err, out)
	}
	p.say("resolving the recipe")
	home := p.home("lock")
	if _, err := p.command(ctx, home, p.raybuild, "lock", "--progress", "quiet", "-f", p.recipe()); err != nil {
		return nil, err
	}
	if err := p.readLock(); err != nil {
		return nil, err
	}
	if err := p.writeContext(); err != nil {
		return nil, err
	}
	p.say("filling the mirror's cache")
	if _, err := p.buildctlBuild(ctx, home, "", "target=system"); err != nil {
		return nil, err
	}
	return p, engine.Stop(ctx, p.engine(home))
}

func (p *place) say(format string, args ...any) { _, _ = fmt.Fprintf(p.log, format+"\n", args...) }
func (p *place) recipe() string                 { return filepath.Join(p.dir, "raybuild.yaml") }

// home is a new state directory of raybuild.
func (p *place) home(name string) string {
	home := filepath.Join(p.dir, "home-"+name)
	p.homes = append(p.homes, home)
	return home
}

func (p *place) engine(home string) engine.Options {
	return engine.Options{Home: home, Exe: p.raybuild, Notes: p.log}
}

// close ends the engines and the world, and removes what they left.
func (p *place) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	var errs []error
	for _, home := range p.homes {
		if _, err := os.Stat(home); err == nil {
			errs = append(errs, engine.Stop(ctx, p.engine(home)))
		}
	}
	errs = append(errs, p.world.Close(), os.RemoveAll(p.dir))
	return errors.Join(errs...)
}

// command runs a program with a home of its own, and gives what it wrote to standard output.
func (p *place) command(ctx context.Context, home, program string, args ...string) (string, error) {
	cmd := p.cmd(ctx, home, program, args...)
	var out, said strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", filepath.Base(program), strings.Join(args, " "), err, said.String())
	}
	return strings.TrimSpace(out.String()), nil
}

// cmd is a command with nothing of the caller's settings: no builder, no CI.
func (p *place) cmd(ctx context.Context, home, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = p.dir
	cmd.Env = []string{"RAYBUILD_HOME=" + home}
	for _, v := range os.Environ() {
		switch name, _, _ := strings.Cut(v, "="); name {
		case "RAYBUILD_HOME", "BUILDKIT_HOST", "CI", "SOURCE_DATE_EPOCH":
		default:
			cmd.Env = append(cmd.Env, v)
		}
	}
	return cmd
}

// registry starts an empty registry, so that no push finds blobs of the build before.
func (p *place) registry(ctx context.Context, name string) (host string, err error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go func() {
		if err := registry.Serve(ctx, ln, filepath.Join(p.dir, "registry-"+name)); err != nil && !errors.Is(err, http.ErrServerClosed) {
			p.say("registry %s: %v", name, err)
		}
	}()
	return ln.Addr().String(), nil
}
