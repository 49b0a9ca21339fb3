package cluster

import (
	"bytes"
	"strings"
)

// glob is a pattern of a .gitignore file, compiled by git's own rules (git wildmatch.c). It works on bytes, as git
// does, and takes a time of pattern times path at most, whatever the pattern.
type glob []globStep

// globStep takes one byte of a path, or any number of bytes.
type globStep struct {
	takes [256]bool
	again bool // any number, also none
	jump  int  // it takes nothing, and leads to the next step and to the one that is so far away; 0: no
}

// match says whether the glob takes a whole path.
func (g glob) match(path string) bool {
	now, next := make([]bool, len(g)+1), make([]bool, len(g)+1)
	g.enter(now, 0)
	for i := range len(path) {
		clear(next)
		for at := range g {
			switch {
			case !now[at] || !g[at].takes[path[i]]:
			case g[at].again:
				g.enter(next, at)
			default:
				g.enter(next, at+1)
			}
		}
		now, next = next, now
	}
	return now[len(g)]
}

// enter marks a step as reached, and those that are reached from it without taking a byte.
func (g glob) enter(reached []bool, at int) {
	if reached[at] {
		return
	}
	reached[at] = true
	if at == len(g) {
		return
	}
	if g[at].again || g[at].jump > 0 {
		g.enter(reached, at+1)
	}
	if g[at].jump > 0 {
		g.enter(reached, at+g[at].jump)
	}
}

// compileGlob compiles a pattern. It says false if the pattern is broken and so matches nothing.
func compileGlob(pattern string) (glob, bool) {
	var g glob
	literal := strings.IndexAny(pattern, `*?[\`) // git compares what is before this as it is
	for i := 0; i < len(pattern); i++ {
		var s globStep
		switch c := pattern[i]; c {
		case '*':
			var steps glob
			steps, i = stars(pattern, i, literal)
			g = append(g, steps...)
			continue
		case '?':
			s.takes = allBut('/')
		case '[':
			set, end, ok := bracket(pattern, i)
			if !ok {
				return nil, false
			}
			s.takes, i = set, end
		case '\\':
			if i++; i == len(pattern) {
				return nil, false
			}
			s.takes[pattern[i]] = true
		default:
			s.takes[c] = true
		}
		g = append(g, s)
	}
	return g, true
}

// stars compiles the stars that begin at i, and returns the index of their last byte.
func stars(pattern string, i, literal int) (glob, int) {
	end := i
	for end < len(pattern) && pattern[end] == '*' {
		end++
	}
	rest := pattern[end:]
	// Two or more are special only between slashes. git forgets what is before the first special byte, so that
	// "foo**/bar" is special, too.
	if end-i < 2 || i != literal && pattern[i-1] != '/' ||
		rest != "" && !strings.HasPrefix(rest, "/") && !strings.HasPrefix(rest, `\/`) {
		return glob{{again: true, takes: allBut('/')}}, end - 1
	}
	all := globStep{again: true, takes: allBut(0)}
	if !strings.HasPrefix(rest, "/") {
		return glob{all}, end - 1
	}
	slash := globStep{}
	slash.takes['/'] = true
	return glob{{jump: 3}, all, slash}, end // with the slash: there may be no directory at all
}

// allBut has all bytes but one. No path has a zero byte.
func allBut(c byte) (set [256]bool) {
	for i := range set {
		set[i] = byte(i) != c
	}
	return set
}

// bracket compiles the set that begins at i, and returns the index of its closing bracket.
func bracket(p string, i int) (set [256]bool, end int, ok bool) {
	at := func(i int) byte { // as in C, where a zero byte ends a string
		if i < len(p) {
			return p[i]
		}
		return 0
	}
	i++
	negated := at(i) == '!' || at(i) == '^'
	if negated {
		i++
	}
	var before byte // of a range
	for first := true; first || at(i) != ']'; i++ {
		first = false
		c := at(i)
		switch {
		case c == 0:
			return set, 0, false
		case c == '\\':
			i++
			if c = at(i); c == 0 {
				return set, 0, false
			}
			set[c] = true
		case c == '-' && before != 0 && at(i+1) != 0 && at(i+1) != ']':
			if i++; at(i) == '\\' {
				i++
			}
			if at(i) == 0 {
				return set, 0, false
			}
			for b := int(before); b <= int(at(i)); b++ {
				set[b] = true
			}
			c = 0
		case c == '[' && at(i+1) == ':':
			length := strings.IndexByte(p[i+2:], ']')
			if length < 0 {
				return set, 0, false
			}
			name, isClass := strings.CutSuffix(p[i+2:i+2+length], ":")
			if !isClass {
				set['['] = true
				break
			}
			in := classes()[name]
			if in == nil {
				return set, 0, false
			}
			for b := range set {
				set[b] = set[b] || b < 0x80 && in(byte(b))
			}
			i, c = i+2+length, 0
		default:
			set[c] = true
		}
		before = c
	}
	for b := range set {
		set[b] = set[b] != negated && b != '/'
	}
	return set, i, true
}

// classes are POSIX's classes of characters.
func classes() map[string]func(byte) bool {
	between := func(low, high byte) func(byte) bool { return func(b byte) bool { return b >= low && b <= high } }
	either := func(fs ...func(byte) bool) func(byte) bool {
		return func(b byte) bool {
			for _, f := range fs {
				if f(b) {
					return true
				}
			}
			return false
		}
	}
	of := func(s string) func(byte) bool { return func(b byte) bool { return bytes.IndexByte([]byte(s), b) >= 0 } }
	lower, upper, digit := between('a', 'z'), between('A', 'Z'), between('0', '9')
	alnum := either(lower, upper, digit)
	graph := between(0x21, 0x7e)
	return map[string]func(byte) bool{"alnum": alnum, "alpha": either(lower, upper), "blank": of(" \t"),
		"cntrl": either(between(0, 0x1f), of("\x7f")), "digit": digit, "graph": graph, "lower": lower,
		"print": between(0x20, 0x7e), "punct": func(b byte) bool { return graph(b) && !alnum(b) },
		"space": of(" \t\n\v\f\r"), "upper": upper, "xdigit": either(digit, between('a', 'f'), between('A', 'F'))}
}
