package pylock

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Picker picks the files of packages for one target. It is safe for concurrent use.
type Picker struct {
	target Target
	rank   map[Tag]int
}

// NewPicker makes a picker for the target. It is an error if the target is not complete.
func NewPicker(t Target) (*Picker, error) {
	tags, err := t.Tags()
	if err != nil {
		return nil, err
	}
	p := &Picker{target: t, rank: make(map[Tag]int, len(tags))}
	for i, tag := range tags {
		p.rank[tag] = i
	}
	return p, nil
}

// NoFileError says that a package has no file for a target.
type NoFileError struct {
	// Name and Version of the package.
	Name, Version string
	// Target that there is no file for.
	Target Target
	// Files that there are; none where the package is no file at all.
	Files []string
	// Other says what the package is where it is no file of an index, else "".
	Other string
}

// Error names the package and what there is.
func (e *NoFileError) Error() string {
	what := fmt.Sprintf("pick a file of %s %s for Python %s on %s with glibc %s", e.Name, e.Version, e.Target.Python,
		e.Target.Platform, e.Target.Glibc)
	switch {
	case e.Other != "":
		return fmt.Sprintf("%s: it comes from %s and not from a file", what, e.Other)
	case len(e.Files) == 0:
		return what + ": there is none"
	}
	return fmt.Sprintf("%s: there is only %s", what, shorten(e.Files, 5))
}

// shorten lists the first names, and says how many more there are.
func shorten(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// Pick gives the file of a package that the target installs: its archive, else the wheel with the best tag, and of
// equal ones that with the highest build number, else its sdist. It does not look at Marker and RequiresPython.
// The error is a *NoFileError if nothing fits.
func (p *Picker) Pick(pkg Package) (File, error) {
	if pkg.Archive != nil {
		if _, ok := p.fits(pkg.Archive.Name); ok || !strings.HasSuffix(pkg.Archive.Name, ".whl") {
			return *pkg.Archive, nil
		}
	}
	var best *File
	var bestFit fit
	var have []string
	for i := range pkg.Wheels {
		f, ok := p.fits(pkg.Wheels[i].Name)
		if ok && (best == nil || f.better(bestFit)) {
			best, bestFit = &pkg.Wheels[i], f
		}
		have = append(have, pkg.Wheels[i].Name)
	}
	if best == nil {
		best = pkg.Sdist
	}
	if best == nil {
		if pkg.Archive != nil {
			have = append(have, pkg.Archive.Name)
		}
		return File{}, &NoFileError{Name: pkg.Name, Version: pkg.Version, Target: p.target, Files: have,
			Other: pkg.Other}
	}
	return *best, nil
}

// fit is how well a wheel fits.
type fit struct {
	rank  int // of its best tag; 0 is the best
	build int
	rest  string // of the build tag, behind its number
}

func (f fit) better(than fit) bool {
	return cmp.Or(cmp.Compare(than.rank, f.rank), cmp.Compare(f.build, than.build), cmp.Compare(f.rest, than.rest)) > 0
}

// fits tells how well the wheel with a file name fits; ok is false where it does not.
func (p *Picker) fits(name string) (f fit, ok bool) {
	w, err := ParseWheelName(name)
	if err != nil {
		return f, false
	}
	f.rank = -1
	for _, tag := range w.Tags() {
		if r, has := p.rank[tag]; has && (f.rank < 0 || r < f.rank) {
			f.rank = r
		}
	}
	digits := len(w.Build) - len(strings.TrimLeft(w.Build, "0123456789"))
	f.build, _ = strconv.Atoi(w.Build[:digits]) // ParseWheelName has seen to it
	f.rest = w.Build[digits:]
	if w.Build == "" {
		f.build = -1 // no build tag sorts before all others
	}
	return f, f.rank >= 0
}

// WheelName is a wheel's file name, taken apart.
type WheelName struct {
	// Distribution and Version as the name has them.
	Distribution, Version string
	// Build tag; "" for none.
	Build string
	// Interpreters, ABIs and Platforms are the parts of the compressed tag set.
	Interpreters, ABIs, Platforms []string
}

// ParseWheelName takes a wheel's file name apart: distribution-version(-build)?-interpreter-abi-platform.whl
// (https://packaging.python.org/en/latest/specifications/binary-distribution-format/#file-name-convention).
func ParseWheelName(name string) (WheelName, error) {
	stem, ok := strings.CutSuffix(name, ".whl")
	parts := strings.Split(stem, "-")
	if !ok || len(parts) != 5 && len(parts) != 6 || slices.Contains(parts, "") {
		return WheelName{}, fmt.Errorf("read wheel name %q: want NAME-VERSION-PYTHON-ABI-PLATFORM.whl", name)
	}
	w := WheelName{Distribution: parts[0], Version: parts[1]}
	if len(parts) == 6 {
		w.Build = parts[2]
		digits := len(w.Build) - len(strings.TrimLeft(w.Build, "0123456789"))
		if _, err := strconv.Atoi(w.Build[:digits]); err != nil {
			return WheelName{}, fmt.Errorf("read wheel name %q: build tag %q does not begin with a number",
				name, w.Build)
		}
	}
	last := parts[len(parts)-3:]
	w.Interpreters, w.ABIs, w.Platforms = strings.Split(last[0], "."), strings.Split(last[1], "."),
		strings.Split(last[2], ".")
	return w, nil
}

// Tags are all tags of the wheel.
func (w WheelName) Tags() []Tag {
	var out []Tag
	for _, i := range w.Interpreters {
		for _, a := range w.ABIs {
			for _, p := range w.Platforms {
				out = append(out, Tag{strings.ToLower(i), strings.ToLower(a), strings.ToLower(p)})
			}
		}
	}
	return out
}
