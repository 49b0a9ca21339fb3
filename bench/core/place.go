package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"

	"github.com/raybuild/raybuild/bench/bed"
	"github.com/raybuild/raybuild/internal/engine"
	"github.com/raybuild/raybuild/layers"
)

// place is where everything is measured: a world, its recipe and lock, and the files that the Dockerfile needs.
type place struct {
	*bed.Bed
	options
	lock   *layers.LockPlatform
	runner string // the program that runs images
}

// prepare starts a world and resolves its recipe, once: both sides build from that lock. What has
// to come from outside (apt's lists, Debian packages) is asked for once, so that the mirror has it
// when it counts.
func prepare(ctx context.Context, o options, log io.Writer) (p *place, err error) {
	for _, file := range []*string{&o.dockerfile, &o.out} {
		if *file, err = filepath.Abs(*file); err != nil {
			return nil, err
		}
	}
	p = &place{options: o}
	if p.Bed, err = bed.New(ctx, bed.Options{Raybuild: o.raybuild, Buildctl: o.buildctl, Dir: o.dir,
		Log: log}); err != nil {
		return nil, err
	}
	p.runner = filepath.Join(p.Dir, "world-run")
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close(ctx))
		}
	}()
	if err := p.World.Write(p.Dir); err != nil {
		return nil, err
	}
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", p.runner,
		"./internal/world/cmd/world").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the program that runs images: %w\n%s", err, out)
	}
	p.Say("resolving the recipe")
	home := p.Home("lock")
	if _, err := p.Command(ctx, home, p.Raybuild, "lock", "--progress", "quiet", "-f", p.recipe()); err != nil {
		return nil, err
	}
	if p.lock, err = bed.ReadLock(filepath.Join(p.Dir, "raybuild.lock")); err != nil {
		return nil, err
	}
	if err := p.context().Write(); err != nil {
		return nil, err
	}
	p.Say("filling the mirror's cache")
	if _, err := p.buildctlBuild(ctx, home, "", "--opt", "target=system"); err != nil {
		return nil, err
	}
	return p, engine.Stop(ctx, p.Engine(home))
}

func (p *place) recipe() string { return filepath.Join(p.Dir, "raybuild.yaml") }
