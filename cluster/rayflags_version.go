package cluster

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// version is a Ray version, ordered as PEP 440 orders those that Ray has published: release, then
// dev < a < b < rc < final < post.
type version struct {
	release []int
	pre     int // 0 development release, 1 a, 2 b, 3 rc, 4 final
	preN    int
	post    int // 0: none; post0 is 1
	dev     int // number of a development release; last when there is none
}

const noDev = 1 << 30

var versionGrammar = newGrammar(`^v?([0-9]{1,6}(?:\.[0-9]{1,6}){0,4})(?:[._-]?(a|b|rc)[._-]?([0-9]{1,6}))?` +
	`(?:[._-]?post([0-9]{1,6}))?(?:[._-]?dev([0-9]{1,6}))?(?:\+[A-Za-z0-9.]+)?$`)

// parseVersion reads a version of Ray such as 0.8.6, 1.0.1.post1, 2.52.0rc1 or 3.0.0.dev0.
func parseVersion(s string) (version, error) {
	m := versionGrammar.FindStringSubmatch(s)
	if m == nil {
		return version{}, fmt.Errorf("parse ray version %q: not a version such as 2.60.0", clip(s))
	}
	v := version{pre: 4, dev: noDev}
	for _, part := range strings.Split(m[1], ".") {
		v.release = append(v.release, digits(part))
	}
	if m[2] != "" {
		v.pre, v.preN = map[string]int{"a": 1, "b": 2, "rc": 3}[m[2]], digits(m[3])
	}
	if m[4] != "" {
		v.post = digits(m[4]) + 1
	}
	if m[5] != "" {
		v.dev = digits(m[5])
		if v.pre == 4 && v.post == 0 {
			v.pre = 0
		}
	}
	return v, nil
}

// digits is the value of up to six digits, which the grammar has checked.
func digits(s string) int {
	n := 0
	for _, c := range s {
		n = n*10 + int(c-'0')
	}
	return n
}

// compare orders two versions; missing numbers count as 0, so 2.48 is 2.48.0.
func (v version) compare(w version) int {
	n := max(len(v.release), len(w.release))
	pad := func(r []int) []int { return append(slices.Clone(r), make([]int, n-len(r))...) }
	return cmp.Or(slices.Compare(pad(v.release), pad(w.release)), cmp.Compare(v.pre, w.pre),
		cmp.Compare(v.preN, w.preN),
		cmp.Compare(v.post, w.post), cmp.Compare(v.dev, w.dev))
}

// atLeast says whether v is release major.minor or later. Pre-releases of it count: they have its options.
func (v version) atLeast(release ...int) bool { return slices.Compare(v.release, release) >= 0 }

// before says whether v comes before a release.
func (v version) before(release ...int) bool { return !v.atLeast(release...) }

// within says whether v is at or before the last version, patch releases of a last version without one included.
func (v version) within(last version) bool {
	head := v.release[:min(len(v.release), len(last.release))]
	return slices.Compare(head, last.release) <= 0
}

func (v version) String() string {
	parts := make([]string, len(v.release))
	for i, n := range v.release {
		parts[i] = strconv.Itoa(n)
	}
	return strings.Join(parts, ".")
}
