package pylock

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// version is a version of PEP 440.
type version struct {
	epoch   int
	release []int
	pre     string // "a", "b" or "rc"; "" for none
	preN    int
	post    int // -1 for none
	dev     int // -1 for none
	local   []string
}

// lazy compiles an expression when it is first used.
func lazy(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

//nolint:gochecknoglobals // compiled once, when it is used
var (
	pep440 = lazy(`^v?(?:([0-9]+)!)?([0-9]+(?:\.[0-9]+)*)` +
		`(?:[-_.]?(alpha|beta|preview|pre|rc|a|b|c)[-_.]?([0-9]*))?` +
		`(?:-([0-9]+)|[-_.]?(post|rev|r)[-_.]?([0-9]*))?(?:[-_.]?(dev)[-_.]?([0-9]*))?` +
		`(?:\+([a-z0-9]+(?:[-_.][a-z0-9]+)*))?$`)
	clause = lazy(`^\s*(===|~=|==|!=|<=|>=|<|>)\s*(.*?)\s*$`)
)

// parseVersion reads a version; ok is false for what is none.
func parseVersion(s string) (v version, ok bool) {
	m := pep440().FindStringSubmatch(strings.ToLower(strings.TrimSpace(s)))
	if m == nil {
		return v, false
	}
	ok = true
	number := func(s string) int {
		if s == "" {
			return 0
		}
		n, err := strconv.Atoi(s)
		ok = ok && err == nil
		return n
	}
	v.epoch = number(m[1])
	for _, part := range strings.Split(m[2], ".") {
		v.release = append(v.release, number(part))
	}
	switch m[3] {
	case "":
	case "a", "alpha":
		v.pre = "a"
	case "b", "beta":
		v.pre = "b"
	default:
		v.pre = "rc"
	}
	v.preN, v.post, v.dev = number(m[4]), -1, -1
	if m[5] != "" || m[6] != "" {
		v.post = number(m[5] + m[7])
	}
	if m[8] != "" {
		v.dev = number(m[9])
	}
	if m[10] != "" {
		v.local = strings.FieldsFunc(m[10], func(r rune) bool { return strings.ContainsRune("-_.", r) })
	}
	return v, ok
}

// prerelease tells whether it comes before its release.
func (v version) prerelease() bool { return v.pre != "" || v.dev >= 0 }

// public is the version without its local part.
func (v version) public() version {
	v.local = nil
	return v
}

// compare orders versions as PEP 440 does.
func (v version) compare(w version) int {
	for i := range max(len(v.release), len(w.release)) {
		if c := cmp.Compare(at(v.release, i), at(w.release, i)); c != 0 && v.epoch == w.epoch {
			return c
		}
	}
	return cmp.Or(cmp.Compare(v.epoch, w.epoch), cmp.Compare(v.stage(), w.stage()), cmp.Compare(v.preN, w.preN),
		cmp.Compare(v.post, w.post), cmp.Compare(v.devRank(), w.devRank()), compareLocal(v.local, w.local))
}

func at(release []int, i int) int {
	if i < len(release) {
		return release[i]
	}
	return 0
}

// stage is where the version is between its release's first development and what follows it.
func (v version) stage() int {
	switch {
	case v.pre != "":
		return slices.Index([]string{"a", "b", "rc"}, v.pre)
	case v.post < 0 && v.dev >= 0:
		return -1
	}
	return 3
}

// devRank puts a version behind its development releases.
func (v version) devRank() int {
	if v.dev < 0 {
		return int(^uint(0) >> 1)
	}
	return v.dev
}

func compareLocal(a, b []string) int {
	for i := range min(len(a), len(b)) {
		x, errX := strconv.Atoi(a[i])
		y, errY := strconv.Atoi(b[i])
		var c int
		switch {
		case errX == nil && errY == nil:
			c = cmp.Compare(x, y)
		case errX == nil:
			c = 1 // numbers come after words
		case errY == nil:
			c = -1
		default:
			c = cmp.Compare(a[i], b[i])
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

// Specifier is a set of versions as PEP 440 writes it, such as ">=1.0,<2". The empty one has all versions.
type Specifier string

// Has tells whether the set has a version. Pre-releases count like other versions. ok is false if the specifier or
// the version cannot be read.
func (s Specifier) Has(text string) (has, ok bool) {
	v, ok := parseVersion(text)
	has = true
	for _, c := range strings.Split(string(s), ",") {
		if strings.TrimSpace(c) == "" {
			continue
		}
		m := clause().FindStringSubmatch(c)
		if m == nil {
			return false, false
		}
		if m[1] == "===" {
			has = has && strings.EqualFold(strings.TrimSpace(text), m[2])
			continue
		}
		in, readable := v.in(m[1], m[2])
		has, ok = has && in, ok && readable
	}
	return has && ok, ok
}

// in tells whether the version is in one clause.
func (v version) in(op, text string) (in, ok bool) {
	stem, wild := strings.CutSuffix(text, ".*")
	w, ok := parseVersion(stem)
	if !ok || wild && op != "==" && op != "!=" {
		return false, false
	}
	same := func() bool {
		switch {
		case wild:
			return v.begins(w, len(w.release))
		case w.local == nil:
			return v.public().compare(w) == 0
		}
		return v.compare(w) == 0
	}
	base := v.epoch == w.epoch && v.begins(w, max(len(v.release), len(w.release)))
	switch op {
	case "==":
		return same(), true
	case "!=":
		return !same(), true
	case "<=":
		return v.public().compare(w) <= 0, true
	case ">=":
		return v.public().compare(w) >= 0, true
	case "<":
		return v.compare(w) < 0 && (w.prerelease() || !v.prerelease() || !base), true
	case ">":
		before := v.public() // neither a post-release of w nor a local version of it is after w
		if w.post < 0 {
			before.post, before.dev = -1, -1
		}
		return v.compare(w) > 0 && before.compare(w) != 0, true
	case "~=":
		return len(w.release) > 1 && v.public().compare(w) >= 0 && v.begins(w, len(w.release)-1), len(w.release) > 1
	}
	return false, false
}

// begins tells whether the first n numbers of two releases are the same.
func (v version) begins(w version, n int) bool {
	for i := range n {
		if at(v.release, i) != at(w.release, i) {
			return false
		}
	}
	return v.epoch == w.epoch
}

// CompareVersions orders two versions of PEP 440. ok is false if one of them is none.
func CompareVersions(a, b string) (c int, ok bool) {
	v, okV := parseVersion(a)
	w, okW := parseVersion(b)
	return v.compare(w), okV && okW
}
