package main

import (
	"context"
	"path/filepath"

	"github.com/raybuild/raybuild/bench/bed"
)

// context is the build context of the Dockerfile's side.
func (p *place) context() bed.Context {
	return bed.Context{Dir: filepath.Join(p.Dir, "context"), Dockerfile: p.dockerfile, Lock: p.lock, Mirror: p.World.A}
}

// buildctlBuild builds the Dockerfile on the engine of home, which is started where it does not
// run, and pushes it to ref.
func (p *place) buildctlBuild(ctx context.Context, home, ref string, more ...string) (sample, error) {
	args, err := p.BuildctlArgs(ctx, home, ref, p.context(), more...)
	if err != nil {
		return sample{}, err
	}
	return p.time(ctx, home, p.Buildctl, args...)
}
