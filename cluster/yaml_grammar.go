package cluster

import (
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
	"github.com/goccy/go-yaml/ast"
)

// Grammars of the strings in a cluster.yaml. None admits a control character, a space at its start or a leading '-', and every
// value travels as a field of an API call or one element of an argv: no shell ever reads one.
var (
	nameGrammar     = newGrammar(`^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$`)
	userGrammar     = newGrammar(`^[A-Za-z_][A-Za-z0-9._-]{0,31}$`)
	hostGrammar     = newGrammar(`^[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?$`)
	numericHost     = newGrammar(`^[0-9.]+$`)
	pathGrammar     = newGrammar(`^/[A-Za-z0-9._/@+=~,%-]*$`)
	keyGrammar      = newGrammar(`^[A-Za-z0-9._/~][A-Za-z0-9._/@+=~ -]*$`)
	volumeGrammar   = newGrammar(`^[A-Za-z0-9][A-Za-z0-9_.-]{1,63}$`)
	envGrammar      = newGrammar(`^[A-Za-z_][A-Za-z0-9_]*$`)
	resourceGrammar = newGrammar(`^[A-Za-z_][A-Za-z0-9_.:/-]{0,127}$`)
	labelKeyGrammar = newGrammar(`^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`)
	labelGrammar    = newGrammar(`^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$`)
	argGrammar      = newGrammar(`^(--[a-z][a-z0-9-]*)(=[^\x00-\x1f\x7f]*)?$`)
	intGrammar      = newGrammar(`^[0-9]{1,18}$`)
	numberGrammar   = newGrammar(`^[0-9]{1,9}(\.[0-9]{1,4})?$`)
	sizeGrammar     = newGrammar(`^([0-9]{1,15})(\.[0-9]{1,3})?\s?([kmgtKMGT]?)(i?[bB])?$`)
)

// grammar is a regular expression that is compiled when it is first used: together they cost every call of raybuild 3 ms, also
// those that read no cluster.yaml.
type grammar func() *regexp.Regexp

func newGrammar(text string) grammar {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}

// MatchString is that of the regular expression.
func (g grammar) MatchString(s string) bool { return g().MatchString(s) }

// FindStringSubmatch is that of the regular expression.
func (g grammar) FindStringSubmatch(s string) []string { return g().FindStringSubmatch(s) }

// match reads a string that has to fit a grammar.
func (d *decoder) match(n ast.Node, what string, g grammar, fix string) (string, bool) {
	s, ok := d.text(n, what)
	if ok && !g.MatchString(s) {
		d.bad(n, fix, "%s %q is not valid", what, clip(s))
		return "", false
	}
	return s, ok
}

// integer reads a whole number in a range.
func (d *decoder) integer(n ast.Node, what string, low, high int64) (int64, bool) {
	s, quoted := plain(n)
	v, err := strconv.ParseInt(s, 10, 64)
	if _, isInt := n.(*ast.IntegerNode); !isInt || quoted || !intGrammar.MatchString(s) || err != nil || v < low || v > high {
		d.bad(n, fmt.Sprintf("write a whole number from %d to %d", low, high), "%s is %s", what, shown(n))
		return 0, false
	}
	return v, true
}

// number reads an amount with at most four decimals, the granularity of Ray's resources.
func (d *decoder) number(n ast.Node, what string) (float64, bool) {
	s, quoted := plain(n)
	_, isInt := n.(*ast.IntegerNode)
	_, isFloat := n.(*ast.FloatNode)
	if quoted || !isInt && !isFloat || !numberGrammar.MatchString(s) {
		d.bad(n, "write a number such as 2 or 0.5, with at most four decimals", "%s is %s", what, shown(n))
		return 0, false
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		d.bad(n, "write a number such as 2 or 0.5", "%s is %s", what, shown(n))
		return 0, false
	}
	return v, true
}

func (d *decoder) boolean(n ast.Node, what string) bool {
	b, ok := n.(*ast.BoolNode)
	if !ok {
		d.bad(n, "write true or false", "%s is %s", what, shown(n))
		return false
	}
	return b.Value
}

// size reads an amount of memory: bytes, or with a unit as Docker takes it (1000m, 8g, 2GiB; 1024-based).
func (d *decoder) size(n ast.Node, what string) (int64, bool) {
	s, ok := d.text(n, what)
	if !ok {
		return 0, false
	}
	v, err := ParseSize(s)
	if err != nil {
		d.bad(n, "write bytes, or a number with k, m, g or t, such as 1000m or 8g", "%s %q is not a size", what, clip(s))
		return 0, false
	}
	return v, true
}

// ParseSize reads an amount of memory as Docker does: a number and an optional unit k, m, g or t, each 1024 of the one before.
func ParseSize(s string) (int64, error) {
	m := sizeGrammar.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("size %q: not a number with k, m, g or t", s)
	}
	v, err := strconv.ParseFloat(m[1]+m[2], 64)
	if err != nil {
		return 0, fmt.Errorf("size %q: %w", s, err)
	}
	v *= map[string]float64{"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}[strings.ToLower(m[3])]
	if v < 1 || v > 1<<50 {
		return 0, fmt.Errorf("size %q: not between one byte and 1024t", s)
	}
	return int64(v), nil
}

func (d *decoder) port(n ast.Node, what string) (int, bool) {
	v, ok := d.integer(n, what, 1, 65535)
	return int(v), ok
}

// portRange reads "10002-10999".
func (d *decoder) portRange(n ast.Node, what string) (first, last int, ok bool) {
	const fix = "write a range such as 10002-10999"
	s, ok := d.text(n, what)
	if !ok {
		return 0, 0, false
	}
	a, b, found := strings.Cut(s, "-")
	first, errA := strconv.Atoi(a)
	last, errB := strconv.Atoi(b)
	if !found || !intGrammar.MatchString(a) || !intGrammar.MatchString(b) || errA != nil || errB != nil {
		d.bad(n, fix, "%s %q is not a range of ports", what, clip(s))
		return 0, 0, false
	}
	if first < 1 || last > 65535 || last-first < 9 {
		d.bad(n, fix+", at least ten ports between 1 and 65535", "%s %q is too small or not between 1 and 65535", what, clip(s))
		return 0, 0, false
	}
	return first, last, true
}

func (d *decoder) addr(n ast.Node, what string) (netip.Addr, bool) {
	s, ok := d.text(n, what)
	if !ok {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
		d.bad(n, "write an IP address of one machine, such as 10.0.0.5 or fd00::5", "%s %q is not one", what, clip(s))
		return netip.Addr{}, false
	}
	return a.Unmap(), true
}

func (d *decoder) duration(n ast.Node, what string) time.Duration {
	s, ok := d.text(n, what)
	if !ok {
		return 0
	}
	v, err := time.ParseDuration(s)
	if err != nil || v < time.Second || v > 24*time.Hour {
		d.bad(n, "write a time from 1s to 24h, such as 2m", "%s %q is not one", what, clip(s))
		return 0
	}
	return v
}

// image reads an image reference.
func (d *decoder) image(n ast.Node) string {
	s, ok := d.text(n, "image")
	if !ok {
		return ""
	}
	if _, err := reference.ParseNormalizedNamed(s); err != nil {
		d.bad(n, "write a reference such as registry.example/ray@sha256:… (lower case, digest of 64 hex digits)", "image %q: %v", clip(s), err)
		return ""
	}
	return s
}

// cleanPath says whether an absolute path has no "..", "." or empty elements.
func cleanPath(s string) bool { return pathGrammar.MatchString(s) && path.Clean(s) == s }

// shown is a node's text, or its kind when it has none, for a message.
func shown(n ast.Node) string {
	switch n.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		s, _ := plain(n)
		return strconv.Quote(clip(s))
	}
	return kind(n)
}
