package llb

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/buildkit/client"
	digest "github.com/opencontainers/go-digest"
)

// packer is a packing whose layers take as long to pack as the test says, in the time of a synctest bubble.
type packer struct {
	*packing
	began []string // in the order in which their packing began
}

// newPacker watches a layer for each name, which takes that long to pack.
func newPacker(t *testing.T, cpus int, takes map[string]time.Duration) *packer {
	t.Helper()
	v, err := newView(t.Context(), SolveOptions{Progress: ProgressQuiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.close() }) // it shows nothing
	p := &packer{packing: newPacking(&call{view: v}, BuildOptions{CPUs: cpus})}
	p.cancel = func() {}
	var mu sync.Mutex
	p.pack = func(one Image) (*Content, bool) {
		name := one.Layers[0].Name
		mu.Lock()
		p.began = append(p.began, name)
		mu.Unlock()
		time.Sleep(takes[name])
		return &Content{Result: &Result{Attrs: map[string]string{"name": name}}}, true
	}
	p.packed = make(chan *Content, len(takes))
	for name := range takes {
		d := digest.FromString(name)
		p.parts[d] = part{one: Image{Layers: []Layer{{Name: name}}}, steps: []digest.Digest{d}}
		p.steps[d] = false
	}
	return p
}

// given are the layers that were given, when all are packed.
func (p *packer) given() (names []string) {
	for one := range p.packed {
		names = append(names, one.Result.Attrs["name"])
	}
	return names
}

// step tells of a layer's step that ran from a time to another; it still runs where the other is none.
func (p *packer) step(name string, from, to time.Time) {
	v := &client.Vertex{Digest: digest.FromString(name), Inputs: []digest.Digest{digest.FromString("base")},
		Started: &from}
	if !to.IsZero() {
		v.Completed = &to
	}
	p.saw(&client.SolveStatus{Vertexes: []*client.Vertex{v}})
}

func TestLargeLayersArePackedFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPacker(t, 2, map[string]time.Duration{"big": 20 * time.Second, "middle": 3 * time.Second,
			"small": time.Second})
		start := time.Now()
		for name := range p.parts {
			p.saw(&client.SolveStatus{Vertexes: []*client.Vertex{{Digest: name, Started: &start}}})
		}
		p.step("small", start, start.Add(time.Second))
		p.step("middle", start, start.Add(2*time.Second))
		synctest.Wait()
		if want := []string{"middle"}; !slices.Equal(p.began, want) {
			t.Fatalf("with one of three steps running on two CPUs %q are packed, want %q", p.began, want)
		}
		p.step("big", start, start.Add(9*time.Second))
		synctest.Wait()
		if want := []string{"middle"}; !slices.Equal(p.began, want) {
			t.Errorf("between one step and the next %q are packed, want %q: a CPU is kept for the builder",
				p.began, want)
		}
		before := time.Now()
		p.wait(t.Context())
		if got := time.Since(before); got != 20*time.Second {
			t.Errorf("the export waits for %v, want the 20 s that the big layer takes", got)
		}
		p.end(false)
		if got, want := p.given(), []string{"middle", "small", "big"}; !slices.Equal(got, want) {
			t.Errorf("%q were given, want %q", got, want)
		}
	})
}

// Steps that run have all CPUs.
func TestStepsGoBeforePacking(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPacker(t, 2, map[string]time.Duration{"a": time.Second, "b": time.Second, "c": time.Second})
		now := time.Now()
		p.step("b", now, time.Time{})
		p.step("c", now, time.Time{})
		p.step("a", now, now.Add(time.Second))
		synctest.Wait()
		if len(p.began) > 0 {
			t.Errorf("%q are packed beside as many steps as there are CPUs", p.began)
		}
		p.step("b", now, now.Add(2*time.Second))
		p.step("c", now, now.Add(2*time.Second))
		p.wait(t.Context())
		p.end(false)
		if got := p.given(); len(got) != 3 {
			t.Errorf("%q were given, want all three", got)
		}
	})
}

// The event of a step's end that never comes holds no build up.
func TestAnEventThatIsLostHoldsNothingUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPacker(t, 1, map[string]time.Duration{"a": time.Minute, "b": time.Minute})
		now := time.Now()
		p.step("a", now, time.Time{})
		p.step("b", now, now.Add(time.Second))
		p.wait(t.Context())
		if got := time.Since(now); got != eventsLate+time.Minute {
			t.Errorf("the export waits for %v, want %v for the event and a minute for the other layer", got, eventsLate)
		}
		p.end(false)
	})
}

func TestAWaitForPackingEndsWithTheBuild(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPacker(t, 1, map[string]time.Duration{"a": time.Hour})
		now := time.Now()
		p.step("a", now, now.Add(time.Second))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		p.wait(ctx)
		if got := time.Since(now); got != time.Second {
			t.Errorf("it waits for %v, want the second until the build ends", got)
		}
		p.end(false)
	})
}

// What all steps of a part took counts, and not its last one alone: the base's last is a copy of a few files.
func TestAllStepsOfAPartCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPacker(t, 1, map[string]time.Duration{"long": time.Second, "short": time.Second})
		first := digest.FromString("first")
		long := p.parts[digest.FromString("long")]
		long.steps = append(long.steps, first)
		p.parts[digest.FromString("long")], p.steps[first] = long, false
		now := time.Now()
		p.step("first", now, now.Add(time.Minute))
		p.step("short", now, now.Add(2*time.Second))
		p.step("long", now, now.Add(time.Second))
		p.wait(t.Context())
		p.end(false)
		if want := []string{"long", "short"}; !slices.Equal(p.began, want) {
			t.Errorf("%q were packed, want %q", p.began, want)
		}
	})
}

// Where nobody knows the builder's CPUs, the export packs what is left.
func TestABuilderOfUnknownSizeIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPacker(t, 0, map[string]time.Duration{"a": time.Minute})
		now := time.Now()
		p.step("a", now, now.Add(time.Second))
		p.wait(t.Context())
		if got := time.Since(now); got != 0 {
			t.Errorf("the export waits for %v", got)
		}
		p.end(false)
		if got := p.given(); len(got) != 1 {
			t.Errorf("%q were given, want the one", got)
		}
	})
}

// A build that is begun anew waits, and keeps a CPU for the builder, as the first did.
func TestAWaitLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPacker(t, 1, map[string]time.Duration{"a": time.Second})
		now := time.Now()
		p.step("a", now, now.Add(time.Second))
		p.wait(t.Context())
		if p.solved || p.shown != nil {
			t.Errorf("after a wait: solved %v, shown %v", p.solved, p.shown)
		}
		p.end(false)
	})
}
