package layers

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
)

// patience is how long apt may go on when conda or Python packages could not be resolved: its error comes first, in the
// recipe's order, and often tells more.
const patience = 5 * time.Second

// recipe resolves the recipe's layers, and builds the stack of them. apt works beside conda and what resolves Python
// packages: they do not look at each other's answers.
func (r *Resolver) recipe(ctx context.Context, inputs map[string]digest.Digest) error {
	all := recipeLayers(r.in.Recipe, nil)
	r.stack = newStack(r.platform, r.locked)
	beside := Resolver{in: r.in, name: r.name, platform: r.platform, old: r.old,
		locked: &LockPlatform{Base: r.locked.Base, Tool: r.locked.Tool}, stack: r.stack}
	at := slices.IndexFunc(all, func(l Layer) bool { return l.Name() == "apt" })
	within, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		err := beside.layer(within, all[at], inputs["apt"])
		if err != nil {
			cancel()
		}
		done <- err
	}()
	early, stop := context.WithCancel(within)
	r.ahead = r.askAhead(early, all)
	err := r.others(within, all, inputs)
	stop()
	r.waitAhead()
	var gaveUp atomic.Bool
	if err != nil {
		late := time.AfterFunc(patience, func() { gaveUp.Store(true); cancel() })
		defer late.Stop()
	}
	if first := <-done; first != nil && (err == nil || !gaveUp.Load() && ctx.Err() == nil) {
		return first
	}
	if err != nil {
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
