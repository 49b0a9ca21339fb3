package raybuild

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/sbom"
	"github.com/raybuild/raybuild/layers"
)

// How a call uses an image that a registry already had.
const (
	retagged = "retagged" // another tag of the same repository had the image
	copied   = "copied"   // another repository had the image
)

// existingImage is an image in a registry that was built from the same graph, so nothing has to be built.
type existingImage struct {
	registry.Descriptor
	how  string // retagged, copied, or "" if one of the names already has it
	sent registry.Pushed
}

// graphTag returns the tag by which an image is found by its graph. Everyone who may push can move
// a tag, so the image is compared with the graph.
func graphTag(graph digest.Digest) string { return "graph-" + graph.Encoded()[:32] }

// lastTag returns the tag of the image that was pushed last to a reference's repository. The next
// build reuses layers of this image.
func lastTag(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	return reference.FamiliarName(named) + ":graph-last"
}

// findExisting searches registries for the graph's image, under one of the names or elsewhere. If
// there is none, it returns an earlier image whose layers can be reused, and has checked that a
// push is allowed. On a slow link round trips take most of the time, so requests run in parallel.
// If the first name has the image, findExisting sends no other request for it. If another tag has
// the image, findExisting writes only the new names. first is the result of lookAhead.
func (p *Project) findExisting(ctx context.Context, graph *layers.Graph, o *BuildOptions,
	first func() (registry.Descriptor, error)) (*existingImage, *reuse, error) {
	mayBeThere := p.mayBeThere(o)
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
	defer giveUp() // a token service that hangs must not delay a call that does not need it
	defer read.Wait()
	defer stop()
	read.Go(func() { k, failed = p.reusable(reading, o, graph) })
	if o.Push && !o.NoSBOM {
		go sbom.Prepare() // while the registry answers
	}
	if mayBeThere && !o.NoGraphTag {
		for _, name := range o.Names { // for tags, or to ask whether a push is allowed
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
	if reading.Err() != nil && ctx.Err() == nil { // it was stopped for a tag that could not be used
		k, failed = p.reusable(ctx, o, graph)
	}
	return nil, k, failed
}

// mayBeThere tells whether an existing image in a registry can replace the build.
func (p *Project) mayBeThere(o *BuildOptions) bool {
	return p.trust.mode != TrustNone && o.Push && !o.NoCache && len(o.Outputs) == 0 && o.Smoke != SmokeAlways
}

// lookAhead starts to ask which image the first name has, if the build will need that. The returned
// function waits for the answer.
func (p *Project) lookAhead(ctx context.Context, o *BuildOptions) func() (registry.Descriptor, error) {
	if !p.mayBeThere(o) {
		return nil
	}
	first := sync.OnceValues(func() (registry.Descriptor, error) {
		found, _, err := p.registry.Head(ctx, o.Names[0])
		return found, err
	})
	go first() //nolint:errcheck // the waiting caller gets the error
	return first
}

// findByName searches for the graph's image under the names, with one request for each name. If one
// name has the image, the image gets all other names. It returns nil if no name has it.
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
			if p.isGraphs(ctx, graph, all[i]) {
				h := &existingImage{Descriptor: all[i]}
				return h, p.retagOrCopy(ctx, graph, o, h,
					slices.DeleteFunc(slices.Clone(o.Names), func(n string) bool { return n == name }))
			}
		}
	}
	return nil, nil
}

// findByGraphTag searches for the graph's image by its graph tag, with one request for each
// repository of the names and of the imported caches. If it finds the image, it calls alone, which
// stops parallel work, and then gives the image all names. It returns nil if no repository has it.
func (p *Project) findByGraphTag(ctx context.Context, graph *layers.Graph, o *BuildOptions,
	alone func()) (*existingImage, error) {
	tags := slices.Concat(graphTags(o.Names, graph.Digest), graphTags(cacheRefs(o), graph.Digest))
	for i, tag := range tags {
		if slices.Contains(tags[:i], tag) {
			continue
		}
		found, ok, err := p.registry.Head(ctx, tag)
		if err == nil && (!ok || !p.isGraphs(ctx, graph, found)) {
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
		p.env.warn("%v", err) // the build works without it, and fails later if the registry has a real problem
	}
	return nil, nil
}

// isGraphs tells whether an image that was found is the graph's, and is believed. If the image only says that it is,
// isGraphs logs why it is not taken.
func (p *Project) isGraphs(ctx context.Context, graph *layers.Graph, found registry.Descriptor) bool {
	if found.Annotations[layers.GraphAnnotation] != graph.Digest.String() {
		return false
	}
	const so = "says that it has this graph, and is not taken as it is"
	trusted := make(chan error, 1)
	go func() { trusted <- p.mayTrust(ctx, found.Ref) }()
	err := p.verify(ctx, graph, found.Ref)
	if distrust := <-trusted; distrust != nil {
		p.doubted(ctx, found.Ref, so, distrust)
		return false
	}
	if err == nil {
		return true
	}
	if names := namesAmong(found.Annotations); len(names) == 0 {
		err = errUnnamed
	} else if !maps.Equal(names, namesAmong(graph.Annotations)) {
		err = errOtherNames
	}
	p.doubted(ctx, found.Ref, so, err)
	return false
}

// retagOrCopy gives the image that was found its names. In the same repository it tags the
// manifest. To another repository it copies the image, and mounts blobs if it can.
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
	if len(same) > 0 || h.how == "" {
		if err := p.sign(ctx, "", []string{h.Ref}); err != nil {
			return err
		}
	}
	if len(others) > 0 {
		if h.how != "" && len(same) == 0 {
			h.how = copied
		}
		var err error
		h.sent, err = p.registry.Copy(ctx, h.Ref, registry.PushOptions{
			Names: slices.Compact(others),
			Retry: o.retry(),
			Sign:  p.signer(h.Ref),
			Log:   p.env.warn,
		})
		if err != nil {
			return err
		}
		if o.tagsGraph() {
			p.tagByGraph(ctx, graph, others, h.Digest, false)
		}
		if err := p.attachElsewhere(ctx, graph, h.Descriptor, others); err != nil {
			return err
		}
	}
	if err := p.registry.Tag(ctx, h.Ref, same...); err != nil {
		return err
	}
	p.attestFound(ctx, o, graph, h.Digest)
	return nil
}

// tagByGraph tags an image of the graph, which has the names, so that later builds find it under other names. If last
// is set, it becomes the image that was pushed last. An error does not fail a finished push.
func (p *Project) tagByGraph(ctx context.Context, graph *layers.Graph, names []string, pushed digest.Digest,
	last bool) {
	tags := graphTags(names, graph.Digest)
	var tagged sync.WaitGroup
	for i, tag := range tags {
		ref, err := registry.Pin(names[i], pushed.String())
		if err != nil || slices.Contains(tags[:i], tag) {
			continue
		}
		tagged.Go(func() {
			// Where tags do not move, the tag of a graph stays with the first image of this graph.
			if err := p.registry.Tag(ctx, ref, tag); err != nil && !registry.Immovable(err) {
				p.env.warn("the image will not be found under another tag: %v", err)
			}
		})
		if last {
			tagged.Go(func() { p.moveLast(ctx, ref) })
		}
	}
	tagged.Wait()
}

// moveLast gives the tag of the image that was pushed last to a pushed image. Registries with immutable tags refuse
// that from the second image on.
func (p *Project) moveLast(ctx context.Context, ref string) {
	last := lastTag(ref)
	switch err := p.registry.Tag(ctx, ref, last); {
	case registry.Immovable(err):
		p.env.note("%s stays on an earlier image, because this registry does not let tags move: later builds take "+
			"layers from that one, or from the last that this machine pushed; exclude graph-last from the registry's "+
			"rule, or build with --graph-tag=false", last)
	case err != nil:
		p.env.warn("later builds will not take layers from this image under another tag: %v", err)
	}
}

// graphTags returns the graph tag in the repository of each reference.
func graphTags(refs []string, graph digest.Digest) []string {
	all := make([]string, 0, len(refs))
	for _, ref := range refs {
		if named, err := reference.ParseNormalizedNamed(ref); err == nil {
			all = append(all, reference.FamiliarName(named)+":"+graphTag(graph))
		}
	}
	return all
}

// cacheRefs returns the imported caches that are in the names' registries.
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
