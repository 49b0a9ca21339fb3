package layers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/llb"
)

// ParentImage is an existing image of one platform that gets a layer of packages on top.
type ParentImage struct {
	// Ref is the image's reference with the digest of the platform's own manifest.
	Ref string
	// Layers is the number of its layers.
	Layers int
	// History has one text for each layer, from the image's config. It is needed only if the image has
	// layers of a Go program, which are not in its recipe.
	History []string
	// Env is the layer that holds the conda environment. The installing step runs on it, so the
	// builder needs no other layer of the image.
	Env llb.Blob
}

// env is the conda environment as a layer of the image.
func (b ParentImage) env() llb.Stage {
	const title = "[add] take the environment from the image"
	return llb.Scratch().Unpack(title, llb.Artifact(b.Env), b.Env.Name, "/")
}

// stack is the stack that added packages are installed on.
func (b ParentImage) stack(p llb.Platform, locked *LockPlatform) Stack {
	return newStack(p, locked).Add("env", "env", "[add] take the environment from the image", b.env())
}

// ResolveAdded resolves the last list of the recipe's Pip.Added, for an image of the same recipe
// without that list. The rest of the lock stays as it is. So the files that the recipe names need not
// be on this machine.
func ResolveAdded(ctx context.Context, in ResolveInput, below map[string]ParentImage) (lock *Lock, err error) {
	in, end := in.shared()
	defer func() { err = errors.Join(err, end()) }()
	n := len(in.Recipe.Pip.Added)
	layer := lastAdded(in.Recipe)
	lock = &Lock{Version: LockVersion, Recipe: in.Recipe.Digest(), Platforms: map[string]*LockPlatform{}}
	for _, name := range slices.Sorted(maps.Keys(below)) {
		old := in.Old.Platforms[name]
		if old == nil {
			return nil, fmt.Errorf("resolve platform %q: the image's lock does not have it", name)
		}
		platform, err := llb.ParsePlatform(name)
		if err != nil {
			return nil, err
		}
		locked := *old
		locked.Layers = slices.Clip(old.Layers)
		r := &Resolver{in: in, name: name, platform: platform, old: old, locked: &locked,
			stack: below[name].stack(platform, old)}
		if err := r.layer(ctx, layer, addedInputs(in.Recipe.Pip, n, inputsOf(old, "ray"))); err != nil {
			return nil, fmt.Errorf("resolve platform %q: %w", name, err)
		}
		lock.Platforms[name] = &locked
	}
	return lock, nil
}

// lastAdded is the layer of the last list of Pip.Added.
func lastAdded(r *Recipe) Layer {
	all := recipeLayers(r, nil)
	return all[len(all)-1]
}

func inputsOf(l *LockPlatform, layer string) digest.Digest {
	for _, have := range l.Layers {
		if have.Name == layer {
			return have.Inputs
		}
	}
	return ""
}

// LockExtends tells whether with is a lock that ResolveAdded made from old for this recipe.
func LockExtends(r *Recipe, old, with *Lock) bool {
	n := len(r.Pip.Added)
	if old == nil || with == nil || n == 0 || len(old.Platforms) != len(with.Platforms) {
		return false
	}
	for name, was := range old.Platforms {
		is := with.Platforms[name]
		if is == nil || len(is.Layers) != len(was.Layers)+1 || !reflect.DeepEqual(was.Base, is.Base) ||
			!reflect.DeepEqual(was.Tool, is.Tool) {
			return false
		}
		last := is.Layers[len(is.Layers)-1]
		if last.Name != addedName(n) || last.Inputs != addedInputs(r.Pip, n, inputsOf(was, "ray")) {
			return false
		}
		for i, l := range was.Layers {
			if l.Name != is.Layers[i].Name || !reflect.DeepEqual(sortedArtifacts(l.Artifacts),
				sortedArtifacts(is.Layers[i].Artifacts)) {
				return false
			}
		}
	}
	return true
}

// OnImage returns the graph of one more layer on existing images. below has an image for each
// platform, made from the same recipe without the last list of Pip.Added. The graph makes the layer
// of that list and no other. record is the build record of the existing image.
func (g *Graph) OnImage(below map[string]ParentImage, record *BuildRecord) (*Graph, error) {
	out := *g
	out.Wheels = nil
	out.onto, out.whole, out.Images = record, g.Images, make([]llb.Image, len(g.Images))
	for i, made := range g.made {
		b, ok := below[made.name]
		if !ok {
			return nil, fmt.Errorf("put packages on image: it is not for %s", made.name)
		}
		image, last := g.Images[i], made.layers[len(made.layers)-1]
		stack := b.stack(image.Platform, made.locked)
		with, err := last.Apply(stack, made.locked.layer(last.Name()))
		if err != nil {
			return nil, err
		}
		titles := slices.Clone(image.BaseLayers)
		for _, l := range image.Layers {
			titles = append(titles, l.Title)
		}
		out.addWheels(with.wheels)
		fresh := with.layers[len(stack.layers):]
		if len(titles) != b.Layers+1 && len(b.History) == b.Layers {
			titles = append(slices.Clone(b.History), last.Name())
		}
		if len(fresh) != 1 || len(titles) != b.Layers+1 {
			return nil, fmt.Errorf("put packages on image %q: it has %d layers, and its recipe comes to %d: build the "+
				"image from its recipe", b.Ref, b.Layers, len(titles)-len(fresh))
		}
		image.Base, image.BaseLayers, image.Layers = llb.From(b.Ref), titles[:b.Layers], fresh
		out.Images[i] = image
	}
	return &out, nil
}

// WithParent returns the graph with a digest that depends on the parent's digest. It is for a parent
// that this version would build differently: an image built from the recipe alone then has another
// digest.
func (g *Graph) WithParent(below digest.Digest) *Graph {
	out := *g
	out.Digest = digestOf([]any{below, g.Digest})
	out.Annotations = maps.Clone(g.Annotations)
	out.Annotations[GraphAnnotation] = out.Digest.String()
	return &out
}

// inputsOnto is the build record of the existing image with the added layer.
func (g *Graph) inputsOnto(ctx context.Context) (*BuildRecord, error) {
	out := &BuildRecord{Version: BuildRecordVersion, Graph: g.Digest, Compression: g.packing(), Linear: g.onto.Linear}
	for i, made := range g.made {
		at := slices.IndexFunc(g.onto.Platforms, func(p PlatformRecord) bool { return p.Platform == made.name })
		if at < 0 {
			return nil, errors.New("the record of the image below lacks a platform: push that image again")
		}
		n := len(made.layers) - 1
		after := made.stacks[n+1]
		keys, err := llb.Keys(ctx, after.Platform, after.layers[len(after.layers)-1].Stage)
		if err != nil {
			return nil, err
		}
		l, err := made.layer(made.layers[n], made.stacks[n], made.layers[n].Name(), keys[0])
		if err != nil {
			return nil, err
		}
		p := PlatformRecord{Platform: made.name, Layers: append(slices.Clone(g.onto.Platforms[at].Layers), l)}
		if p.Config, err = g.configInputs(g.Images[i]); err != nil {
			return nil, err
		}
		out.Platforms = append(out.Platforms, p)
	}
	return out, nil
}

// Satisfied tells whether an image of this recipe and lock already has the requirements. It runs no
// resolver, so it returns false if it cannot tell.
func Satisfied(r *Recipe, l *Lock, requirements []string) bool {
	asked := slices.Concat(append([][]string{r.Pip.Packages}, r.Pip.Added...)...)
	for _, text := range requirements {
		if slices.Contains(asked, text) {
			continue
		}
		req, message, _ := parseRequirement(text)
		if message != "" || len(req.Extras) > 0 || req.Marker != "" {
			return false
		}
		for _, p := range l.Platforms {
			var packages []Artifact
			for _, layer := range p.pythonLayers() {
				packages = append(packages, runtimePackages(layer.Artifacts)...)
			}
			have := version(packages, req.Name)
			if have == "" || req.Specifier != "" && req.Specifier != "=="+have {
				return false
			}
		}
	}
	return true
}
