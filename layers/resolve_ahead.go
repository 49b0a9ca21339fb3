package layers

import (
	"context"
	"slices"
	"strings"
)

// likelyPatch stands for the patch release that conda will choose. What asks for one at all asks for a later one.
const likelyPatch = "99"

// askAhead asks uv what it will be asked once conda has answered, but of a Python that is only likely. The resolver
// keeps what the index says, so that the real question is answered at once; and Ahead gets the packages that will
// probably be locked. Nothing of the answer goes into the lock. The channel is closed at the end, and nil if nothing is
// asked.
func (r *Resolver) askAhead(ctx context.Context, all []Layer) <-chan struct{} {
	at := slices.IndexFunc(all, func(l Layer) bool { return l.Name() == "ray" })
	p, ok := all[at].(python)
	guess := r.in.Recipe.Env.Python
	if !ok || p.Pylock.File != "" || len(p.byURL()) > 0 || guess == "" || len(r.old.layer("env")) > 0 ||
		len(r.old.layer("ray")) > 0 {
		return nil
	}
	if strings.Count(guess, ".") < 2 {
		guess += "." + likelyPatch
	}
	quiet := r.in
	quiet.shown, quiet.Log = nil, func(string, ...any) {}
	ahead := &Resolver{in: quiet, name: r.name, platform: r.platform, old: r.old,
		locked: &LockPlatform{Base: r.locked.Base, Tool: r.locked.Tool}, stack: r.stack}
	ahead.stack.python.Version = guess
	done := make(chan struct{})
	go func() {
		defer close(done)
		wheels, err := localWheels(p.dir, p.Wheels)
		if err != nil {
			return // the real question will tell
		}
		packages, err := ahead.resolveByUV(ctx, p, wheels, &lockedPackages{})
		tools := p.env.tools() // conda brings them
		packages = slices.DeleteFunc(packages, func(a Artifact) bool { return slices.Contains(tools, a.Name) })
		if err == nil && quiet.Ahead != nil {
			quiet.Ahead(packages)
		}
	}()
	return done
}

// waitAhead waits until the question ahead has ended: the real one asks for the same pages.
func (r *Resolver) waitAhead() {
	if r.ahead != nil {
		<-r.ahead
	}
}
