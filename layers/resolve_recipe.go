package layers

import (
	"context"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// recipe resolves the recipe's layers, and builds the stack of them. apt works beside conda and what resolves Python
// packages: they do not look at each other's answers.
func (r *Resolver) recipe(ctx context.Context, inputs map[string]digest.Digest) error {
	all := recipeLayers(r.in.Recipe, nil)
	r.stack = newStack(r.platform, r.locked)
	beside := Resolver{in: r.in, name: r.name, platform: r.platform, old: r.old,
		locked: &LockPlatform{Base: r.locked.Base, Tool: r.locked.Tool}, stack: r.stack}
	g, within := errgroup.WithContext(ctx)
	at := slices.IndexFunc(all, func(l Layer) bool { return l.Name() == "apt" })
	if _, asks := inputs["apt"]; asks {
		g.Go(func() error { return beside.layer(within, all[at], inputs["apt"]) })
	} else {
		at = -1
	}
	g.Go(func() error { return r.others(within, all, inputs) })
	if err := g.Wait(); err != nil || at < 0 {
		return err
	}
	// The stack is built again in the recipe's order, with what apt answered.
	before := 0 // layers of the lock below apt's
	for _, l := range all[:at] {
		if _, asks := inputs[l.Name()]; asks {
			before++
		}
	}
	r.locked.Layers = slices.Insert(r.locked.Layers, before, beside.locked.Layers...)
	if t := beside.locked.Resolved; !t.IsZero() {
		r.locked.Resolved = t
	}
	return r.restack(all, inputs)
}

// others resolves the recipe's layers but apt's.
func (r *Resolver) others(ctx context.Context, all []Layer, inputs map[string]digest.Digest) (err error) {
	resolved := false // all but what is added on top
	for _, layer := range all {
		switch input, asks := inputs[layer.Name()]; {
		case layer.Name() == "apt":
		case asks:
			err = r.layer(ctx, layer, input)
		case !resolved: // else nothing is resolved on it
			r.stack, err = layer.Apply(r.stack, nil)
		}
		if err != nil {
			return err
		}
		resolved = resolved || layer.Name() == "ray"
	}
	return nil
}

// restack builds the stack of what is locked.
func (r *Resolver) restack(all []Layer, inputs map[string]digest.Digest) (err error) {
	r.stack = newStack(r.platform, r.locked)
	resolved := false
	for _, layer := range all {
		if _, asks := inputs[layer.Name()]; !asks && resolved {
			continue
		}
		if r.stack, err = layer.Apply(r.stack, r.locked.layer(layer.Name())); err != nil {
			return err
		}
		resolved = resolved || layer.Name() == "ray"
	}
	return nil
}
