package layers

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// laidOut are the layers of packages that a lock has, by name, and the size of each.
func laidOut(packages []Artifact) (names map[string]string, sizes map[string]int64) {
	sizes = map[string]int64{}
	groups := wheelGroups(packages, LayerRules{})
	for _, g := range groups {
		sizes[g.name] = g.size()
	}
	return contents(groups), sizes
}

// newBytes are the bytes of the layers that the first layout lacks.
func newBytes(before, after map[string]string, sizes map[string]int64) (bytes int64, changed []string) {
	has := map[string]bool{}
	for _, text := range before {
		has[text] = true
	}
	for name, text := range after {
		if !has[text] {
			bytes, changed = bytes+sizes[name], append(changed, name)
		}
	}
	slices.Sort(changed)
	return bytes, changed
}

// The commonest edit: a small package more moves a layer with that package, and nothing else.
func TestAnAddedPackageMovesItsOwnBytes(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 4))
		packages := shareLayers(randomWheels(r, 40+r.IntN(60), 20), nil, LayerRules{}, false)
		before, _ := laidOut(packages)
		var more []Artifact
		var size int64
		for i := range 1 + r.IntN(4) {
			more = append(more, wheelOf(fmt.Sprintf("new-%d", i), 1+r.Int64N(2<<20)))
			size += more[i].Size
		}
		with := shareLayers(append(slices.Clone(packages), more...), packages, LayerRules{}, false)
		after, sizes := laidOut(with)
		if bytes, changed := newBytes(before, after, sizes); bytes != size || len(changed) != 1 {
			t.Errorf("seed %d: new packages of %d bytes move %d bytes, layers %v", seed, size, bytes, changed)
		}
	}
}

// history edits a lock again and again, and looks at each step.
func history(t *testing.T, seed uint64, wheels, steps int) (moved, asked int64) {
	t.Helper()
	rules := LayerRules{}
	r := rand.New(rand.NewPCG(seed, 5))
	packages := shareLayers(randomWheels(r, wheels, wheels/4), nil, rules, false)
	for step := range steps {
		before, was := laidOut(packages)
		next := slices.Clone(packages)
		own := map[string]bool{} // layers that may change
		at := 1 + r.IntN(len(next)-1)
		var size int64
		switch what := r.IntN(4); {
		case what == 0 && len(next) > wheels/2:
			own[groupOf(wheelGroups(next, rules), next[at].Name)] = true
			next = slices.Delete(next, at, at+1)
		case what == 1:
			own[groupOf(wheelGroups(next, rules), next[at].Name)] = true
			next[at].Version, next[at].Size = fmt.Sprint(step), next[at].Size/16*(15+r.Int64N(4))+1
			next[at].SHA256 = sum(fmt.Sprint(seed, step))
		default:
			next = append(next, wheelOf(fmt.Sprintf("new-%d", step), 1+r.Int64N(200<<10)))
			size = next[len(next)-1].Size
		}
		shared := 0
		for name := range was {
			if strings.HasPrefix(name, "pip-") {
				shared++
			}
		}
		next = shareLayers(next, packages, rules, false)
		after, sizes := laidOut(next)
		bytes, changed := newBytes(before, after, sizes)
		if size > 0 {
			moved, asked = moved+bytes, asked+size
		}
		for _, name := range changed {
			// Where the budget is full, layers are merged, and a big wheel takes the place of another.
			full := shared >= rules.shared() || len(bigWheels(packages, rules.filled())) >= rules.alone()
			if before[name] != "" && !own[name] && !full {
				t.Fatalf("seed %d, step %d: layer %s changes, and has no package that does", seed, step, name)
			}
		}
		for name, n := range sizes {
			if strings.Count(after[name], "\n") > 1 && n > fullLayer {
				t.Fatalf("seed %d, step %d: layer %s has %d bytes, want at most %d", seed, step, name, n, fullLayer)
			}
		}
		if count := len(after) + fixedLayers - 1; count >= 100 {
			t.Fatalf("seed %d, step %d: the image has %d layers for %d wheels", seed, step, count, len(next))
		}
		packages = next
	}
	return moved, asked
}

// However long a lock is edited, an edit moves the layers of its own packages, and merging layers costs little.
func TestLayersOfALongHistory(t *testing.T) {
	t.Parallel()
	for _, wheels := range []int{10, 60, 200, 400} {
		for seed := range uint64(5) {
			moved, asked := history(t, seed, wheels, 100)
			if wheels == 400 {
				continue // its big wheels fill the budget, and so also the shared layers
			}
			if ratio := float64(moved) / float64(asked); ratio > 3 {
				t.Errorf("seed %d: %d wheels: adding packages moves %.1f times their bytes", seed, wheels, ratio)
			}
		}
	}
}

// `lock --update pip` makes few layers of many again, and leaves large ones alone.
func TestUpdatingMergesSmallLayers(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 6))
	packages := shareLayers(randomWheels(r, 60, 10), nil, LayerRules{}, false)
	fresh, sizes := laidOut(packages)
	for i := range 8 {
		with := append(slices.Clone(packages), wheelOf(fmt.Sprintf("new-%d", i), 20<<10))
		packages = shareLayers(with, packages, LayerRules{}, false)
	}
	grown, _ := laidOut(packages)
	again, _ := laidOut(shareLayers(packages, packages, LayerRules{}, true))
	if len(grown) != len(fresh)+8 || len(again) > len(fresh) {
		t.Errorf("%d layers at first, %d after 8 additions, %d after the update", len(fresh), len(grown), len(again))
	}
	kept := 0
	for name, text := range fresh {
		if again[name] == text || sizes[name] == 0 {
			kept++
		}
	}
	if kept < len(fresh)-1 {
		t.Errorf("the update leaves %d of %d layers as they were", kept, len(fresh))
	}
}

// A lock that an earlier version wrote names no layers. It gives one image all the same, and an edit
// of it moves no more than of another.
func TestLockWithoutLayers(t *testing.T) {
	t.Parallel()
	packages := randomWheels(rand.New(rand.NewPCG(1, 7)), 60, 10)
	before, _ := laidOut(packages)
	if again, _ := laidOut(packages); fmt.Sprint(again) != fmt.Sprint(before) {
		t.Error("the layout of a lock without layers is not the same twice")
	}
	with := shareLayers(append(slices.Clone(packages), wheelOf("new", 1000)), packages, LayerRules{}, false)
	after, sizes := laidOut(with)
	if bytes, changed := newBytes(before, after, sizes); bytes != 1000 {
		t.Errorf("a package of 1000 bytes moves %d, layers %v", bytes, changed)
	}
}

// The lock says the layer of a wheel, and nothing but a layer that wheels can share.
func TestLockNamesLayers(t *testing.T) {
	t.Parallel()
	s := grown(t, 3)
	artifact(s.lock, "ray", "click").Layer = "pip-7"
	data, err := s.lock.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), "            layer: pip-7\n") {
		t.Errorf("the lock does not say the layer:\n%s", data)
	}
	lock, err := ParseLock(data, "raybuild.lock")
	if err != nil || artifact(lock, "ray", "click").Layer != "pip-7" {
		t.Errorf("the layer is lost: %v", err)
	}
	for _, name := range []string{"pip-0", "pip-07", "pip-101", "ray", "pip--1", "../x"} {
		text := strings.Replace(string(data), "layer: pip-7", "layer: "+name, 1)
		if _, err := ParseLock([]byte(text), "raybuild.lock"); err == nil || !strings.Contains(err.Error(), "pip-1") {
			t.Errorf("layer %q is taken: %v", name, err)
		}
	}
}
