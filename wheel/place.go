package wheel

import (
	"cmp"
	"fmt"
	"hash/crc32"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// installed is a member with its place in the environment.
type installed struct {
	*member
	place  string // absolute
	script bool   // of .data/scripts
}

// content is a file that is made here.
type content struct {
	data       []byte
	executable bool
}

// placed is a wheel with the places of its files.
type placed struct {
	*Wheel
	t      Target
	all    []installed        // members, in the order in which pip installs them
	files  []installed        // those that are there at the end, in the archive's order
	made   map[string]content // files that an installer makes, by place, without RECORD
	record string             // RECORD's place
}

// place says where all files of the wheel belong.
func (w *Wheel) place(t Target) (*placed, error) {
	all, err := w.places(t)
	if err != nil {
		return nil, err
	}
	p := &placed{Wheel: w, t: t, all: all, made: w.generated(t), record: path.Join(t.library(), w.info, "RECORD")}
	last := make(map[string]*member, len(all))
	for _, f := range all { // of two files for one place pip leaves the later one
		last[f.place] = f.member
	}
	for _, f := range all {
		if _, own := p.made[f.place]; !own && f.place != p.record && last[f.place] == f.member {
			p.files = append(p.files, f)
		}
	}
	slices.SortFunc(p.files, func(a, b installed) int { return cmp.Compare(a.data, b.data) })
	return p, nil
}

// rank is pip's order: what belongs to the library, then what .data directories hold, then their scripts.
func rank(name string) int {
	parts := strings.SplitN(name, "/", 3)
	if !strings.HasSuffix(parts[0], ".data") || len(parts) == 1 {
		return 0
	}
	if parts[1] == "scripts" && len(parts) == 3 {
		return 2
	}
	return 1
}

// places says where each member of the wheel belongs, in the order in which pip installs them.
func (w *Wheel) places(t Target) ([]installed, error) {
	roots, library := t.roots(normalized(w.Name)), t.library()
	var all []installed
	for i := range w.members {
		m := &w.members[i]
		if m.isFolder {
			continue
		}
		f := installed{m, library + "/" + m.name, false}
		if r := rank(m.name); r > 0 {
			parts := append(strings.SplitN(m.name, "/", 3), "")
			root := roots[parts[1]]
			if root == "" || parts[2] == "" {
				return nil, fmt.Errorf("member %q is of no kind that a wheel can have", m.name)
			}
			if f.place, f.script = root+"/"+parts[2], r == 2; f.script && w.standsIn(f.place) {
				continue // the entry point's own comes in its place
			}
		}
		all = append(all, f)
	}
	slices.SortStableFunc(all, func(a, b installed) int { return rank(a.name) - rank(b.name) })
	return all, nil
}

// generated are the files that an installer makes, but RECORD.
func (w *Wheel) generated(t Target) map[string]content {
	out := map[string]content{}
	all := w.commands(t.Python)
	for _, name := range sortedNames(all) {
		out[t.Prefix+"/bin/"+name] = content{t.script(all[name]), true}
	}
	info := path.Join(t.library(), w.info)
	out[info+"/INSTALLER"] = content{[]byte(t.Installer + "\n"), false}
	if !w.Dependency {
		out[info+"/REQUESTED"] = content{nil, false}
	}
	return out
}

// relative is a place as RECORD has it.
func relative(t Target, place string) string {
	rel, err := filepath.Rel(filepath.FromSlash(t.library()), filepath.FromSlash(place))
	if err != nil {
		return place
	}
	return filepath.ToSlash(rel)
}

// Files are the files of the wheel where it is installed at t, sorted by path: without RECORD and byte code, which are
// written last. Size and CRC of a script are those in the archive, though its
// first line may be written anew.
func (w *Wheel) Files(t Target) ([]File, error) {
	p, err := w.placeAt(t)
	if err != nil {
		return nil, err
	}
	out := make([]File, 0, len(p.files)+len(p.made))
	for _, f := range p.files {
		out = append(out, File{f.place, f.size, f.executable(), f.crc, w.title()})
	}
	for place, c := range p.made {
		out = append(out, File{place, int64(len(c.data)), c.executable, crc32.ChecksumIEEE(c.data), w.title()})
	}
	slices.SortFunc(out, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}

func (w *Wheel) placeAt(t Target) (*placed, error) {
	err := t.check()
	if err != nil {
		return nil, err
	}
	p, err := w.place(t)
	if err != nil {
		return nil, fmt.Errorf("wheel %s %s: %w", w.Name, w.Version, err)
	}
	return p, nil
}

// Conflict is a path that two wheels bring with different content.
type Conflict struct {
	Path          string // absolute
	First, Second string // the wheels as NAME VERSION; Second's file is the one that stays
}

// Conflicts are the files that several of the wheels bring with different content, where they are installed at t in
// this order, sorted by path. pip lets the later wheel overwrite the file. Wheels may lie in several layers: the
// later's layer has to come above the earlier's, then. Content is compared by size, CRC-32, and the hashes in RECORD.
func Conflicts(t Target, wheels ...*Wheel) ([]Conflict, error) {
	g, err := newGroup(t, wheels)
	if err != nil {
		return nil, fmt.Errorf("compare wheels: %w", err)
	}
	return g.conflicts, nil
}

// group is some wheels in the order in which they are installed.
type group struct {
	t         Target
	wheels    []*placed
	owner     map[string]*placed // of the file that stays, by place
	conflicts []Conflict
}

// sum is what the content of files is compared by.
type sum struct {
	size int64
	crc  uint32
	hash string // of RECORD; "": it has none
}

// differs tells whether contents differ. Hashes of two kinds tell nothing.
func (s sum) differs(o sum) bool {
	kind, _, _ := strings.Cut(s.hash, "=")
	return s.size != o.size || s.crc != o.crc || s.hash != o.hash && strings.HasPrefix(o.hash, kind+"=")
}

// sums are those of a wheel's files by place. RECORD counts as none.
func (p *placed) sums() map[string]sum {
	hashes := make(map[string]string, len(p.Wheel.record))
	for _, r := range p.Wheel.record {
		hashes[r.path] = strings.TrimRight(r.hash, "=")
	}
	out := make(map[string]sum, len(p.files)+len(p.made))
	for _, f := range p.files {
		out[f.place] = sum{f.size, f.crc, hashes[f.name]}
	}
	for place, c := range p.made {
		out[place] = sum{int64(len(c.data)), crc32.ChecksumIEEE(c.data), ""}
	}
	out[p.record] = sum{size: -1}
	return out
}

// newGroup places wheels, and decides which wheel's file stays.
func newGroup(t Target, wheels []*Wheel) (*group, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	if len(wheels) == 0 {
		return nil, errNoWheels
	}
	g := &group{t: t, owner: map[string]*placed{}}
	names, sums := map[string]bool{}, map[string]sum{}
	for _, w := range wheels {
		p, err := w.placeAt(t)
		if err != nil {
			return nil, err
		}
		if name := normalized(w.Name); names[name] {
			return nil, fmt.Errorf("wheel %s %s: there is another wheel of this project", w.Name, w.Version)
		}
		names[normalized(w.Name)] = true
		g.wheels = append(g.wheels, p)
		own := p.sums()
		for _, place := range slices.Sorted(maps.Keys(own)) {
			if first := g.owner[place]; first != nil && sums[place].differs(own[place]) {
				g.conflicts = append(g.conflicts, Conflict{place, first.title(), p.title()})
			}
			g.owner[place], sums[place] = p, own[place]
		}
	}
	slices.SortStableFunc(g.conflicts, func(a, b Conflict) int { return strings.Compare(a.Path, b.Path) })
	return g, g.checkDirectories()
}

// checkDirectories refuses a path that is a file and a directory.
func (g *group) checkDirectories() error {
	seen := map[string]bool{}
	for place, p := range g.owner {
		for dir := path.Dir(place); !seen[dir]; dir = path.Dir(dir) {
			if other := g.owner[dir]; other != nil {
				return fmt.Errorf("%q is a file of wheel %s and a directory of %s", dir, other.title(), p.title())
			}
			seen[dir] = true
		}
	}
	return nil
}

func (w *Wheel) title() string { return w.Name + " " + w.Version }
