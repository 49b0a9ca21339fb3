package raybuild

import (
	"context"
	"path/filepath"

	"github.com/raybuild/raybuild/internal/uv"
	"github.com/raybuild/raybuild/layers"
)

// uvDir is the part of raybuild's own directory that has uv and its cache.
const uvDir = "uv"

// uv gives the resolver of Python packages. It fetches the uv that this version of raybuild knows, by
// digest and from the recipe's mirrors, unless it is there. reach must have been called.
func (p *Project) uv(ctx context.Context) (_ *uv.Resolver, err error) {
	p.asking.Lock()
	defer p.asking.Unlock()
	if p.resolver == nil {
		p.resolver, err = p.newResolver(ctx)
	}
	return p.resolver, err
}

func (p *Project) newResolver(ctx context.Context) (*uv.Resolver, error) {
	home, err := p.env.MakeHome()
	if err != nil {
		return nil, err
	}
	tool, err := uv.HostWheel()
	if err != nil {
		return nil, err
	}
	p.sources.Know([]layers.Artifact{uvArtifact(tool)}, nil)
	dir := filepath.Join(home, uvDir)
	program, err := uv.Ensure(ctx, dir, p.sources)
	if err != nil {
		return nil, err
	}
	return uv.New(uv.Options{Program: program, Dir: dir, Gateway: p.sources})
}

// uvArtifact is a wheel of uv as an artifact.
func uvArtifact(w uv.Wheel) layers.Artifact {
	return layers.Artifact{Kind: layers.KindWheel, Name: "uv", Version: uv.Version, Origin: "pypi", Path: w.Path,
		SHA256: w.SHA256, Size: w.Size}
}
