package layers

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func groupOf(groups []wheelGroup, name string) string {
	for _, g := range groups {
		for _, w := range g.wheels {
			if w.Name == name {
				return g.name
			}
		}
	}
	return ""
}

// randomWheels are Ray and n packages of all sizes, with at most most big ones.
func randomWheels(r *rand.Rand, n, most int) []Artifact {
	packages := []Artifact{wheelOf("ray", 70<<20)}
	for i := range n {
		size := int64(1) << (10 + r.IntN(11))
		if most > 0 && r.IntN(4) == 0 {
			size, most = bigWheel<<r.IntN(6), most-1
		}
		packages = append(packages, wheelOf(fmt.Sprintf("package-%d-%d", r.Uint32(), i), size+r.Int64N(size)))
	}
	return packages
}

// contents are the groups as texts: what a layer of each holds.
func contents(groups []wheelGroup) map[string]string {
	out := map[string]string{}
	for _, g := range groups {
		text := ""
		for _, w := range g.wheels {
			text += fmt.Sprintln(w.Name, w.Version, w.Size)
		}
		out[g.name] = text
	}
	return out
}

// changedGroups are those that the other layout does not have just so, without the part of their
// names that a split gives.
func changedGroups(a, b map[string]string) []string {
	var out []string
	for name, text := range a {
		if b[name] != text {
			if strings.HasPrefix(name, "pip-") {
				name = strings.TrimRight(strings.TrimRight(name, "ab"), "-")
			}
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// A package that is dropped or bumped changes its own layer; every other layer stays as it is, to the byte.
func TestOnePackageMovesNoOther(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		rules := LayerRules{Budget: 20, MaxSize: int64(16+r.IntN(64)) << 20}
		packages := randomWheels(r, 5+r.IntN(120), rules.alone()-1)
		r.Shuffle(len(packages), func(i, j int) { packages[i], packages[j] = packages[j], packages[i] })
		packages = shareLayers(packages, nil, rules, false)
		before := wheelGroups(packages, rules)
		at := 1 + r.IntN(len(packages)-1)
		dropped := packages[at]
		own := strings.TrimRight(strings.TrimRight(groupOf(before, dropped.Name), "ab"), "-")
		left := slices.Delete(slices.Clone(packages), at, at+1)
		after := wheelGroups(shareLayers(left, packages, rules, false), rules)
		for _, g := range changedGroups(contents(before), contents(after)) {
			if g != own {
				t.Errorf("seed %d: dropping %s, of layer %s, changes layer %s", seed, dropped.Name, own, g)
			}
		}
		bumped := slices.Clone(packages)
		i := r.IntN(len(bumped))
		bumped[i].Version, bumped[i].Size = "99", bumped[i].Size/16*(15+r.Int64N(3))
		after = wheelGroups(shareLayers(bumped, packages, rules, false), rules)
		places := []string{groupOf(before, bumped[i].Name), groupOf(after, bumped[i].Name)}
		for _, g := range changedGroups(contents(after), contents(before)) {
			its := slices.ContainsFunc(places, func(name string) bool { return strings.HasPrefix(name, g) })
			if places[0] == places[1] && !its {
				t.Errorf("seed %d: a new version of %s, of layers %q, changes layer %s", seed, bumped[i].Name,
					places, g)
			}
		}
	}
}

// With more big wheels than there is room for, one more displaces at most one.
func TestAFullBudgetGivesUpOnePlaceAtMost(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 2))
		packages := shareLayers(randomWheels(r, 200, 40), nil, LayerRules{Budget: 20, MaxSize: 1 << 40}, false)
		rules := LayerRules{Budget: 20, MaxSize: 1 << 40}
		before := wheelGroups(packages, rules)
		if want := rules.alone() + rules.shared() + 1; len(before) > want {
			t.Fatalf("seed %d: %d layers, want at most %d", seed, len(before), want)
		}
		after := wheelGroups(append(packages, wheelOf("new", 600<<20)), rules)
		var moved []string
		for _, p := range packages {
			if groupOf(before, p.Name) != groupOf(after, p.Name) {
				moved = append(moved, p.Name)
			}
		}
		if len(moved) > 1 {
			t.Errorf("seed %d: one big wheel more moves %v", seed, moved)
		}
	}
}

// Every package is in one layer, and no layer that could be split is over the cap.
func TestLayersKeepToTheirSize(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 3))
		packages := randomWheels(r, 200, 30)
		rules := LayerRules{Budget: leastBudget + r.IntN(30), MaxSize: int64(16+r.IntN(600)) << 20}
		groups := wheelGroups(packages, rules)
		count := 0
		names := map[string]bool{}
		for _, g := range groups {
			count += len(g.wheels)
			if len(g.wheels) > 1 && g.size() > rules.MaxSize {
				t.Errorf("seed %d: layer %s of %d wheels has %d bytes, want at most %d", seed, g.name, len(g.wheels),
					g.size(), rules.MaxSize)
			}
			if names[g.name] {
				t.Errorf("seed %d: two layers are named %s", seed, g.name)
			}
			names[g.name] = true
		}
		if count != len(packages) {
			t.Errorf("seed %d: the layers hold %d packages, want %d", seed, count, len(packages))
		}
	}
}

func TestWheelsByHowOftenTheyChange(t *testing.T) {
	t.Parallel()
	ours := wheelOf("ours", 1<<10)
	ours.Origin = originLocal
	groups := wheelGroups([]Artifact{ours, wheelOf("ray", 70<<20), wheelOf("tensorflow", 500<<20),
		wheelOf("click", 1<<10)}, LayerRules{})
	var names []string
	for _, g := range groups {
		names = append(names, g.name)
	}
	if want := []string{groupOf(groups, "click"), "tensorflow", "ray", "pip-own"}; !slices.Equal(names, want) {
		t.Errorf("layers are %q, want %q: what changes most last", names, want)
	}
}

func TestLayerRulesOfARecipe(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]LayerRules{
		"":                                     {Budget: 90, MaxSize: 512 << 20},
		"layers: {budget: 13}":                 {Budget: 13, MaxSize: 512 << 20},
		"layers: {max_size: 64MB}":             {Budget: 90, MaxSize: 64 << 20},
		"layers: {budget: 100, max_size: 2GB}": {Budget: 100, MaxSize: 2 << 30},
		"layers: {compression: zstd}":          {Budget: 90, MaxSize: 512 << 20, Compression: "zstd"},
	} {
		r, err := LoadRecipe([]byte(text), "raybuild.yaml", nil)
		if err != nil || r.Layers != want {
			t.Errorf("%q gives %+v (%v), want %+v", text, r, err, want)
		}
	}
	if _, err := LoadRecipe([]byte("layers: {compression: lz4}"), "raybuild.yaml", nil); err == nil ||
		!strings.Contains(err.Error(), "gzip") {
		t.Errorf("a compression that is none: %v", err)
	}
	for _, text := range []string{"budget: 12", "budget: 101", "budget: many", "max_size: 15MB", "max_size: 512",
		"max_size: -1GB"} {
		_, err := LoadRecipe([]byte("layers: {"+text+"}"), "raybuild.yaml", nil)
		if err == nil || !strings.Contains(err.Error(), "write ") {
			t.Errorf("%q: the error is %v, want one that says what to write", text, err)
		}
	}
}

// grown is a subject with n artifacts, in the proportions of a real lock.
func grown(tb testing.TB, n int) *subject {
	tb.Helper()
	dir := tb.TempDir()
	recipe := strings.Replace(graphRecipe, "files: [{from: app, to: /home/ray/app}]\n", "", 1)
	r, err := LoadRecipe([]byte(recipe), filepath.Join(dir, "raybuild.yaml"), nil)
	if err != nil {
		tb.Fatal(err)
	}
	s := &subject{recipe: r, lock: graphLock(), dir: dir}
	s.lock.Recipe = r.Digest()
	for i := range s.lock.Platforms[amd64].Layers {
		l := &s.lock.Platforms[amd64].Layers[i]
		for k := range l.Artifacts {
			if l.Artifacts[k].Kind == KindConda {
				l.Artifacts[k].MD5 = sum(l.Artifacts[k].Name)[:32]
			}
		}
		if l.Name == "miniconda" {
			continue
		}
		for k := range n / 3 {
			a := l.Artifacts[0]
			a.Name = fmt.Sprintf("%s-%d", a.Name, k)
			a.Path = strings.Replace(a.Path, l.Artifacts[0].Name, a.Name, 1)
			a.SHA256 = sum(a.Name)
			if a.Kind == KindConda {
				a.MD5 = a.SHA256[:32]
			}
			l.Artifacts = append(l.Artifacts, a)
		}
	}
	return s
}

// planned does what planning does without a network: the lock's text, the graph, and the record of inputs.
func (s *subject) planned(tb testing.TB) {
	tb.Helper()
	data, err := s.lock.Marshal()
	if err != nil {
		tb.Fatal(err)
	}
	lock, err := ParseLock(data, "raybuild.lock")
	if err != nil {
		tb.Fatal(err)
	}
	g, err := NewGraph(context.Background(), s.recipe, lock, s.o)
	if err != nil {
		tb.Fatal(err)
	}
	in, err := g.Record(context.Background())
	if err != nil {
		tb.Fatal(err)
	}
	CompareRecords(in, in)
}

// Memory grows with the number of artifacts, not with its square. BenchmarkPlan measures the time.
func TestPlanningGrowsWithTheArtifacts(t *testing.T) {
	bytes := map[int]uint64{}
	for _, n := range []int{50, 800} {
		s := grown(t, n)
		s.planned(t) // what is made once
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		s.planned(t)
		runtime.ReadMemStats(&after)
		bytes[n] = after.TotalAlloc - before.TotalAlloc
		t.Logf("%d artifacts: %d kB", n, bytes[n]>>10)
	}
	const artifacts, slack = 16, 2 // from 50 to 800
	if most := bytes[50] * artifacts * slack; bytes[800] > most {
		t.Errorf("800 artifacts take %d kB, want at most %d kB: %d times that of 50", bytes[800]>>10, most>>10,
			artifacts*slack)
	}
}

func BenchmarkPlan(b *testing.B) {
	for _, n := range []int{50, 200, 800} {
		b.Run(fmt.Sprintf("%d artifacts", n), func(b *testing.B) {
			s := grown(b, n)
			b.ReportAllocs()
			for b.Loop() {
				s.planned(b)
			}
		})
	}
}

// A wheel that is larger than a layer may be becomes several layers, each with inputs of its own.
func TestLargeWheelsAreCut(t *testing.T) {
	t.Parallel()
	for size, want := range map[int64]int{1: 1, 100 << 20: 1, 100<<20 + 1: 2, 950 << 20: 10} {
		g := wheelGroup{name: "torch", wheels: []Artifact{wheelOf("torch", size)}}
		p := python{rules: LayerRules{MaxSize: 100 << 20}}
		if got := g.parts(p.rules); got != want {
			t.Errorf("%d bytes become %d layers, want %d", size, got, want)
		}
		on := p.addWheels(Stack{}, "ray", g, Artifact{Version: "3.11.3"})
		keys, inputs := map[string]bool{}, map[string]bool{}
		for _, w := range on.wheels {
			keys[w.Key.String()] = true
			inputs[fmt.Sprint(p.wheelInputs(w.Compiler, w.Name, g).values)] = true
		}
		if len(on.layers) != want || len(keys) != want || len(inputs) != want {
			t.Errorf("%d bytes become %d layers of %d keys and %d inputs, want %d", size, len(on.layers), len(keys),
				len(inputs), want)
		}
		if first := on.wheels[0].Name; first != "torch" && first != "torch-part-1" {
			t.Errorf("the first layer's name is %q", first)
		}
	}
	two := wheelGroup{name: "pip-1", wheels: []Artifact{wheelOf("a", 90<<20), wheelOf("b", 90<<20)}}
	if got := two.parts(LayerRules{MaxSize: 100 << 20}); got != 1 {
		t.Errorf("a shared layer becomes %d", got)
	}
}
