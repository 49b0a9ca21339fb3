package layers

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

const (
	// bigWheel is the size in bytes from which a wheel has a layer of its own. Smaller ones cost more in
	// requests, as layers of their own, than they save in bytes.
	bigWheel = 4 << 20
	// fixedLayers of a budget hold no wheels of an index but Ray's: a base of one layer, user, apt,
	// originals, miniconda, env, activate, mirrors, files, Ray. It is a constant, so that a recipe with one
	// layer less moves no wheel.
	fixedLayers = 10
	// leastShared is how many layers small wheels share at least, if there are so many wheels.
	leastShared = 3
	// leastBudget leaves none for big wheels; mostBudget leaves room below the 127 layers that engines take.
	leastBudget, mostBudget = fixedLayers + leastShared, 100
	leastMaxSize            = 16 << 20

	defaultBudget  = 90
	defaultMaxSize = 512 << 20
)

// filled are the rules with defaults for what is not there.
func (r LayerRules) filled() LayerRules {
	if r.Budget == 0 {
		r.Budget = defaultBudget
	}
	if r.MaxSize == 0 {
		r.MaxSize = defaultMaxSize
	}
	return r
}

// shared is how many layers small wheels share at most, and alone how many big wheels have one each.
func (r LayerRules) shared() int { return max(leastShared, (r.filled().Budget-fixedLayers)*3/8) }
func (r LayerRules) alone() int  { return r.filled().Budget - fixedLayers - r.shared() }

// ownWheels is the layer of the recipe's own wheels.
const ownWheels = "pip-own"

// wheelGroup is one layer's wheels.
type wheelGroup struct {
	name   string
	wheels []Artifact
}

func (g wheelGroup) vertex(what string) string { return "[" + g.name + "] " + what }

// what says what a group holds: a version where it is one package.
func (g wheelGroup) what() string {
	if len(g.wheels) == 1 {
		return g.wheels[0].Name + " " + g.wheels[0].Version
	}
	names := make([]string, len(g.wheels))
	for i, w := range g.wheels {
		names[i] = w.Name
	}
	return shorten(names, 60)
}

func (g wheelGroup) size() int64 {
	var size int64
	for _, w := range g.wheels {
		size += w.Size
	}
	return size
}

// wheelGroups lays packages out as layers by how large they are and how often
// they change: small ones of an index first, in the layers that the lock names,
// then big ones, each by itself, then Ray, then the recipe's own wheels, which
// change with every commit.
//
// Later layers lie above earlier ones. If several packages bring a file, the image should have that of the
// package that pip would install last. pip goes backwards through names, after what depends on what.
//
// It depends on nothing but packages and rules. A package that is dropped or
// changed changes the layer that it is in, and no other; [shareLayers] gives new
// ones a new layer. Only where there are more big wheels than the budget has room
// for, a new one of a larger kind takes the place of the least one, which joins
// its group.
func wheelGroups(packages []Artifact, rules LayerRules) []wheelGroup {
	rules = rules.filled()
	packages = slices.SortedFunc(slices.Values(packages), func(a, b Artifact) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version))
	})
	own := wheelGroup{name: ownWheels}
	var single, ray []wheelGroup
	small, big := sharing(packages, rules)
	for _, a := range packages {
		switch {
		case a.Kind == KindSdist || big[a.Name]:
			single = append(single, wheelGroup{name: a.Name, wheels: []Artifact{a}})
		case a.Name == "ray":
			ray = append(ray, wheelGroup{name: "ray", wheels: []Artifact{a}})
		case a.Origin == originLocal:
			own.wheels = append(own.wheels, a)
		}
	}
	var groups []wheelGroup
	for _, g := range sharedGroups(small, rules) {
		groups = append(groups, g.split(rules.MaxSize, 0)...)
	}
	slices.Reverse(single)
	return slices.Concat(groups, single, ray, own.split(rules.MaxSize, 0))
}

// sharing are the packages that share layers with others, and the names of those that have one each.
func sharing(packages []Artifact, rules LayerRules) (small []Artifact, big map[string]bool) {
	big = bigWheels(packages, rules)
	for _, a := range packages {
		if a.Kind == KindWheel && a.Name != "ray" && a.Origin != originLocal && !big[a.Name] {
			small = append(small, a)
		}
	}
	return small, big
}

// bigWheels are the names of those that have a layer each: as many as the
// budget has room for, the largest first. What counts is the power of two of
// the size and then the name, so that a new version seldom changes the order.
func bigWheels(packages []Artifact, rules LayerRules) map[string]bool {
	var all []Artifact
	for _, a := range packages {
		if a.Size >= bigWheel && a.Kind == KindWheel && a.Name != "ray" && a.Origin != originLocal {
			all = append(all, a)
		}
	}
	slices.SortStableFunc(all, func(a, b Artifact) int {
		return cmp.Or(cmp.Compare(bits.Len64(uint64(b.Size)), bits.Len64(uint64(a.Size))),
			cmp.Compare(nameHash(a.Name), nameHash(b.Name)))
	})
	big := map[string]bool{}
	for _, a := range all[:min(len(all), rules.alone())] {
		big[a.Name] = true
	}
	return big
}

func nameHash(name string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // never fails, by its documentation
	return h.Sum32()
}

// parts is how many layers the group becomes: a wheel by itself that is larger than a layer may be is cut.
func (g wheelGroup) parts(rules LayerRules) int {
	most := rules.filled().MaxSize
	if len(g.wheels) != 1 {
		return 1
	}
	return int((g.size()-1)/most) + 1
}

// partName is the name of a part's layer; of part 0, what all of them begin with.
func partName(group string, part int) string {
	if part == 0 {
		return group + "-part-"
	}
	return group + "-part-" + strconv.Itoa(part)
}

// split halves a group that is too large by one more bit of its packages'
// names' hashes, until each part is small enough or one package. A group that
// is split is one that changes anyway, and no other one is touched.
func (g wheelGroup) split(maxSize int64, bit int) []wheelGroup {
	switch {
	case len(g.wheels) == 0:
		return nil
	case len(g.wheels) == 1 || g.size() <= maxSize || bit == 24:
		return []wheelGroup{g}
	}
	left, right := wheelGroup{name: g.name + "a"}, wheelGroup{name: g.name + "b"}
	if bit == 0 {
		left.name, right.name = g.name+"-a", g.name+"-b"
	}
	for _, w := range g.wheels {
		if nameHash(w.Name)*2654435761>>(31-bit)&1 == 0 {
			left.wheels = append(left.wheels, w)
		} else {
			right.wheels = append(right.wheels, w)
		}
	}
	return slices.Concat(left.split(maxSize, bit+1), right.split(maxSize, bit+1))
}

// budgetValue reads the budget, with or without quotes.
func budgetValue(budget *int) strictyaml.Value {
	quoted := strictyaml.Grammar{What: "the same in quotes", Pattern: "[0-9]{2,3}",
		Check: func(string) (string, string) { return "in quotes", "" }}
	return strictyaml.Each(strictyaml.Grammar{Check: layerBudget}, func(s string) {
		*budget, _ = strconv.Atoi(s) // of its grammar
	}).Shaped(strictyaml.Shape{Either: []strictyaml.Shape{
		{Kind: strictyaml.Number, Low: leastBudget, High: mostBudget}, {Kind: strictyaml.Text, Grammar: quoted}}})
}

// maxSizeValue reads a size of layers.
func maxSizeValue(size *int64) strictyaml.Value {
	return strictyaml.Each(strictyaml.Grammar{What: "a size in MB or GB", Check: layerSize,
		Pattern: `\s*[1-9][0-9]{0,5}(MB|GB)\s*`}, func(s string) {
		*size, _ = parseSize(s)
	})
}

func layerBudget(s string) (string, string) {
	if n, err := strconv.Atoi(s); err != nil || n < leastBudget || n > mostBudget {
		return quoteShort(s) + " is not a possible number of layers",
			fmt.Sprintf("write a number from %d to %d", leastBudget, mostBudget)
	}
	return "", ""
}

func layerSize(s string) (string, string) {
	if n, ok := parseSize(s); !ok || n < leastMaxSize {
		return quoteShort(s) + " is not a possible size of a layer", `write 16MB or more, such as "512MB" or "1GB"`
	}
	return "", ""
}

var sizeText = lazy(`^([1-9][0-9]{0,5})(MB|GB)$`)

// parseSize reads a size in units of 1024².
func parseSize(s string) (int64, bool) {
	m := sizeText().FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return 0, false
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if m[2] == "GB" {
		n <<= 10
	}
	return n << 20, err == nil
}
