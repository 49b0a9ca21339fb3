package raybuild

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// VerifyOptions say how an image is verified. The zero value verifies all layers.
type VerifyOptions struct {
	// Layers are the names of the layers to make again, as [Plan] has them; "base" are those that stand on the base.
	// Default: all.
	Layers []string
	// NoCache makes each layer anew. Default: what this machine has made before counts as made here.
	NoCache bool
	// Secrets return the values of secrets that the recipe's steps ask for, by id.
	Secrets map[string]func() ([]byte, error)
}

// VerifyResult says whether an image is what its recipe and its lock give.
type VerifyResult struct {
	Image string `json:"image"` // by digest
	// all layers that were made are the image's, and so are manifest and config
	Same bool `json:"same"`
	// why manifest, config or base are not what recipe and lock give; "": they are
	Manifest string          `json:"manifest,omitempty"`
	Layers   []VerifiedLayer `json:"layers"`
	Seconds  float64         `json:"seconds"`
}

// VerifiedLayer is a layer that was made again.
type VerifiedLayer struct {
	Platform string        `json:"platform"`
	Name     string        `json:"name"`
	Digest   digest.Digest `json:"digest"` // of the image's layer, as stored
	Made     digest.Digest `json:"made"`   // of the one that was made here
	Same     bool          `json:"same"`
	// the files that differ, in the order of their paths; none: only the order or the packing of files differs
	Files []FileDifference `json:"files,omitempty"`
	// why the files could not be compared
	Error string `json:"error,omitempty"`
}

// Verify makes the layers of an image again on this machine, of the recipe and the lock that the image carries, and
// compares them with those of the registry, byte by byte. Nothing of the registry counts as made but the base, whose
// digest the lock has, and nobody's signature is asked for. From the recipe that o names Verify uses only
// mirrors.fetch; the image's local files must lie beside it. That an image differs is no error.
func Verify(ctx context.Context, image string, o Options, v VerifyOptions) (_ *VerifyResult, err error) {
	defer public(ctx, &err)
	if _, err := registry.Host(image); err != nil {
		return nil, &OptionError{Err: err}
	}
	p, source, err := openImage(ctx, o, image, false, "a build and raybuild diff say")
	if err != nil {
		return nil, err
	}
	defer p.Close()
	out := &VerifyResult{Image: p.ofImage.Ref}
	bases := p.askBases(ctx)
	if err := p.sameAsImage(ctx, source, false); err != nil {
		var other *notItsOwnError
		if !errors.As(err, &other) {
			return nil, err
		}
		out.Manifest = other.err.Error()
	} else if err := p.checkBases(ctx, &p.ofImage.Image, bases); err != nil {
		out.Manifest = err.Error()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b := BuildOptions{Push: true, PushRetry: -1, NoReuse: true, NoGraphTag: true, NoSBOM: true,
		NoCache: v.NoCache, Secrets: v.Secrets, Smoke: SmokeNever, Compression: source.Compression,
		Labels: source.Labels, Annotations: source.Annotations}
	whole, err := p.graph(ctx, &b)
	if err != nil {
		return nil, err
	}
	part := whole
	if len(v.Layers) > 0 {
		if part, err = whole.Only(v.Layers); err != nil {
			return nil, err
		}
	}
	here, end, err := p.privateRegistry(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end()) }()
	b.Names = []string{here + "/verified:image"}
	if err := p.makeAgain(ctx, &b, part); err != nil {
		return nil, err
	}
	out.Layers, err = p.compareMade(ctx, whole, part, b.Names[0])
	out.Same = out.Manifest == "" && !slices.ContainsFunc(out.Layers, func(l VerifiedLayer) bool { return !l.Same })
	return out, err
}

// makeAgain makes an image, and pushes it to the private registry.
func (p *Project) makeAgain(ctx context.Context, b *BuildOptions, graph *layers.Graph) error {
	if err := p.planSmoke(ctx, b, graph, nil); err != nil {
		return err
	}
	_, err := p.makeImage(ctx, b, target{graph, made(graph)}, newTally(p, b, graph))
	return err
}

// privateRegistry serves a registry of this process alone, whose images are gone when end is called.
func (p *Project) privateRegistry(ctx context.Context) (host string, end func() error, err error) {
	home, err := p.env.MakeHome()
	if err != nil {
		return "", nil, err
	}
	dir, err := os.MkdirTemp(home, "verify-")
	if err != nil {
		return "", nil, fmt.Errorf("make directory for the image: %w", err)
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("serve the image to this process: %w", err), os.RemoveAll(dir))
	}
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- registry.Serve(serving, ln, dir) }()
	return ln.Addr().String(), func() error {
		cancel()
		return errors.Join(<-done, os.RemoveAll(dir))
	}, nil
}

// compareMade compares the layers of a part that was made with those of the image that is verified.
func (p *Project) compareMade(ctx context.Context, whole, part *layers.Graph, ref string) ([]VerifiedLayer, error) {
	made, err := p.registry.Inspect(ctx, ref)
	if err != nil {
		return nil, err
	}
	if len(made.Platforms) != len(part.Images) {
		return nil, fmt.Errorf("verify image %q: %d platforms were made of %d", p.ofImage.Ref, len(made.Platforms),
			len(part.Images))
	}
	var out []VerifiedLayer
	for i, image := range part.Images {
		name := llb.FormatPlatform(image.Platform)
		has := p.ofImage.platform(name)
		if has == nil {
			return nil, fmt.Errorf("verify image %q: it has no platform %s, and its recipe has", p.ofImage.Ref, name)
		}
		all, wanted := layers.LayerNames(whole.Images[i]), layers.LayerNames(image)
		if again := made.Platforms[i].Layers; len(all) != len(has.Layers) || len(wanted) != len(again) {
			return nil, fmt.Errorf("verify image %q: it has %d layers for %s, and this raybuild makes %d: verify it "+
				"with the version that made it", p.ofImage.Ref, len(has.Layers), name, len(all)-len(wanted)+len(again))
		}
		next := 0
		for n, title := range all {
			if !slices.Contains(wanted, title) {
				continue
			}
			l := VerifiedLayer{Platform: name, Name: title}
			if err := p.compareLayer(ctx, &l, has.Layers[n], ref, made.Platforms[i].Layers[next]); err != nil {
				return nil, err
			}
			out = append(out, l)
			next++
		}
	}
	return out, nil
}

// compareLayer compares a layer of the image with the one that was made, whose image is ref.
func (p *Project) compareLayer(ctx context.Context, l *VerifiedLayer, is registry.Layer, ref string,
	again registry.Layer) (err error) {
	l.Digest, l.Made = is.Digest, again.Digest
	if l.Same = is.Digest == again.Digest && is.DiffID == again.DiffID; l.Same {
		return nil
	}
	if l.Files, err = p.differences(ctx, is, ref, again); err != nil {
		l.Error = err.Error()
	}
	return ctx.Err()
}
