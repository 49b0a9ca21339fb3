package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/raybuild/raybuild/bench/bed"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/internal/world"
	"github.com/raybuild/raybuild/layers"
)

// bench is one run of the matrix.
type bench struct {
	*bed.Bed
	options
	registry *meter            // the world's registry, which bases come from and images go to
	mirrors  []*meter          // further addresses of mirror B
	start    wanted            // the image before any edit
	bases    map[string]string // patched bases, by number
	lockHome string            // where locks are resolved: no peer's builder
	first    *variation        // that image
	states   []*state          // all that are measured
	now      []*state          // those that take turns now
	made     map[string]*variation
	warm     map[string]bool // wheels that the world's cache has
}

// variation is one image that every peer makes.
type variation struct {
	wanted
	dir  string // with recipe, lock and the Dockerfile's context
	lock *layers.LockPlatform
	// unlocked is whether it is built as if there were no lock: that in lock says what base and installer are.
	unlocked bool
}

func newBench(ctx context.Context, o options, log io.Writer) (b *bench, err error) {
	if o.runs < 1 || o.runs > variants {
		return nil, fmt.Errorf("read -runs %d: it is 1 to %d: there are no more different edits of a kind",
			o.runs, variants)
	}
	scale, err := o.scale.world()
	if err != nil {
		return nil, err
	}
	if o.out, err = filepath.Abs(o.out); err != nil {
		return nil, err
	}
	b = &bench{options: o, bases: map[string]string{}, made: map[string]*variation{}, warm: map[string]bool{}}
	if b.Bed, err = bed.New(ctx, bed.Options{
		Raybuild: o.raybuild, Buildctl: o.buildctl, Dir: o.dir, Log: log,
		World: world.Options{Scale: scale, Variants: o.runs, Fresh: 24 * time.Hour},
	}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close(ctx))
		}
	}()
	if b.registry, err = newMeter(ctx, b.World.Registry); err != nil {
		return nil, err
	}
	b.lockHome = b.Home("lock")
	in, ok := b.World.Installer("miniconda")
	for _, i := range b.World.Installers {
		if i.Version == "py311_25.7.0-2" {
			in = i
		}
	}
	if !ok {
		return nil, errors.New("find an installer: the world has none")
	}
	b.start = wanted{
		base: b.metered(b.World.Base), mirror: b.World.A, miniconda: in, python: "3.11.2", ray: world.RayOld,
		torch:  world.TorchVariant(0),
		extras: []string{"default", "tune"}, packages: []string{"tensorflow==2.18.0", "requests"},
		labels: map[string]string{"team": "none"}, app: "print(0)\n",
	}
	if o.image != nil {
		return b, b.becomeReal()
	}
	return b, nil
}

// prepare resolves the image, chooses the peers, and lets the mirror get what it has to have from outside.
func (b *bench) prepare(ctx context.Context, r *report) (err error) {
	b.Say("resolving the recipe")
	if b.first, err = b.vary(ctx, "base", b.start, nil); err != nil {
		return err
	}
	if err := b.choose(ctx, r); err != nil {
		return err
	}
	file := &buildkit{b: b, home: b.lockHome}
	b.Say("filling the mirror's cache")
	if err := file.prepare(ctx, b.first); err != nil {
		return err
	}
	args, err := b.BuildctlArgs(ctx, b.lockHome, "", file.context(b.first), "--opt", "target=system")
	if err != nil {
		return err
	}
	_, _, err = timed(b.Cmd(ctx, b.lockHome, b.Buildctl, args...))
	return err
}

// choose chooses who is measured: raybuild, and those of the peers that are asked for and that this machine has.
func (b *bench) choose(ctx context.Context, r *report) error {
	b.states = []*state{{name: "raybuild", peer: &ourselves{b: b}}}
	if b.image != nil {
		return b.chooseReal(ctx, r)
	}
	for _, s := range []*state{
		{name: "dockerfile", peer: &buildkit{b: b}}, {name: "docker", peer: &dockerBuild{engines{b: b}}},
		{name: "commit", peer: &commit{engines{b: b}}},
	} {
		if !selected(b.peers, s.name) {
			continue
		}
		if s.name != "dockerfile" {
			if _, err := os.Stat(b.dockerd); err != nil {
				r.Notes = append(r.Notes, s.name+" was not measured: "+err.Error())
				continue
			}
		}
		b.states = append(b.states, s)
	}
	return nil
}

// metered is a reference to an image of the world's registry by way of the meter.
func (b *bench) metered(ref string) string {
	return strings.Replace(ref, b.World.Registry, b.registry.host, 1)
}

// patchedBase is the n-th patched base.
func (b *bench) patchedBase(ctx context.Context, n int) (string, error) {
	ref, err := b.World.PatchBase(ctx, n)
	return b.metered(ref), err
}

// otherMirror is a mirror with the same content under an address that is used for the first time.
func (b *bench) otherMirror(ctx context.Context) (world.Mirror, error) {
	m, err := newMeter(ctx, withoutScheme(b.World.B.URL))
	if err != nil {
		return world.Mirror{}, err
	}
	b.mirrors = append(b.mirrors, m)
	out := b.World.B
	for _, s := range []*string{&out.URL, &out.Apt, &out.Conda, &out.Pip, &out.Installer, &out.Extra,
		&out.Miniforge, &out.Real} {
		*s = strings.Replace(*s, withoutScheme(b.World.B.URL), m.host, 1)
	}
	if b.image != nil {
		out.Pip = out.Real
	}
	return out, nil
}

// vary makes the files of an image, all but those that a single peer needs. The lock is resolved
// from that of old, on a builder of its own: resolving is what the row lock measures.
func (b *bench) vary(ctx context.Context, name string, w wanted, old *variation) (*variation, error) {
	if v := b.made[name]; v != nil {
		return v, nil
	}
	v := &variation{wanted: w, dir: filepath.Join(b.Dir, "rows", name)}
	if err := b.writeRecipe(v); err != nil {
		return nil, err
	}
	lock := filepath.Join(v.dir, "raybuild.lock")
	if old != nil {
		data, err := os.ReadFile(filepath.Join(old.dir, "raybuild.lock"))
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(lock, data, 0o644); err != nil {
			return nil, err
		}
	}
	if _, err := b.Command(ctx, b.lockHome, b.Raybuild, "lock", "--progress", "quiet", "-f",
		v.recipeFile()); err != nil {
		return nil, err
	}
	var err error
	if v.lock, err = bed.ReadLock(lock); err != nil {
		return nil, err
	}
	b.made[name] = v
	return v, b.warmMirrors(ctx, v)
}

func (v *variation) recipeFile() string { return filepath.Join(v.dir, "raybuild.yaml") }

func (b *bench) writeRecipe(v *variation) error {
	if err := os.MkdirAll(filepath.Join(v.dir, "app"), 0o755); err != nil {
		return err
	}
	return errors.Join(os.WriteFile(v.recipeFile(), []byte(v.recipe()), 0o644),
		os.WriteFile(filepath.Join(v.dir, "app", "main.py"), []byte(v.app), 0o644))
}

// warmMirrors lets the world fetch what it does not have yet from Debian's mirror, so that no peer waits for that.
func (b *bench) warmMirrors(ctx context.Context, v *variation) error {
	for _, a := range bed.Artifacts(v.lock, layers.KindDeb) {
		for _, m := range []world.Mirror{b.World.A, b.World.B} {
			req, err := http.NewRequestWithContext(ctx, http.MethodHead, m.Apt+"/"+a.Path, nil)
			if err != nil {
				return err
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			if err := resp.Body.Close(); err != nil {
				return err
			}
		}
	}
	if b.image != nil {
		return b.warmIndex(ctx, v)
	}
	return nil
}

// traffic is what went over the wire since the last time.
type traffic struct{ down, up int64 }

func (b *bench) resetTraffic() {
	b.registry.reset()
	b.World.A.ResetStats()
	b.World.B.ResetStats()
}

func (b *bench) traffic() traffic {
	return traffic{down: b.registry.received.Load() + b.World.A.Stats().Bytes + b.World.B.Stats().Bytes,
		up: b.registry.sent.Load()}
}

// pulled is what a node pulls that has the image old: layers that it has not, and the config.
func (b *bench) pulled(ctx context.Context, old, ref string) (pull, size int64, err error) {
	client := registry.New(registry.Options{})
	now, err := client.Inspect(ctx, ref)
	if err != nil {
		return 0, 0, err
	}
	has := map[string]bool{}
	if old != "" {
		before, err := client.Inspect(ctx, old)
		if err != nil {
			return 0, 0, err
		}
		for _, p := range before.Platforms {
			has[p.Digest.String()] = true
			for _, l := range p.Layers {
				has[l.Digest.String()] = true
			}
		}
	}
	for _, p := range now.Platforms {
		size += p.Size
		if has[p.Digest.String()] {
			continue
		}
		pull += p.Size
		for _, l := range p.Layers {
			if has[l.Digest.String()] {
				pull -= l.Size
			}
		}
	}
	return pull, size, nil
}

// close ends what the peers run, and the world.
func (b *bench) close(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	var errs []error
	for _, s := range b.states {
		errs = append(errs, s.close(ctx))
	}
	return errors.Join(append(errs, b.Close(ctx))...)
}
