package cluster

import (
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/reference"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

// Grammars of the strings in a cluster.yaml. None admits a control character, a space at its start or a leading '-',
// and every value travels as a field of an API call or one element of an argv: no shell ever reads one.
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
	labelKeyGrammar = newGrammar(
		`^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`)
	labelGrammar  = newGrammar(`^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$`)
	argGrammar    = newGrammar(`^(--[a-z][a-z0-9-]*)(=[^\x00-\x1f\x7f]*)?$`)
	idGrammar     = newGrammar(`^[0-9a-f]{32}$`)
	intGrammar    = newGrammar(`^[0-9]{1,18}$`)
	numberGrammar = newGrammar(`^[0-9]{1,9}(\.[0-9]{1,4})?$`)
	portsGrammar  = newGrammar(`^[0-9]{1,18}-[0-9]{1,18}$`)
	sizeGrammar   = newGrammar(`^([0-9]{1,15})(\.[0-9]{1,3})?\s?([kmgtKMGT]?)(i?[bB])?$`)
	// These are wider than what is checked; they are what a JSON Schema says.
	hostsGrammar   = newGrammar(`^(` + hostExpr(rangeExpr) + `|unix://([A-Za-z0-9._/@+=~,%-]|` + rangeExpr + `)*)?$`)
	jumpGrammar    = newGrammar(`^` + hostExpr(`[0-9]`) + `(,` + hostExpr(`[0-9]`) + `)*$`)
	addressGrammar = newGrammar(`^[0-9A-Fa-f.:]+$`)
	allowGrammar   = newGrammar(`^[0-9A-Fa-f.:/-]+$`)
	addressesRange = newGrammar(`^[0-9A-Fa-f.:\[][0-9A-Fa-f.:\[\],-]*$`)
	publicGrammar  = newGrammar(`^([0-9A-Fa-f.:]+|unknown)$`)
)

// rangeExpr is a range such as [2-9] or [01,03-12].
const rangeExpr = `\[[0-9]{1,9}(-[0-9]{1,9})?(,[0-9]{1,9}(-[0-9]{1,9})?)*\]`

// hostExpr is the expression of a host that SSH reaches. one is what may stand in the place of a digit, too.
func hostExpr(one string) string {
	user := `([A-Za-z_]|` + one + `)([A-Za-z0-9._-]|` + one + `)*@`
	name := `([A-Za-z0-9_]|` + one + `)([A-Za-z0-9._-]|` + one + `)*`
	return `(ssh://)?(` + user + `)?(` + name + `|\[[0-9A-Fa-f.:]+\])(:([0-9]|` + one + `)+)?`
}

// grammar is a regular expression that is compiled when it is used first.
type grammar struct {
	text string
	re   func() *regexp.Regexp
}

func newGrammar(text string) grammar { return grammar{text, strictyaml.Regexp(text)} }

// MatchString is that of the regular expression.
func (g grammar) MatchString(s string) bool { return g.re().MatchString(s) }

// FindStringSubmatch is that of the regular expression.
func (g grammar) FindStringSubmatch(s string) []string { return g.re().FindStringSubmatch(s) }

// words is the grammar for the reader: what names such a string, fix says what would be right. A plain true or false
// is text, too.
func (g grammar) words(what, fix string) strictyaml.Grammar {
	return g.checked(what, func(s string) (string, string) {
		if !g.MatchString(s) {
			return fmt.Sprintf("%q is not %s", clip(s), what), fix
		}
		return "", ""
	})
}

// checked is the grammar with a check that may take less.
func (g grammar) checked(what string, check func(s string) (message, fix string)) strictyaml.Grammar {
	expr := strings.TrimSuffix(strings.TrimPrefix(g.text, "^"), "$")
	return strictyaml.Grammar{What: what, Pattern: expr, Check: check, Bools: true}
}

// parseSize reads an amount of memory as Docker does: a number and an optional unit k, m, g or t,
// each 1024 of the one before.
func parseSize(s string) (int64, error) {
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

// sizeValue reads an amount of memory, of at least some bytes. least is that amount as a user writes it, why the
// reason.
func sizeValue(dst *int64, bytes int64, least, why string) strictyaml.Value {
	g := sizeGrammar.checked("a size, such as `8g`", func(s string) (string, string) {
		v, err := parseSize(s)
		switch {
		case err != nil:
			return fmt.Sprintf("%q is not a size", clip(s)), "write bytes, or a number with k, m, g or t, such " +
				"as 1000m or 8g"
		case v < bytes:
			return fmt.Sprintf("%q is %s", clip(s), why), "write " + least
		}
		return "", ""
	})
	return strictyaml.Each(g, func(s string) { *dst, _ = parseSize(s) })
}

// portRangeValue reads "10002-10999".
func portRangeValue(first, last *int) strictyaml.Value {
	split := func(s string) (int, int) {
		a, b, _ := strings.Cut(s, "-")
		low, _ := strconv.Atoi(a) // of its grammar
		high, _ := strconv.Atoi(b)
		return low, high
	}
	g := portsGrammar.checked("a range of ports", func(s string) (string, string) {
		const fix = "write a range such as 10002-10999"
		low, high := split(s)
		switch {
		case !portsGrammar.MatchString(s):
			return fmt.Sprintf("%q is not a range of ports", clip(s)), fix
		case low < 1 || high > 65535 || high-low < 9:
			return fmt.Sprintf("%q is too small or not between 1 and 65535", clip(s)),
				fix + ", at least ten ports between 1 and 65535"
		}
		return "", ""
	})
	return strictyaml.Each(g, func(s string) { *first, *last = split(s) })
}

// parseAddress reads the address of one machine.
func parseAddress(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	ok := err == nil && a.Zone() == "" && !a.IsUnspecified() && !a.IsMulticast()
	return a.Unmap(), ok
}

// addressValue reads an IP address.
func addressValue(set func(netip.Addr)) strictyaml.Value {
	g := addressGrammar.checked("an IP address", func(s string) (string, string) {
		if _, ok := parseAddress(s); !ok {
			return fmt.Sprintf("%q is not the IP address of one machine", clip(s)),
				"write one such as 10.0.0.5 or fd00::5"
		}
		return "", ""
	})
	return strictyaml.Each(g, func(s string) {
		a, _ := parseAddress(s)
		set(a)
	})
}

// allowValue reads a port, a range of ports, an address or a network.
func allowValue(dst *Allow) strictyaml.Value {
	g := allowGrammar.checked("a port, a range of ports, an address or a network", func(s string) (string, string) {
		if _, _, ok := parseAllow(s); !ok {
			return fmt.Sprintf("%q is no port, range of ports, address or network", clip(s)),
				"write one such as 8000, 9000-9100, 10.1.2.3 or 10.1.0.0/16"
		}
		return "", ""
	})
	return strictyaml.Each(g, func(s string) {
		port, from, _ := parseAllow(s)
		if from.IsValid() {
			dst.From = append(dst.From, from)
			return
		}
		dst.Ports = append(dst.Ports, port)
	})
}

// parseAllow reads one item of allow. The network is not valid if it is ports.
func parseAllow(s string) (PortRange, netip.Prefix, bool) {
	if p, ok := parsePorts(s); ok {
		return p, netip.Prefix{}, true
	}
	if a, ok := parseAddress(s); ok {
		return PortRange{}, netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	return PortRange{}, p, err == nil && p == p.Masked() && !p.Addr().Is4In6()
}

// durationValue reads a time to wait.
func durationValue(dst *time.Duration) strictyaml.Value {
	g := strictyaml.Grammar{What: "a time, such as `2m`", Pattern: `[+]?([0-9]*\.?[0-9]*(ns|us|µs|μs|ms|s|m|h))+`,
		Check: func(s string) (string, string) {
			if v, err := time.ParseDuration(s); err != nil || v < time.Second || v > 24*time.Hour {
				return fmt.Sprintf("%q is not a time", clip(s)), "write a time from 1s to 24h, such as 2m"
			}
			return "", ""
		}}
	return strictyaml.Each(g, func(s string) { *dst, _ = time.ParseDuration(s) })
}

// imageReference is the grammar of an image.
func imageReference() strictyaml.Grammar {
	return strictyaml.Grammar{What: "an image reference",
		Pattern: strictyaml.CommonSyntax(reference.ReferenceRegexp.String()), Bools: true,
		Check: func(s string) (string, string) {
			if _, err := reference.ParseNormalizedNamed(s); err != nil {
				return fmt.Sprintf("%q: %v", clip(s), err),
					"write a reference such as registry.example/ray@sha256:… (lower case, digest of 64 hex digits)"
			}
			return "", ""
		}}
}

// cleanPath says whether an absolute path has no "..", "." or empty elements.
func cleanPath(s string) bool { return pathGrammar.MatchString(s) && path.Clean(s) == s }

// absolutePath is the grammar of a path on a host or in a container.
func absolutePath() strictyaml.Grammar {
	return pathGrammar.checked("an absolute path", func(s string) (string, string) {
		if !cleanPath(s) || s == "/" {
			return fmt.Sprintf("%q is not a clean absolute path", clip(s)),
				"write an absolute path without .. and special characters"
		}
		return "", ""
	})
}
