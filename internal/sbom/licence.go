package sbom

import (
	"regexp"
	"strings"
	"sync"

	"github.com/github/go-spdx/v2/spdxexp/spdxlicenses"
)

// licence is a licence expression, as SPDX writes it: names with AND, OR and parentheses between them.
type licence struct {
	words []string // names, operators and parentheses
	known bool     // all names are of SPDX's list
	names int
	whole string // the text, if it is no expression
}

// namesOf are other names of licences that mean one version of one licence: of Debian's copyright files (DEP-5, 7.2),
// and of packages of PyPI and conda that have no identifier.
//
//nolint:gochecknoglobals // made once, when it is used
var namesOf = sync.OnceValue(func() map[string]string {
	return map[string]string{
		"expat": "MIT", "mit license": "MIT", "the mit license": "MIT", "mit/expat": "MIT",
		"apache 2.0": "Apache-2.0", "apache 2": "Apache-2.0", "apache-2": "Apache-2.0", "apache2": "Apache-2.0",
		"apache license 2.0": "Apache-2.0", "apache license, version 2.0": "Apache-2.0",
		"apache license version 2.0": "Apache-2.0", "apache software license 2.0": "Apache-2.0",
		"bsd-3": "BSD-3-Clause", "bsd 3-clause": "BSD-3-Clause", "3-clause bsd": "BSD-3-Clause",
		"bsd-3-clause license": "BSD-3-Clause", "bsd 3-clause license": "BSD-3-Clause",
		"bsd 3 clause": "BSD-3-Clause", "new bsd": "BSD-3-Clause", "modified bsd": "BSD-3-Clause",
		"bsd-2": "BSD-2-Clause", "bsd 2-clause": "BSD-2-Clause", "simplified bsd": "BSD-2-Clause",
		"bsd-4-clause": "BSD-4-Clause", "isc license": "ISC", "psf-2": "PSF-2.0", "mpl 2.0": "MPL-2.0",
		"mpl-2": "MPL-2.0", "mozilla public license 2.0": "MPL-2.0", "zlib": "Zlib", "boost-1.0": "BSL-1.0",
	}
})

var gnu = sync.OnceValue(func() *regexp.Regexp { //nolint:gochecknoglobals // compiled once, when it is used
	return regexp.MustCompile(`(?i)^(AGPL|LGPL|GPL|GFDL)-?v?([0-9])(?:\.([0-9]))?(\+)?$`)
})

// identifier is SPDX's name of a licence.
func identifier(name string) (string, bool) {
	if left, right, ok := strings.Cut(name, " WITH "); ok {
		id, known := identifier(left)
		excepted, exception := spdxlicenses.IsException(right)
		return id + " WITH " + exception, known && excepted
	}
	if ok, id := spdxlicenses.IsActiveLicense(name); ok {
		return id, true
	}
	if id := namesOf()[strings.ToLower(name)]; id != "" {
		return id, true
	}
	if m := gnu().FindStringSubmatch(name); m != nil {
		minor, end := first(m[3], "0"), "-only"
		if m[4] != "" {
			end = "-or-later"
		}
		if ok, id := spdxlicenses.IsActiveLicense(m[1] + "-" + m[2] + "." + minor + end); ok {
			return id, true
		}
	}
	if ok, id := spdxlicenses.IsDeprecatedLicense(name); ok {
		return id, true
	}
	return name, false
}

// once gives a function that works out each text once: most packages declare what another one declares.
func once[V any](of func(text string) V) func(text string) V {
	known := map[string]V{}
	return func(text string) V {
		v, ok := known[text]
		if !ok {
			v = of(text)
			known[text] = v
		}
		return v
	}
}

// readLicence reads what a package's metadata says. ok is false for nothing.
func readLicence(text string) (l licence, ok bool) {
	l.known = true
	var name []string
	end := func() {
		if len(name) == 0 {
			return
		}
		id, known := identifier(strings.Join(name, " "))
		l.words, l.known, l.names, name = append(l.words, id), l.known && known, l.names+1, nil
	}
	depth := 0
	text = plain(strings.ReplaceAll(plain(text), "LicenseRef-", ""))
	if id, known := identifier(text); known && text != "" {
		return licence{words: []string{id}, known: true, names: 1}, true // such as "Apache License, Version 2.0"
	}
	for _, w := range strings.Fields(parens().Replace(text)) {
		switch up := strings.ToUpper(w); {
		case up == "AND" || up == "OR":
			if end(); !operand(l.words) {
				return whole(text)
			}
			l.words = append(l.words, up)
		case up == "WITH" && len(name) > 0:
			name = append(name, up)
		case w == "(":
			if len(name) > 0 || operand(l.words) {
				return whole(text)
			}
			l.words, depth = append(l.words, w), depth+1
		case w == ")":
			if end(); depth == 0 || !operand(l.words) {
				return whole(text)
			}
			l.words, depth = append(l.words, w), depth-1
		default:
			if operand(l.words) {
				return whole(text)
			}
			name = append(name, w)
		}
	}
	end()
	if !operand(l.words) || depth != 0 {
		return whole(text)
	}
	return l, true
}

// parens puts spaces around parentheses, and noParens takes them away again.
//
//nolint:gochecknoglobals // made once, when they are used
var (
	parens   = sync.OnceValue(func() *strings.Replacer { return strings.NewReplacer("(", " ( ", ")", " ) ") })
	noParens = sync.OnceValue(func() *strings.Replacer { return strings.NewReplacer("( ", "(", " )", ")") })
)

// operand tells whether a name or an expression in parentheses stands last.
func operand(words []string) bool {
	if len(words) == 0 {
		return false
	}
	last := words[len(words)-1]
	return last != "AND" && last != "OR" && last != "("
}

// whole takes a text that is no expression as one name.
func whole(text string) (licence, bool) {
	return licence{whole: text, names: 1}, text != ""
}

// String is the expression with names that SPDX may not know.
func (l licence) String() string {
	if l.whole != "" {
		return l.whole
	}
	return noParens().Replace(strings.Join(l.words, " "))
}

// isName tells whether a word of an expression is a licence's name.
func isName(word string) bool { return word != "AND" && word != "OR" && word != "(" && word != ")" }

// ofSPDX is the expression with a reference for each name that is not in SPDX's list.
func (l licence) ofSPDX(ref func(name string) string) string {
	if l.whole != "" {
		return ref(l.whole)
	}
	out := licence{words: make([]string, len(l.words))}
	for i, w := range l.words {
		out.words[i] = w
		if !isName(w) || l.known {
			continue
		}
		if _, known := identifier(w); !known {
			out.words[i] = ref(w)
		}
	}
	return out.String()
}

// isListed tells whether a name is one licence of SPDX's list, without an exception.
func isListed(name string) bool {
	active, _ := spdxlicenses.IsActiveLicense(name)
	deprecated, _ := spdxlicenses.IsDeprecatedLicense(name)
	return active || deprecated
}
