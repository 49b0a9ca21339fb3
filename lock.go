package raybuild

import (
	"context"
	"fmt"

	"github.com/raybuild/raybuild/layers"
)

// LockOptions say how a lock is updated. The zero value resolves what the lock does not answer, and
// keeps all other versions.
type LockOptions struct {
	// Update names what is resolved again although the lock answers it: base, tool, apt, miniconda,
	// env, ray, a Python package, or pip for all Python packages.
	Update []string
	// UpdateAll resolves everything again.
	UpdateAll bool
	// Check changes nothing, and returns an error if the lock does not fit the recipe.
	Check bool
}

// LockResult says what [Project.Lock] did.
type LockResult struct {
	File    string          // the lock file, as the options name it
	Written bool            // false: the file did not have to change
	Changes []layers.Change // by platform, layer, kind and name
}

// Lock updates the lock to fit the recipe, and writes it. Resolving runs apt-get and conda in the
// build sandbox, which needs a builder. uv resolves Python packages on this machine.
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

// Graph returns the graph of recipe and lock. It depends only on them, on the local files that the
// recipe names, and on the options that the image depends on. It returns a [StaleLockError] if the
// lock does not fit the recipe. It contacts no registry and no builder.
func (p *Project) Graph(ctx context.Context, o CompareOptions) (*layers.Graph, error) {
	if err := p.ensureLock(ctx, true, nil); err != nil {
		return nil, err
	}
	b := o.build()
	if err := b.Check(); err != nil {
		return nil, err
	}
	return p.graph(ctx, b)
}

// Pylock returns the lock's Python packages as a pylock.toml (PEP 751), which pip, uv and others install from. It
// returns a [StaleLockError] if the lock does not fit the recipe.
func (p *Project) Pylock(ctx context.Context) (_ []byte, err error) {
	defer public(ctx, &err)
	if err := p.ensureLock(ctx, true, nil); err != nil {
		return nil, err
	}
	return p.lock.Pylock()
}

// tell logs the changes of a lock, at most 40 of them.
func (p *Project) tell(changes []layers.Change) {
	const most = 40
	for i, c := range changes {
		if i == most {
			p.env.info("  … and %d more", len(changes)-most)
			return
		}
		p.env.info("  %s", changeText(c))
	}
}

func changeText(c layers.Change) string {
	switch {
	case c.From == "":
		return fmt.Sprintf("+ %s %s %s (%s, %s)", c.Kind, c.Name, c.To, c.Layer, c.Platform)
	case c.To == "":
		return fmt.Sprintf("- %s %s %s (%s, %s)", c.Kind, c.Name, c.From, c.Layer, c.Platform)
	}
	return fmt.Sprintf("~ %s %s %s → %s (%s, %s)", c.Kind, c.Name, c.From, c.To, c.Layer, c.Platform)
}
