package raybuild

import (
	"context"

	"github.com/raybuild/raybuild/layers"
)

// LockOptions say how a lock is brought up. The zero value resolves what the lock does not answer,
// and keeps all other versions.
type LockOptions struct {
	// Update names what is resolved anew although the lock answers it: base, tool, apt, miniconda, env, ray, a Python
	// package, or pip for all of them.
	Update []string
	// UpdateAll resolves everything anew.
	UpdateAll bool
	// Check changes nothing, and fails where the lock does not fit the recipe.
	Check bool
}

// LockResult is what became of a lock.
type LockResult struct {
	File    string          // as the options named it
	Written bool            // false: it fitted
	Changes []layers.Change // by platform, layer, kind and name
}

// Lock brings the lock up to the recipe and writes it. Resolving runs apt-get, conda and pip in the
// build sandbox, so it needs a builder.
func (p *Project) Lock(ctx context.Context, o LockOptions) (_ *LockResult, err error) {
	defer public(ctx, &err)
	before, text := p.lock, string(p.data)
	if o.UpdateAll {
		o.Update = []string{"base", "tool", "apt", "miniconda", "env", "ray", "pip"}
	}
	if err := p.ensureLock(ctx, o.Check, o.Update); err != nil {
		return nil, err
	}
	return &LockResult{File: p.env.lock(), Written: string(p.data) != text, Changes: layers.Diff(before, p.lock)}, nil
}

// Graph is what recipe and lock come to: a pure function of them, of the local files that the
// recipe names, and of those of the options that the image depends on. It fails where the lock does
// not fit the recipe. Nobody is asked anything.
func (p *Project) Graph(ctx context.Context, o CompareOptions) (*layers.Graph, error) {
	if err := p.ensureLock(ctx, true, nil); err != nil {
		return nil, err
	}
	return p.graph(ctx, &BuildOptions{Compression: o.Compression, Labels: o.Labels, Annotations: o.Annotations})
}
