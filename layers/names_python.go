package layers

import (
	"fmt"
	"slices"
	"strings"

	"github.com/raybuild/raybuild/internal/pylock"
	"github.com/raybuild/raybuild/internal/strictyaml"
)

// Requirement is one PEP 508 requirement.
type Requirement struct {
	// Name is normalised by PEP 503.
	Name string
	// Extras are normalised and sorted.
	Extras []string
	// Specifier such as ">=1.0,<2"; "" for any version.
	Specifier string
	// Marker such as `python_version < "3.8"`; "" for none.
	Marker string
	// Hashes as "sha256:HEX", from a requirements file or a URL; sorted.
	Hashes []string
	// URL of the file that is required, if it is not an index that has it. Then Name may be "": the file has it.
	URL string `json:",omitempty"`
	// Subdirectory of the archive at URL that has the project; "" for its top.
	Subdirectory string `json:",omitempty"`
}

// String is the requirement in PEP 508 form. Only a URL has a hash in it.
func (r Requirement) String() string {
	if r.URL != "" {
		return r.direct()
	}
	s := r.Name
	if len(r.Extras) > 0 {
		s += "[" + strings.Join(r.Extras, ",") + "]"
	}
	s += r.Specifier
	if r.Marker != "" {
		s += " ; " + r.Marker
	}
	return s
}

var (
	pep508Name = lazy(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?`)
	pep440Any  = lazy(`^[A-Za-z0-9._+!-]+$`)
	pep440     = lazy(
		`(?i)^v?([0-9]+!)?[0-9]+(\.[0-9]+)*([-_.]?(a|b|c|rc|alpha|beta|pre|preview)[-_.]?[0-9]*)?` +
			`(-[0-9]+|[-_.]?(post|rev|r)[-_.]?[0-9]*)?([-_.]?dev[-_.]?[0-9]*)?(\+[a-z0-9]+([-_.][a-z0-9]+)*)?$`)
	pep440Match = lazy(`(?i)^v?([0-9]+!)?[0-9]+(\.[0-9]+)*(\.\*|(a|b|rc)[0-9]+(\.\*)?|\.post[0-9]+(\.\*)?)$`)
	pep440Ops   = []string{"===", "~=", "==", "!=", "<=", ">=", "<", ">"}
)

// NormalName is the name of a Python package in the form of PEP 503.
func NormalName(name string) string {
	return pylock.Normal(name)
}

// ParseRequirement reads a PEP 508 requirement that an index answers. It refuses a URL or a path.
func ParseRequirement(s string) (Requirement, error) {
	r, _, _ := parseRequirement(s)
	if message, fix := indexText(s); message != "" {
		return Requirement{}, &RecipeError{Problems: []Problem{{Message: message, Fix: fix}}}
	}
	return r, nil
}

// requirementText is the grammar of a requirement.
func requirementText(s string) (string, string) {
	r, message, fix := parseRequirement(s)
	if message == "" {
		message, fix = r.unsafe()
	}
	return message, fix
}

// indexText is the grammar of a requirement that an index answers.
func indexText(s string) (string, string) {
	r, message, fix := parseRequirement(s)
	if message == "" && r.URL != "" {
		return "a requirement by URL, which is not added on top", "name it under pip in the recipe, and build"
	}
	return message, fix
}

const requirementFix = `write NAME[EXTRAS]SPECIFIER, as in "torch", "ray[tune]==2.60.0" or "numpy>=1.26,<2"`

func parseRequirement(s string) (r Requirement, message, fix string) {
	if len(s) > 2048 {
		return r, fmt.Sprintf("a requirement of %d characters, more than 2048", len(s)), "use a shorter one"
	}
	if m, f := strictyaml.OneLine(s); m != "" {
		return r, m, f
	}
	if m, f := requirementRefused(s); m != "" {
		return r, m, f
	}
	if direct, m, f, ok := directRequirement(s); ok {
		return direct, m, f
	}
	rest := strings.TrimSpace(s)
	name := pep508Name().FindString(rest)
	if name == "" {
		return r, fmt.Sprintf("%s is not a requirement", quoteShort(s)), requirementFix
	}
	r.Name = NormalName(name)
	rest = strings.TrimLeft(rest[len(name):], " ")
	if strings.HasPrefix(rest, "[") {
		inside, after, ok := strings.Cut(rest[1:], "]")
		if !ok {
			return r, fmt.Sprintf("%s has no ] after its extras", quoteShort(s)), requirementFix
		}
		for _, e := range strings.Split(inside, ",") {
			e = strings.TrimSpace(e)
			if m, _ := nameExtra.Check(e); m != "" && strings.TrimSpace(inside) != "" {
				return r, m, requirementFix
			}
			if e != "" {
				r.Extras = append(r.Extras, NormalName(e))
			}
		}
		slices.Sort(r.Extras)
		r.Extras = slices.Compact(r.Extras)
		rest = strings.TrimSpace(after)
	}
	specifier, marker, hasMarker := strings.Cut(rest, ";")
	if hasMarker {
		if r.Marker = normalMarker(marker); r.Marker == "" {
			return r, fmt.Sprintf("%s has an unreadable marker", quoteShort(s)),
				`write a PEP 508 marker, as in "; python_version < '3.11'"`
		}
	}
	if r.Specifier, message = normalSpecifier(specifier); message != "" {
		return r, message, requirementFix
	}
	return r, "", ""
}

// requirementRefused names the forms that pip takes and a recipe does not, and
// the recipe's own way to say the same.
func requirementRefused(s string) (message, fix string) {
	t := strings.TrimSpace(s)
	lower := strings.ToLower(t)
	switch {
	case strings.HasPrefix(t, "-e") || strings.HasPrefix(t, "--editable"):
		return "an editable requirement", "build a wheel and name it under pip.wheels"
	case strings.HasPrefix(t, "-"):
		return fmt.Sprintf("%s is an option, not a requirement", quoteShort(s)),
			"indexes go under pip.extra_indexes, requirements files under pip.requirements"
	case otherVersions().MatchString(lower):
		return "a requirement from another version control than git", "build a wheel of it and name it under pip.wheels"
	case pep508At().MatchString(t) && strings.Contains(lower, "file://"):
		return "a requirement by the path where conda or pip built it, as pip freeze writes it",
			"write NAME==VERSION, as pip list --format=freeze does"
	case strings.HasPrefix(lower, "file:"), pep508At().MatchString(t) && !strings.Contains(t, "://"):
		return "a requirement by path", "name a wheel under pip.wheels"
	case pep508At().MatchString(t), strings.Contains(t, "://"): // a URL, which is read by itself
		return "", ""
	case strings.HasPrefix(t, "."), strings.HasPrefix(t, "/"), strings.HasPrefix(t, "~"),
		strings.HasSuffix(lower, ".whl"), strings.HasSuffix(lower, ".tar.gz"):
		return fmt.Sprintf("%s is a file, not a requirement", quoteShort(s)),
			"name wheels under pip.wheels, requirements files under pip.requirements"
	}
	return "", ""
}

var otherVersions = lazy(`^([a-z0-9._-]+\s*(\[[^\]]*\])?\s*@\s*)?(hg|svn|bzr)\+`)

var pep508At = lazy(`^[A-Za-z0-9._-]+\s*(\[[^\]]*\])?\s*@`)

// normalSpecifier checks a version specifier (PEP 440) and writes it without spaces.
func normalSpecifier(s string) (specifier, message string) {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "(") && strings.HasSuffix(s, ")") {
		s = strings.TrimSpace(s[1 : len(s)-1])
	}
	if s == "" {
		return "", ""
	}
	clauses := strings.Split(s, ",")
	for i, c := range clauses {
		c = strings.TrimSpace(c)
		op := ""
		for _, o := range pep440Ops {
			if strings.HasPrefix(c, o) {
				op = o
				break
			}
		}
		v := strings.TrimSpace(strings.TrimPrefix(c, op))
		ok := op != "" && pep440().MatchString(v)
		switch {
		case op == "===":
			ok = pep440Any().MatchString(v)
		case (op == "==" || op == "!=") && strings.HasSuffix(v, "*"):
			ok = pep440Match().MatchString(v)
		case op == "~=":
			ok = ok && strings.Contains(v, ".")
		}
		if !ok {
			return "", fmt.Sprintf("%s is not a version specifier", quoteShort(c))
		}
		clauses[i] = op + v
	}
	return strings.Join(clauses, ","), ""
}
