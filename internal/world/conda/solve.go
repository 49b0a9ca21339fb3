package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
)

// solver finds packages that satisfy specs by trying the best candidate first and going back where it fits nothing.
type solver struct {
	byName   map[string][]*record
	pins     map[string][]spec
	virtual  map[string]string
	chosen   map[string]*record
	steps    int
	conflict string
}

const maxSteps = 200000

// solve gives the packages that specs come to, dependencies before what needs them. prefer are packages that are
// installed and stay where they fit.
func (a *app) solve(records []*record, specs []spec, prefer map[string]string, urls []string) ([]*record, error) {
	s := &solver{byName: map[string][]*record{}, pins: map[string][]spec{}, virtual: virtualPackages(),
		chosen: map[string]*record{}}
	for _, r := range records {
		s.byName[r.Name] = append(s.byName[r.Name], r)
	}
	for name, list := range s.byName {
		s.byName[name] = rank(list, prefer[name])
	}
	for _, p := range a.conf.pinned {
		sp, err := parseSpec(p)
		if err != nil {
			return nil, err
		}
		s.pins[sp.name] = append(s.pins[sp.name], sp)
	}
	var missing []string
	for _, sp := range specs {
		if len(s.candidates(sp)) == 0 && !strings.HasPrefix(sp.name, "__") && !s.known(sp) {
			missing = append(missing, sp.text)
		}
	}
	if len(missing) > 0 {
		return nil, packagesNotFound(a.conf.version, missing, urls)
	}
	if !s.search(specs) {
		return nil, unsatisfiable(specs, s.conflict, s.steps)
	}
	out := make([]*record, 0, len(s.chosen))
	for _, r := range s.chosen {
		out = append(out, r)
	}
	return toposort(out), nil
}

// known says whether the spec alone, without pins, has candidates.
func (s *solver) known(sp spec) bool {
	return slices.ContainsFunc(s.byName[sp.name],
		func(r *record) bool { return sp.matches(r.Name, r.Version, r.Build) })
}

// unsatisfiable: this answer of real conda was not observed; its name is the classic solver's.
func unsatisfiable(specs []spec, conflict string, steps int) error {
	text := "The following specifications were found to be incompatible with each other:\n"
	if steps >= maxSteps {
		text = "The search for a solution was given up after many steps:\n"
	}
	for _, sp := range specs {
		text += "\n  - " + sp.text
	}
	if conflict != "" {
		text += "\n\nNothing provides " + conflict
	}
	return newError("UnsatisfiableError", "%s", text)
}

// rank sorts candidates, best first: what is installed, then the better channel, version, build number, and time.
func rank(list []*record, installed string) []*record {
	first := list[0].priority
	for _, r := range list {
		first = min(first, r.priority)
	}
	// Flexible channel priority: a name is taken from the first channel that has it.
	list = slices.DeleteFunc(slices.Clone(list), func(r *record) bool { return r.priority != first })
	slices.SortFunc(list, func(x, y *record) int {
		return cmp.Or(
			-cmp.Compare(b2i(x.dist() == installed), b2i(y.dist() == installed)),
			-compareVersions(x.Version, y.Version), -cmp.Compare(x.BuildNumber, y.BuildNumber),
			-cmp.Compare(x.Timestamp, y.Timestamp), -cmp.Compare(b2i(strings.HasSuffix(x.fn, ".conda")),
				b2i(strings.HasSuffix(y.fn, ".conda"))), cmp.Compare(x.fn, y.fn))
	})
	return list
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (s *solver) candidates(sp spec) []*record {
	var out []*record
	for _, r := range s.byName[sp.name] {
		if !sp.matches(r.Name, r.Version, r.Build) ||
			sp.channel != "" && sp.channel != r.ch.name && sp.channel != r.ch.url {
			continue
		}
		if slices.ContainsFunc(s.pins[sp.name], func(p spec) bool { return !p.matches(r.Name, r.Version, r.Build) }) {
			continue
		}
		out = append(out, r)
	}
	return out
}

func (s *solver) search(todo []spec) bool {
	if s.steps++; s.steps > maxSteps {
		return false
	}
	if len(todo) == 0 {
		return true
	}
	sp, rest := todo[0], todo[1:]
	if strings.HasPrefix(sp.name, "__") {
		v, ok := s.virtual[sp.name]
		if !ok || !matchVersion(sp.version, v) {
			s.conflict = sp.text
			return false
		}
		return s.search(rest)
	}
	if r, ok := s.chosen[sp.name]; ok {
		if !sp.matches(r.Name, r.Version, r.Build) {
			s.conflict = sp.text
			return false
		}
		return s.search(rest)
	}
	found := s.candidates(sp)
	if len(found) == 0 {
		s.conflict = sp.text
	}
	for _, r := range found {
		if s.excluded(r) {
			continue
		}
		next := slices.Clone(rest)
		for _, d := range r.Depends {
			if dep, err := parseSpec(d); err == nil {
				next = append(next, dep)
			}
		}
		s.chosen[r.Name] = r
		if s.search(next) {
			return true
		}
		delete(s.chosen, r.Name)
	}
	return false
}

// excluded says whether what a package constrains and what is chosen contradict each other.
func (s *solver) excluded(r *record) bool {
	against := func(by, of *record) bool {
		for _, c := range by.Constrains {
			if sp, err := parseSpec(c); err == nil && sp.name == of.Name && !sp.matches(of.Name, of.Version, of.Build) {
				return true
			}
		}
		return false
	}
	for _, other := range s.chosen {
		if against(r, other) || against(other, r) {
			return true
		}
	}
	return false
}

// toposort orders packages in rounds: first, by name, those that need nothing of the others, and so on. In what needs
// pip and python each other, python goes first; the order was observed on 4.12.0 to 26.7.1.
func toposort(list []*record) []*record {
	left := map[string]*record{}
	for _, r := range list {
		left[r.Name] = r
	}
	var out []*record
	for len(left) > 0 {
		var round []*record
		for _, r := range left {
			if !slices.ContainsFunc(r.Depends, func(d string) bool {
				name, _, _ := strings.Cut(d, " ")
				_, waits := left[name]
				return waits && name != r.Name && (r.Name != "python" || name != "pip")
			}) {
				round = append(round, r)
			}
		}
		if len(round) == 0 {
			for _, r := range left { // a cycle: all that is left, by name
				round = append(round, r)
			}
		}
		slices.SortFunc(round, func(x, y *record) int { return cmp.Compare(x.Name, y.Name) })
		for _, r := range round {
			delete(left, r.Name)
		}
		out = append(out, round...)
	}
	return out
}

// virtualPackages are what packages may ask of the system; CONDA_OVERRIDE_… sets each.
func virtualPackages() map[string]string {
	out := map[string]string{"__unix": "0", "__linux": kernel(), "__glibc": glibc(), "__archspec": "1"}
	for name, env := range map[string]string{"__glibc": "CONDA_OVERRIDE_GLIBC", "__linux": "CONDA_OVERRIDE_LINUX",
		"__cuda": "CONDA_OVERRIDE_CUDA"} {
		if v, ok := os.LookupEnv(env); ok {
			out[name] = v
		}
		if out[name] == "" {
			delete(out, name)
		}
	}
	return out
}

// glibc is the C library's version, as the name of the banner in its file says.
func glibc() string {
	for _, f := range []string{"/lib/x86_64-linux-gnu/libc.so.6", "/lib64/libc.so.6", "/usr/lib/libc.so.6"} {
		data, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		const mark = "GNU C Library "
		i := strings.Index(string(data), mark)
		if i < 0 {
			continue
		}
		banner := string(data[i:min(i+200, len(data))])
		if _, after, ok := strings.Cut(banner, "release version "); ok {
			var major, minor int
			if n, _ := fmt.Sscanf(after, "%d.%d", &major, &minor); n == 2 {
				return fmt.Sprintf("%d.%d", major, minor)
			}
		}
	}
	return ""
}
