package layers

import (
	"fmt"
	"strings"
)

// The forms of conda's MatchSpec that a recipe takes: [CHANNEL::]NAME, followed
// by a version ("python=3.12", "numpy >=1.26,<2|3.*") and a build. The bracket
// form, URLs and files are not among them.
const (
	condaVersionOne = `(~=|==|!=|<=|>=|=|<|>)?[A-Za-z0-9_][A-Za-z0-9_.!+*]*`
	condaVersions   = condaVersionOne + `([,|]` + condaVersionOne + `)*`
	condaBuild      = `[A-Za-z0-9_.*]+`
)

var condaSpec = lazy(`^(?:([A-Za-z0-9_][A-Za-z0-9_./-]*)::)?([A-Za-z0-9_][A-Za-z0-9_.-]*?)(?:(?: +| *[~=!<>]=?)(.*))?$`)

var condaConstraint = lazy(`^(?: ?` + condaVersions + `(?:(?:=| )` + condaBuild + `)?)$`)

// matchSpec is the grammar of conda's package specifications.
func matchSpec(s string) (message, fix string) {
	_, message, fix = parseMatchSpec(s)
	return message, fix
}

// condaName is the package that a specification is about; "" of one that is none.
func condaName(s string) string {
	name, _, _ := parseMatchSpec(s)
	return name
}

// parseMatchSpec returns the package's name in lower case.
func parseMatchSpec(s string) (name, message, fix string) {
	fix = `write NAME, NAME=VERSION or "NAME>=1,<2", as in "libgcc-ng" or "conda-forge::numpy=1.26"`
	if len(s) > 256 {
		return "", fmt.Sprintf("a specification of %d characters, more than 256", len(s)), "use a shorter one"
	}
	if strings.Contains(s, "://") || strings.HasSuffix(s, ".conda") || strings.HasSuffix(s, ".tar.bz2") {
		return "", fmt.Sprintf("%s is a file, not a package specification", quoteShort(s)),
			"name the package, and its channel under env.channels"
	}
	m := condaSpec().FindStringSubmatchIndex(s)
	if m == nil {
		return "", fmt.Sprintf("%s is not a conda package specification", quoteShort(s)), fix
	}
	if m[2] >= 0 {
		if message, fix := channelName(s[m[2]:m[3]]); message != "" {
			return "", message, fix
		}
	}
	name = strings.ToLower(s[m[4]:m[5]])
	if strings.HasPrefix(name, "__") {
		return "", fmt.Sprintf("%q is a virtual package of conda's", name),
			"leave it out: it stands for the machine, not for something to install"
	}
	if rest := s[m[5]:]; rest != "" && !condaConstraint().MatchString(rest) {
		return "", fmt.Sprintf("%s is not a conda package specification", quoteShort(s)), fix
	}
	return name, "", ""
}
