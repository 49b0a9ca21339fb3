package layers

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

const (
	// shareSize is what a layer that small wheels share holds, in bytes, where nothing is locked yet, and
	// mostShared how many such layers there are then.
	shareSize, mostShared = 2 << 20, 12
	// fullLayer is the size in bytes up to which a shared layer grows.
	fullLayer = 32 << 20
)

// share is a layer that small wheels share: their indexes in a list of artifacts.
type share struct {
	number int // pip-1 is 1
	size   int64
	wheels []int
}

func (s *share) add(i int, a Artifact) {
	s.wheels = append(s.wheels, i)
	s.size += a.Size
}

// drop takes the wheel with the given index out.
func (s *share) drop(i int, a Artifact) {
	s.wheels = slices.DeleteFunc(s.wheels, func(w int) bool { return w == i })
	s.size -= a.Size
}

// shareLayers says for each small wheel which layer it shares with others (Artifact.Layer). The lock
// keeps that, so it is a log: a wheel stays in the layer that it is in, and wheels that are new share a
// new layer. So a new package moves nothing else. If there are too many shared layers, the two smallest
// are merged, which are mostly those of the packages that came last. compact merges them to as many as
// there would be without an old lock.
func shareLayers(now, old []Artifact, rules LayerRules, compact bool) []Artifact {
	now = slices.Clone(now)
	small, _ := sharing(runtimePackages(now), rules)
	shares := map[artifactKey]bool{}
	for _, a := range small {
		shares[artifactKey{a.Kind, a.Name}] = true
	}
	was := map[string]string{}
	before, _ := sharing(runtimePackages(old), rules)
	for _, g := range sharedGroups(before, rules) { // also of a lock that names no layers
		for _, a := range g.wheels {
			was[a.Name] = g.name
		}
	}
	var wheels []int
	for i, a := range now {
		now[i].Layer = ""
		if shares[artifactKey{a.Kind, a.Name}] {
			wheels = append(wheels, i)
			now[i].Layer = was[a.Name]
		}
	}
	newLayout(now, wheels, rules).complete(compact)
	return now
}

// layerNumber is the number of a shared layer by its name.
func layerNumber(name string) (int, bool) {
	text, ok := strings.CutPrefix(name, "pip-")
	n, err := strconv.Atoi(text)
	return n, ok && err == nil && n > 0
}

func layerName(number int) string { return fmt.Sprintf("pip-%d", number) }

// layout is the shared layers of wheels.
type layout struct {
	wheels []Artifact
	rules  LayerRules
	shares map[int]*share // by number
	fresh  []int          // wheels without a layer
	size   int64          // of all that share
}

// newLayout is the layout that some of the wheels have.
func newLayout(wheels []Artifact, some []int, rules LayerRules) *layout {
	l := &layout{wheels: wheels, rules: rules.filled(), shares: map[int]*share{}}
	for _, i := range some {
		l.size += wheels[i].Size
		if n, ok := layerNumber(wheels[i].Layer); ok {
			l.share(n).add(i, wheels[i])
		} else {
			l.fresh = append(l.fresh, i)
		}
	}
	return l
}

// complete gives each wheel a layer.
func (l *layout) complete(compact bool) {
	most := l.rules.shared()
	if len(l.shares) == 0 {
		l.spread(l.fresh, l.wanted())
	} else {
		l.append(append(l.fresh, l.overflow()...))
		if compact {
			most = l.wanted()
		}
	}
	l.merge(most)
	for _, s := range l.shares {
		for _, i := range s.wheels {
			l.wheels[i].Layer = layerName(s.number)
		}
	}
}

// share is the shared layer of a number.
func (l *layout) share(n int) *share {
	if l.shares[n] == nil {
		l.shares[n] = &share{number: n}
	}
	return l.shares[n]
}

// next is a new shared layer, with the least number that is free.
func (l *layout) next() *share {
	for n := 1; ; n++ {
		if l.shares[n] == nil {
			return l.share(n)
		}
	}
}

// wanted is how many layers the wheels share where nothing is locked yet.
func (l *layout) wanted() int {
	n := min((l.size+shareSize-1)/shareSize, mostShared)
	n = max(n, (l.size+fullLayer-1)/fullLayer, leastShared)
	return min(int(n), l.rules.shared())
}

// largest is the order in which wheels are laid out.
func (l *layout) largest(wheels []int) []int {
	return slices.SortedFunc(slices.Values(wheels), func(i, j int) int {
		a, b := l.wheels[i], l.wheels[j]
		return cmp.Or(cmp.Compare(b.Size, a.Size), cmp.Compare(a.Name, b.Name), cmp.Compare(a.SHA256, b.SHA256))
	})
}

// spread lays wheels out over n layers of much the same size.
func (l *layout) spread(wheels []int, n int) {
	for _, i := range l.largest(wheels) {
		if len(l.shares) < n {
			l.next().add(i, l.wheels[i])
			continue
		}
		l.bySize()[0].add(i, l.wheels[i])
	}
}

// append gives new wheels new layers.
func (l *layout) append(wheels []int) {
	var last *share
	for _, i := range l.largest(wheels) {
		if last == nil || last.size+l.wheels[i].Size > fullLayer {
			last = l.next()
		}
		last.add(i, l.wheels[i])
	}
}

// overflow takes the largest wheels out of layers that new versions have made too large. It takes none
// if there are too many bytes for all layers that the budget has room for.
func (l *layout) overflow() []int {
	if l.size > int64(l.rules.shared())*fullLayer {
		return nil
	}
	var out []int
	for _, s := range l.bySize() {
		for len(s.wheels) > 1 && s.size > fullLayer {
			i := l.largest(s.wheels)[0]
			s.drop(i, l.wheels[i])
			out = append(out, i)
		}
	}
	return out
}

// merge merges the two smallest layers until there are no more than most. The larger one keeps its
// number. It makes no layer that is over fullLayer, unless the budget has no room for another.
func (l *layout) merge(most int) {
	for len(l.shares) > most {
		all := l.bySize()
		a, b := all[1], all[0]
		if size := a.size + b.size; size > fullLayer && len(l.shares) <= l.rules.shared() || size > l.rules.MaxSize {
			return
		}
		for _, i := range b.wheels {
			a.add(i, l.wheels[i])
		}
		delete(l.shares, b.number)
	}
}

// bySize are the layers, the smallest first.
func (l *layout) bySize() []*share {
	return slices.SortedFunc(maps.Values(l.shares), func(a, b *share) int {
		return cmp.Or(cmp.Compare(a.size, b.size), cmp.Compare(b.number, a.number))
	})
}

// sharedGroups are the layers that small wheels share, in the order of their numbers. Wheels for which
// the lock names no layer, as after a change of the rules, are laid out as if they were new.
func sharedGroups(small []Artifact, rules LayerRules) []wheelGroup {
	all := make([]int, len(small))
	for i := range small {
		all[i] = i
	}
	small = slices.Clone(small)
	if l := newLayout(small, all, rules); len(l.fresh) > 0 {
		l.complete(false)
	}
	groups := map[int]*wheelGroup{}
	for _, a := range small {
		n, _ := layerNumber(a.Layer)
		if groups[n] == nil {
			groups[n] = &wheelGroup{name: a.Layer}
		}
		groups[n].wheels = append(groups[n].wheels, a)
	}
	var out []wheelGroup
	for _, n := range slices.Sorted(maps.Keys(groups)) {
		out = append(out, *groups[n])
	}
	return out
}
