package layers

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
)

// The forms of conda's MatchSpec that a recipe takes: [CHANNEL::]NAME, followed by a version ("python=3.12",
// "numpy >=1.26,<2|3.*") and a build ("pytorch=*=*cuda*"), or by keys in brackets ("x[version='>=1',build='*cuda*']").
// Builds as regular expressions, URLs and files are not among them.
const (
	condaVersionOne = `(?:(?:= *)?\*|(?:(?:~=|==|!=|<=|>=|=|<|>) *)?[A-Za-z0-9_][A-Za-z0-9_.!+*]*)`
	condaVersions   = condaVersionOne + `(?: *[,|] *` + condaVersionOne + `)*`
	condaBuild      = `[A-Za-z0-9_.*]+`
)

var condaSpec = lazy(`^(?:([A-Za-z0-9_][A-Za-z0-9_./-]*)::)?([A-Za-z0-9_][A-Za-z0-9_.-]*?)(?:(?: +| *[~=!<>]=?)(.*))?$`)

var condaConstraint = lazy(`^ *` + condaVersions + `(?:(?: *= *| +)` + condaBuild + `)?$`)

// condaKey is a key in brackets, with its value bare or in quotes.
var condaKey = lazy(`^ *([a-z_0-9]+)=(?:'([^'"]*)'|"([^'"]*)"|([^'", ]+)) *(?:, *|$)`)

// condaKeyForms are the keys that brackets may have, and the form of their values.
//
//nolint:gochecknoglobals // made once, when it is used
var condaKeyForms = sync.OnceValue(func() map[string]func(string) bool {
	form := func(expr string) func(string) bool { return regexp.MustCompile("^" + expr + "$").MatchString }
	return map[string]func(string) bool{
		"version": form(condaVersions), "build": form(condaBuild), "build_number": form(`[0-9]{1,9}`),
		"subdir": form(`[a-z0-9]+(-[a-z0-9]+)?`), "md5": form(`[0-9a-f]{32}`), "sha256": form(`[0-9a-f]{64}`),
		"channel": func(s string) bool {
			message, _ := channelName(s)
			return message == "" && !strings.Contains(s, ":")
		},
	}
})

// condaMatch is a specification taken apart.
type condaMatch struct {
	channel string // "" for any
	name    string // in lower case
	version string // what follows the name: versions with their operators, and a build; or the brackets' version
}

// matchSpec is the grammar of conda's package specifications.
func matchSpec(s string) (message, fix string) {
	_, message, fix = parseMatchSpec(s)
	return message, fix
}

// condaName is the package that a specification is about; "" of one that is none.
func condaName(s string) string {
	m, _, _ := parseMatchSpec(s)
	return m.name
}

// parseMatchSpec takes a specification apart; what it returns is empty where it tells what is wrong.
func parseMatchSpec(s string) (match condaMatch, message, fix string) {
	fix = `write NAME, NAME=VERSION, NAME=VERSION=BUILD or "NAME>=1,<2", as in "conda-forge::numpy=1.26" or ` +
		`"pytorch=*=*cuda*"`
	if len(s) > 256 {
		return match, fmt.Sprintf("a specification of %d characters, more than 256", len(s)), "use a shorter one"
	}
	if strings.Contains(s, "://") || strings.HasSuffix(s, ".conda") || strings.HasSuffix(s, ".tar.bz2") {
		return match, fmt.Sprintf("%s is a file, not a package specification", quoteShort(s)),
			"name the package, and its channel under env.channels"
	}
	wrong := fmt.Sprintf("%s is not a conda package specification", quoteShort(s))
	head, inside, brackets := strings.Cut(s, "[")
	m := condaSpec().FindStringSubmatchIndex(head)
	if m == nil {
		return match, wrong, fix
	}
	found := condaMatch{name: strings.ToLower(head[m[4]:m[5]]), version: strings.TrimSpace(head[m[5]:])}
	if m[2] >= 0 {
		found.channel = head[m[2]:m[3]]
		if message, fix := channelName(found.channel); message != "" {
			return match, message, fix
		}
	}
	if found.name == "__cuda" {
		return match, `"__cuda" is a virtual package of conda's`,
			`leave it out, and set env.cuda to the CUDA version of the driver on your hosts, such as "12.6"`
	}
	if strings.HasPrefix(found.name, "__") {
		return match, fmt.Sprintf("%q is a virtual package of conda's", found.name),
			"leave it out: it stands for the machine, not for something to install"
	}
	if rest := head[m[5]:]; rest != "" && !condaConstraint().MatchString(rest) {
		return match, wrong, fix
	}
	if brackets {
		if message, fix := found.keys(inside); message != "" {
			return match, wrong + ": " + message, fix
		}
	}
	return found, "", ""
}

// keys reads what is in brackets after a name. As in conda, it counts more than what is before them.
func (c *condaMatch) keys(text string) (message, fix string) {
	text, closed := strings.CutSuffix(text, "]")
	if !closed || text == "" {
		return "what is in brackets has no end", `write keys as in "x[version='>=1,<2',build='*cuda*']"`
	}
	for text != "" {
		m := condaKey().FindStringSubmatch(text)
		if m == nil {
			return fmt.Sprintf("%s is no key with a value", quoteShort(text)),
				`write keys as in "x[version='>=1,<2',build='*cuda*']"`
		}
		key, value := m[1], m[2]+m[3]+m[4]
		form, ok := condaKeyForms()[key]
		switch {
		case !ok:
			return fmt.Sprintf("the key %q is not taken", key),
				"use version, build, build_number, channel, subdir, md5 or sha256"
		case !form(value):
			return fmt.Sprintf("%s is no %s", quoteShort(value), key), "write it as conda's channel shows it"
		case key == "version":
			c.version = value
		case key == "channel":
			c.channel = value
		}
		text = text[len(m[0]):]
	}
	return "", ""
}

// onlyFrom is the channel that a specification insists on; "" for any.
func onlyFrom(spec string) string {
	m, _, _ := parseMatchSpec(spec)
	return m.channel
}
