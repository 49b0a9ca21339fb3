package raybuild

import (
	"context"
	"slices"
	"sync"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/layers"
)

// The ways in which an image that a registry had became what the names are.
const (
	retagged = "retagged" // another tag of the repository was it
	copied   = "copied"   // another repository had it
)

// existingImage is an image that a registry has and that is the graph, so that nothing needs to be built.
type existingImage struct {
	registry.Descriptor
	how  string // retagged, copied, or "": one of the names is it
	sent registry.Pushed
}

// graphTag is the tag that keeps an image findable by its graph. A tag may be moved by whoever may
// push, so the annotation of what it names is looked at as well.
func graphTag(graph digest.Digest) string { return "graph-" + graph.Encoded()[:32] }

// lastTag is the tag of the image that was pushed last to a reference's repository, which the next
// one takes layers from.
func lastTag(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	return reference.FamiliarName(named) + ":graph-last"
}

// findExisting asks registries what is there of the graph: all of it, under one of the names or
// elsewhere, or else an image to take layers from; a push of the rest is allowed then. Over a slow
// link the round trips are what it takes, so what can be asked at the same time is. Where the first
// name is the graph nothing else is asked, and where another tag is it nothing else is written.
// first is what lookAhead gave.
func (p *Project) findExisting(ctx context.Context, graph *layers.Graph, o *BuildOptions,
	first func() (registry.Descriptor, error)) (*existingImage, *reuse, error) {
	mayBeThere := o.mayBeThere()
	if mayBeThere {
		if h, err := p.findByName(ctx, graph, o, first); h != nil || err != nil {
			return h, nil, err
		}
	}
	reading, stop := context.WithCancel(ctx)
	loggingIn, giveUp := context.WithCancel(ctx)
	var (
		k              *reuse
		failed         error
		read, loggedIn sync.WaitGroup
	)
	defer loggedIn.Wait()
	defer giveUp() // a token service that hangs holds up nothing that does not need it
	defer read.Wait()
	defer stop()
	read.Go(func() { k, failed = p.reusable(reading, o, graph) })
	if mayBeThere && !o.NoGraphTag {
		for _, name := range o.Names { // for tags, or for the question whether a push is allowed
			loggedIn.Go(func() { p.registry.Login(loggingIn, name) })
		}
		alone := func() { stop(); read.Wait() }
		if h, err := p.findByGraphTag(ctx, graph, o, alone); h != nil || err != nil {
			return h, nil, err
		}
	}
	if err := p.askToPush(ctx, o); err != nil {
		return nil, nil, err
	}
	read.Wait()
	if reading.Err() != nil && ctx.Err() == nil { // it was given up for a tag that came to nothing
		k, failed = p.reusable(ctx, o, graph)
	}
	return nil, k, failed
}

// mayBeThere tells whether an image that a registry has may be all that is asked for.
func (o *BuildOptions) mayBeThere() bool {
	return o.Push && !o.NoCache && len(o.Outputs) == 0 && o.Smoke != SmokeAlways
}

// lookAhead begins to ask what the first name is, where that will be asked. What it gives waits for the answer.
func (p *Project) lookAhead(ctx context.Context, o *BuildOptions) func() (registry.Descriptor, error) {
	if !o.mayBeThere() {
		return nil
	}
	first := sync.OnceValues(func() (registry.Descriptor, error) {
		found, _, err := p.registry.Head(ctx, o.Names[0])
		return found, err
	})
	go first() //nolint:errcheck // who waits gets it
	return first
}

// findByName finds the graph under the names, with one request for each. What it finds becomes all
// names. Nil: none of them is it.
func (p *Project) findByName(ctx context.Context, graph *layers.Graph, o *BuildOptions,
	first func() (registry.Descriptor, error)) (*existingImage, error) {
	p.seen = map[string]string{}
	for _, names := range [][]string{o.Names[:1], o.Names[1:]} {
		all := make([]registry.Descriptor, len(names))
		g, gctx := errgroup.WithContext(ctx)
		for i, name := range names {
			g.Go(func() (err error) {
				if name == o.Names[0] {
					all[i], err = first()
				} else {
					all[i], _, err = p.registry.Head(gctx, name)
				}
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
		for i, name := range names {
			p.seen[name] = all[i].Ref
			if all[i].Annotations[layers.GraphAnnotation] == graph.Digest.String() {
				h := &existingImage{Descriptor: all[i]}
				return h, p.retagOrCopy(ctx, graph, o, h,
					slices.DeleteFunc(slices.Clone(o.Names), func(n string) bool { return n == name }))
			}
		}
	}
	return nil, nil
}

// findByGraphTag finds the graph under its own tag, with one request for each of the names'
// repositories and for each that a cache is imported from. What it finds becomes all names, once
// alone has ended what else is under way. Nil: nobody has it.
func (p *Project) findByGraphTag(ctx context.Context, graph *layers.Graph, o *BuildOptions,
	alone func()) (*existingImage, error) {
	tags := slices.Concat(graphTags(o.Names, graph.Digest), graphTags(cacheRefs(o), graph.Digest))
	for i, tag := range tags {
		if slices.Contains(tags[:i], tag) {
			continue
		}
		found, ok, err := p.registry.Head(ctx, tag)
		if err == nil && (!ok || found.Annotations[layers.GraphAnnotation] != graph.Digest.String()) {
			continue
		}
		h := &existingImage{Descriptor: found, how: retagged}
		if err == nil {
			alone()
			err = p.retagOrCopy(ctx, graph, o, h, o.Names)
		}
		if err == nil || ctx.Err() != nil {
			return h, err
		}
		p.env.warn("%v", err) // the build, which can do without it, says what is wrong if it is more than that
	}
	return nil, nil
}

// retagOrCopy makes names what was found: by its manifest in the same repository, by mounting its blobs in another one.
func (p *Project) retagOrCopy(ctx context.Context, graph *layers.Graph, o *BuildOptions, h *existingImage,
	names []string) error {
	var same, others []string
	for _, name := range names {
		if ref, err := registry.Pin(name, h.Digest.String()); err == nil && ref == h.Ref {
			same = append(same, name)
		} else {
			others = append(others, name)
		}
	}
	if len(others) > 0 {
		if h.how != "" && len(same) == 0 {
			h.how = copied
		}
		to := others
		if !o.NoGraphTag {
			to = slices.Concat(graphTags(others, graph.Digest), others)
		}
		var err error
		h.sent, err = p.registry.Copy(ctx, h.Ref, registry.PushOptions{
			Names: slices.Compact(to),
			Retry: o.retry(),
			Log:   p.env.warn,
		})
		if err != nil {
			return err
		}
		if err := p.attachElsewhere(ctx, graph, h.Descriptor, others); err != nil {
			return err
		}
	}
	return p.registry.Tag(ctx, h.Ref, same...)
}

// tagByGraph lets later builds find what was pushed under other names. A push that is done does not fail for it.
func (p *Project) tagByGraph(ctx context.Context, graph *layers.Graph, o *BuildOptions, pushed digest.Digest) {
	if o.NoGraphTag {
		return
	}
	tags := graphTags(o.Names, graph.Digest)
	var tagged sync.WaitGroup
	for i, tag := range tags {
		if slices.Contains(tags[:i], tag) {
			continue
		}
		tagged.Go(func() {
			ref, err := registry.Pin(o.Names[i], pushed.String())
			if err == nil {
				err = p.registry.Tag(ctx, ref, tag, lastTag(ref))
			}
			if err != nil {
				p.env.warn("the image will not be found under another tag: %v", err)
			}
		})
	}
	tagged.Wait()
}

// graphTags are the graph's own tags beside references, one for each.
func graphTags(refs []string, graph digest.Digest) []string {
	all := make([]string, 0, len(refs))
	for _, ref := range refs {
		if named, err := reference.ParseNormalizedNamed(ref); err == nil {
			all = append(all, reference.FamiliarName(named)+":"+graphTag(graph))
		}
	}
	return all
}

// cacheRefs are the images and caches of the names' registries that a cache is imported from.
func cacheRefs(o *BuildOptions) []string {
	var all []string
	for _, e := range o.CacheFrom {
		if e.Type == "registry" && slices.ContainsFunc(o.Names,
			func(name string) bool { return sameHost(name, e.Attrs["ref"]) }) {
			all = append(all, e.Attrs["ref"])
		}
	}
	return all
}

func sameHost(a, b string) bool {
	x, errX := registry.Host(a)
	y, errY := registry.Host(b)
	return errX == nil && errY == nil && x == y
}
