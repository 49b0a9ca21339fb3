package main

import (
	"cmp"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// spec is a MatchSpec: a package's name and what its version and build have to be.
type spec struct {
	text, name, version, build, channel string
}

var (
	specPattern    = regexp.MustCompile(`^([A-Za-z0-9_.*-]+?)\s*([=<>!~ ].*)?$`)
	spaceAfter     = regexp.MustCompile(`([=<>!~,|])\s+`)
	spaceBefore    = regexp.MustCompile(`\s+([,|])`)
	bracketPattern = regexp.MustCompile(`(\w+)=(?:'([^']*)'|"([^"]*)"|([^'",\]\s]+))`)
)

// parseSpec reads the forms that conda documents: name, name=1.2, name==1.2=build, "name >=1,<2
// build", channel::name, name[version='…'].
func parseSpec(text string) (spec, error) {
	s := spec{text: text}
	rest := strings.TrimSpace(text)
	if ch, after, ok := strings.Cut(rest, "::"); ok {
		s.channel, rest = ch, after
	}
	if i := strings.IndexByte(rest, '['); i >= 0 && strings.HasSuffix(rest, "]") {
		for _, m := range bracketPattern.FindAllStringSubmatch(rest[i+1:len(rest)-1], -1) {
			switch value := m[2] + m[3] + m[4]; m[1] {
			case "version":
				s.version = value
			case "build":
				s.build = value
			case "channel":
				s.channel = value
			}
		}
		rest = rest[:i]
	}
	m := specPattern.FindStringSubmatch(strings.TrimSpace(rest))
	if m == nil {
		return s, newError("InvalidMatchSpec", "Invalid spec '%s': no package name", text)
	}
	s.name = strings.ToLower(m[1])
	v := strings.TrimSpace(m[2])
	if v == "" {
		return s, nil
	}
	// Spaces may follow operators and commas; another space, or a "=" after the version, sets off the build.
	v = spaceAfter.ReplaceAllString(v, "$1")
	v = spaceBefore.ReplaceAllString(v, "$1")
	version, build, _ := strings.Cut(v, " ")
	if build == "" {
		if i := strings.LastIndexByte(version, '='); i > 0 && !strings.ContainsRune("=<>!~,|", rune(version[i-1])) {
			version, build = version[:i], version[i+1:]
		}
	}
	// One "=" alone is fuzzy: =1.2 is 1.2.*.
	if strings.HasPrefix(version, "=") && !strings.HasPrefix(version, "==") {
		version = version[1:]
		if build == "" && !strings.HasSuffix(version, "*") && !strings.ContainsAny(version, ",|<>") {
			version += ".*"
		}
	}
	s.version, s.build = version, strings.TrimSpace(build)
	return s, nil
}

func (s spec) matches(name, version, build string) bool {
	if s.name != name {
		return false
	}
	if s.build != "" {
		if ok, err := path.Match(s.build, build); err != nil || !ok {
			return false
		}
	}
	return matchVersion(s.version, version)
}

// matchVersion is a version constraint: "|" joins alternatives, "," what must hold together.
func matchVersion(constraint, version string) bool {
	if constraint == "" || constraint == "*" {
		return true
	}
	for alt := range strings.SplitSeq(constraint, "|") {
		all := true
		for one := range strings.SplitSeq(alt, ",") {
			all = all && matchOne(strings.TrimSpace(one), version)
		}
		if all {
			return true
		}
	}
	return false
}

func matchOne(c, version string) bool {
	if c == "" || c == "*" {
		return true
	}
	op := ""
	for _, o := range []string{"==", "!=", "<=", ">=", "~=", "<", ">", "="} {
		if strings.HasPrefix(c, o) {
			op, c = o, strings.TrimSpace(c[len(o):])
			break
		}
	}
	star := strings.HasSuffix(c, "*")
	c = strings.TrimSuffix(strings.TrimSuffix(c, "*"), ".")
	switch op {
	case "", "==", "!=", "=":
		equal := compareVersions(version, c) == 0
		if star || op == "=" {
			equal = equal || startsWith(version, c)
		}
		return equal != (op == "!=")
	case "~=":
		i := strings.LastIndexByte(c, '.')
		return i > 0 && compareVersions(version, c) >= 0 && startsWith(version, c[:i])
	}
	d := compareVersions(version, c)
	switch op {
	case "<":
		return d < 0
	case "<=":
		return d <= 0
	case ">":
		return d > 0
	}
	return d >= 0
}

// startsWith says whether the parts of a version begin with those of another.
func startsWith(version, start string) bool {
	v, s := versionParts(version), versionParts(start)
	if len(s) > len(v) {
		return false
	}
	for i := range s {
		if comparePart(v[i], s[i]) != 0 {
			return false
		}
	}
	return true
}

var partPattern = regexp.MustCompile(`[0-9]+|[*]+|[^0-9*]+`)

// versionParts splits a version as conda orders them: at dots, dashes and underscores, and between letters and digits.
func versionParts(v string) [][]string {
	var out [][]string
	for _, p := range strings.FieldsFunc(strings.ToLower(v),
		func(r rune) bool { return r == '.' || r == '-' || r == '_' }) {
		runs := partPattern.FindAllString(p, -1)
		if len(runs) > 0 && (runs[0][0] < '0' || runs[0][0] > '9') {
			runs = append([]string{"0"}, runs...)
		}
		out = append(out, runs)
	}
	return out
}

// compareVersions orders versions: dev before letters before numbers before post; missing parts
// count as 0. An epoch ("1!") weighs most, a local version ("+x") least.
func compareVersions(a, b string) int {
	ae, a := epoch(a)
	be, b := epoch(b)
	if ae != be {
		return cmp.Compare(ae, be)
	}
	a, al, _ := strings.Cut(a, "+")
	b, bl, _ := strings.Cut(b, "+")
	if d := compareParts(versionParts(a), versionParts(b)); d != 0 {
		return d
	}
	return compareParts(versionParts(al), versionParts(bl))
}

func epoch(v string) (int, string) {
	if e, rest, ok := strings.Cut(v, "!"); ok {
		n, _ := strconv.Atoi(e)
		return n, rest
	}
	return 0, v
}

func compareParts(a, b [][]string) int {
	for i := range max(len(a), len(b)) {
		var x, y []string
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if d := comparePart(x, y); d != 0 {
			return d
		}
	}
	return 0
}

func comparePart(a, b []string) int {
	for i := range max(len(a), len(b)) {
		x, y := "0", "0"
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if d := compareRun(x, y); d != 0 {
			return d
		}
	}
	return 0
}

func compareRun(a, b string) int {
	rank := func(s string) int {
		switch {
		case s == "dev":
			return 0
		case s == "post":
			return 3
		case s[0] >= '0' && s[0] <= '9':
			return 2
		}
		return 1
	}
	if d := cmp.Compare(rank(a), rank(b)); d != 0 {
		return d
	}
	if rank(a) == 2 {
		a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
	}
	return cmp.Compare(a, b)
}
