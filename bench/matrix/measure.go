package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/raybuild/raybuild/internal/engine"
	"github.com/raybuild/raybuild/internal/registry"
)

// sample is one measurement.
type sample struct {
	took
	downloaded, pushed, pulled, size int64
}

// state is how far a peer is.
type state struct {
	peer
	name string
	repo string // where its image is
	old  string // the image that edits start from
}

// measure builds one image with one peer and counts what went over the wire.
func (b *bench) measure(ctx context.Context, s *state, v *variation, ref, old, cache string) (sample, error) {
	if err := s.prepare(ctx, v); err != nil {
		return sample{}, err
	}
	if old != "" { // ref may be the same name, which is another image afterwards
		pinned, _, err := registry.New(registry.Options{}).Head(ctx, old)
		if err != nil {
			return sample{}, err
		}
		old = pinned.Ref
	}
	b.resetTraffic()
	t, err := s.build(ctx, v, ref, cache)
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w", s.name, err)
	}
	wire := b.traffic()
	out := sample{took: t, downloaded: wire.down, pushed: wire.up}
	out.pulled, out.size, err = b.pulled(ctx, old, ref)
	b.Say("  %-10s %6.2f s, %2d steps, %s down, %s pushed, %s pulled", s.name, out.seconds, out.steps,
		megabytes(out.downloaded), megabytes(out.pushed), megabytes(out.pulled))
	return out, err
}

// turns lets the peers take turns, so that what else the machine does hits them alike: each run is
// made by each peer that has not used up its time in this row. prepare gives the run's image.
func (b *bench) turns(ctx context.Context, r row, into *result, image func(n int) (*variation, error),
	build func(s *state, v *variation, n int) (sample, error)) error {
	spent := map[string]time.Duration{}
	for n := 1; n <= b.runs; n++ {
		b.Say("%s %d", r.name, n)
		var v *variation
		for _, s := range b.now {
			if s.name == "commit" && !typed(r) {
				continue
			}
			if into.Failed[s.name] != "" || b.budget > 0 && spent[s.name] > b.budget {
				continue
			}
			var err error
			if v == nil {
				if v, err = image(n); err != nil {
					return err
				}
			}
			got, err := build(s, v, n)
			// a peer that fails has no figures, and loses nothing by it
			if err != nil && s.name != "raybuild" && ctx.Err() == nil {
				b.Say("%s, %s: %v", r.name, s.name, err)
				into.failed(s.name, err)
				continue
			}
			if err != nil {
				return err
			}
			spent[s.name] += time.Duration(got.seconds * float64(time.Second))
			into.add(s.name, got)
		}
	}
	return nil
}

// typed tells whether the commands are typed in this row. They are the same whatever changed, and
// take long: what they took in some rows, spread over the run, stands in all others.
func typed(r row) bool {
	return slices.Contains([]string{"cold", "same-warm", "base-patched", "ray-bumped", "label"}, r.name)
}

// cold measures builds from nothing. What is left behind, a builder that has built the image once,
// is what edits are made on.
func (b *bench) cold(ctx context.Context, r row, into *result) error {
	return b.turns(ctx, r, into, func(int) (*variation, error) { return b.first, nil },
		func(s *state, v *variation, n int) (sample, error) {
			if err := s.fresh(ctx, false); err != nil {
				return sample{}, err
			}
			s.repo = fmt.Sprintf("%s/bench/%s-%d", b.registry.host, s.name, n)
			s.old = s.repo + ":base"
			return b.measure(ctx, s, v, s.old, "", "")
		})
}

// sameWarm measures builds of which nothing is new.
func (b *bench) sameWarm(ctx context.Context, r row, into *result) error {
	return b.turns(ctx, r, into, func(int) (*variation, error) { return b.first, nil },
		func(s *state, v *variation, _ int) (sample, error) {
			return b.measure(ctx, s, v, s.old, s.old, "")
		})
}

// sameEmpty measures the same on builders that have nothing, with a cache in the registry.
func (b *bench) sameEmpty(ctx context.Context, r row, into *result) error {
	for _, s := range b.now {
		if err := s.keepCache(ctx, b.first, s.old); err != nil {
			return err
		}
	}
	return b.turns(ctx, r, into, func(int) (*variation, error) { return b.first, nil },
		func(s *state, v *variation, _ int) (out sample, err error) {
			if err := s.fresh(ctx, true); err != nil {
				return sample{}, err
			}
			if out, err = b.measure(ctx, s, v, s.old, s.old, s.old); err != nil {
				return sample{}, err
			}
			return out, s.restore(ctx)
		})
}

// edit measures one kind of edit.
func (b *bench) edit(ctx context.Context, r row, into *result) error {
	image := func(n int) (*variation, error) {
		w, err := r.edit(ctx, b, b.start, n)
		if err != nil {
			return nil, err
		}
		return b.vary(ctx, fmt.Sprintf("%s-%d", r.name, n), w, b.first)
	}
	return b.turns(ctx, r, into, image, func(s *state, v *variation, n int) (sample, error) {
		return b.measure(ctx, s, v, fmt.Sprintf("%s:%s-%d", s.repo, r.name, n), s.old, "")
	})
}

// unlocked measures builds from nothing with no lock: raybuild's resolves and writes one, the
// Dockerfiles' install what a person asks for.
func (b *bench) unlocked(ctx context.Context, r row, into *result) error {
	image := func(n int) (*variation, error) {
		v := &variation{wanted: b.start, dir: fmt.Sprintf("%s/rows/%s-%d", b.Dir, r.name, n), lock: b.first.lock,
			unlocked: true}
		return v, b.writeRecipe(v)
	}
	return b.turns(ctx, r, into, image, func(s *state, v *variation, n int) (sample, error) {
		if err := s.fresh(ctx, false); err != nil {
			return sample{}, err
		}
		return b.measure(ctx, s, v, fmt.Sprintf("%s/bench/first-%s-%d:base", b.registry.host, s.name, n), "", "")
	})
}

// lock measures resolving from nothing.
func (b *bench) lock(ctx context.Context, r row, into *result) error {
	spent := time.Duration(0)
	for n := 1; n <= b.runs && (b.budget == 0 || spent <= b.budget); n++ {
		b.Say("%s %d", r.name, n)
		v := &variation{wanted: b.start, dir: fmt.Sprintf("%s/rows/%s-%d", b.Dir, r.name, n)}
		if err := b.writeRecipe(v); err != nil {
			return err
		}
		home := b.Home(fmt.Sprintf("lock-%d", n))
		b.resetTraffic()
		seconds, _, err := timed(b.Cmd(ctx, home, b.Raybuild, "lock", "--progress", "plain", "-f", v.recipeFile()))
		if err != nil {
			return err
		}
		spent += time.Duration(seconds * float64(time.Second))
		into.add("raybuild", sample{took: took{seconds: seconds}, downloaded: b.traffic().down})
		// Removed at once, unlike others: it is large, and no row comes after this one.
		if err := errors.Join(engine.Stop(ctx, b.Engine(home)), os.RemoveAll(home)); err != nil {
			return err
		}
	}
	return nil
}
