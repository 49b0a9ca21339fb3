package layers

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

// The grammars of a recipe's values that need more than a pattern. The Pattern of each is wider than its check: it is
// what a JSON Schema can say.

const (
	pathChars = "[^\\x00-\\x1f\\x7f!\"#$&'()*;<>?\\[\\\\\\]^`{|}]"
	urlExpr   = `[Hh][Tt][Tt][Pp][Ss]?://[^/ @?#][^ @?#]*`
)

func grammarBase() strictyaml.Grammar {
	return strictyaml.Grammar{What: "an image reference", Check: baseReference, Except: []string{"scratch"},
		Pattern: strictyaml.CommonSyntax(reference.ReferenceRegexp.String())}
}

func grammarEnv() strictyaml.Grammar {
	g := nameEnv
	g.Check, g.Except = envName, []string{"base", "root"}
	return g
}

func grammarUser() strictyaml.Grammar {
	g := nameUser
	g.Check, g.Except = userName, systemUsers
	return g
}

func grammarInstaller() strictyaml.Grammar {
	g := nameInstaller
	g.Check = installerVersion
	return g
}

// grammarStep is the name of a step. Whether it is the name of a layer is told with the other rules between keys.
func grammarStep() strictyaml.Grammar {
	g := nameStep
	g.Except = slices.Concat(builtinLayers, reservedNames)
	return g
}

func grammarPlatform() strictyaml.Grammar {
	return strictyaml.Grammar{What: "a platform", Check: platformName, Words: platforms()}
}

// grammarURL is a URL; the slashes at its end are left out.
func grammarURL() strictyaml.Grammar {
	trim := func(s string) string { return strings.TrimRight(s, "/") }
	return strictyaml.Grammar{What: "a URL", Check: plainURL, Normal: trim, Pattern: urlExpr, Limit: 1024}
}

// grammarDebconf is an answer for debconf-set-selections(1).
func grammarDebconf() strictyaml.Grammar {
	return strictyaml.Grammar{What: "an answer of debconf", Check: debconfAnswer, Limit: 2048,
		Pattern: `[a-z0-9][a-z0-9+.-]*[ \t]+[^ \t]+[ \t]+[a-z]+([ \t].*)?`}
}

// debconfTypes are the types of questions (debconf-devel(7)) that have answers.
func debconfTypes() []string {
	return []string{"boolean", "multiselect", "note", "select", "string", "text", "error"}
}

var debconfForm = lazy(`^([a-z0-9][a-z0-9+.-]*)[ \t]+([^ \t]+)[ \t]+([a-z]+)([ \t].*)?$`)

func debconfAnswer(s string) (string, string) {
	m := debconfForm().FindStringSubmatch(s)
	switch {
	case m == nil:
		return fmt.Sprintf("%s is no answer of debconf", quoteShort(s)),
			"write PACKAGE QUESTION TYPE VALUE, as in: krb5-config krb5-config/default_realm string EXAMPLE.COM"
	case m[3] == "password":
		return "an answer of type password would be in the image", "set the password where the image runs, or by a " +
			"step with a secret"
	case !slices.Contains(debconfTypes(), m[3]):
		return fmt.Sprintf("%s is no type of debconf", quoteShort(m[3])), "write one of " +
			strings.Join(debconfTypes(), ", ")
	}
	return "", ""
}

// grammarRegistry is the URL of a mirror of a registry.
func grammarRegistry() strictyaml.Grammar {
	g := grammarURL()
	g.What, g.Check = "the URL of a registry: https://HOST, or https://HOST/PATH", registryURL
	return g
}

// registryPath is what may stand before the names of repositories, as the registry client takes it.
var registryPath = lazy(`^/*[a-z0-9]+(([._/]|__|-+)[a-z0-9]+)*/*$`)

func registryURL(s string) (string, string) {
	if wrong, fix := plainURL(s); wrong != "" {
		return wrong, fix
	}
	u, err := url.Parse(s)
	if err != nil || strings.Trim(u.Path, "/") != "" && !registryPath().MatchString(u.Path) {
		return fmt.Sprintf("%s has a path that no image's name begins with", quoteShort(s)),
			"write it in lower case, as before the name of an image: https://HOST/PROJECT"
	}
	return "", ""
}

// grammarIndex is the URL of a package index.
func grammarIndex() strictyaml.Grammar {
	g := grammarURL()
	g.What, g.Check, g.Pattern = "the URL of a simple index (PEP 503)", simpleIndex, urlExpr+"/simple/*"
	return g
}

func grammarChannel() strictyaml.Grammar {
	return strictyaml.Grammar{What: "a conda channel or its URL", Check: channelName,
		Pattern: nameChannel.Pattern + "|" + urlExpr}
}

func grammarMatchSpec() strictyaml.Grammar {
	return strictyaml.Grammar{What: "a conda package specification", Check: matchSpec, Pattern: `[A-Za-z0-9_].*`,
		Limit: 256}
}

// grammarRequirement is a requirement, written in one form.
func grammarRequirement() strictyaml.Grammar {
	normal := func(s string) string {
		req, _, _ := parseRequirement(s)
		return req.String()
	}
	return strictyaml.Grammar{What: "a requirement (PEP 508)", Check: requirementText, Normal: normal,
		Pattern: `[^-./~A-Za-z0-9]*[A-Za-z0-9].*`, Limit: 2048}
}

// grammarIndexed is a requirement that an index answers.
func grammarIndexed() strictyaml.Grammar {
	g := grammarRequirement()
	g.Check = indexText
	return g
}

// grammarProject is the name of a Python package, in the form of PEP 503.
func grammarProject() strictyaml.Grammar {
	return strictyaml.Grammar{What: "the name of a Python package", Check: projectName, Normal: NormalName,
		Pattern: `[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?`, Limit: 128}
}

// grammarPath is a path below the recipe's directory, written clean.
func grammarPath() strictyaml.Grammar {
	return strictyaml.Grammar{What: "a path relative to the recipe", Check: localPath, Normal: cleanLocal, Limit: 1024,
		Pattern: "[^-/~ \\x00-\\x1f\\x7f!\"#$&'()*;<>?\\[\\\\\\]^`{|}]" + pathChars + "*"}
}

// grammarWheels is a path of local wheels, written clean.
func grammarWheels() strictyaml.Grammar {
	return strictyaml.Grammar{What: "a path or pattern of wheels, relative to the recipe",
		Check: wheelPattern, Normal: cleanLocal,
		Pattern: `[^-/~ ].*\.whl`, Limit: 1024}
}

func grammarImagePath() strictyaml.Grammar {
	return strictyaml.Grammar{What: "an absolute path in the image", Check: imagePath, Pattern: "/" + pathChars + "*",
		Limit: 1024}
}

func grammarScript() strictyaml.Grammar {
	return strictyaml.Grammar{What: "a script of `/bin/sh`", Check: scriptText, Limit: 64 << 10}
}

func grammarOneLine() strictyaml.Grammar {
	return strictyaml.Grammar{What: "text in one line", Check: strictyaml.OneLine}
}

func grammarLines() strictyaml.Grammar {
	return strictyaml.Grammar{What: "text", Check: strictyaml.Lines}
}

func cleanLocal(p string) string { return filepath.ToSlash(filepath.Clean(p)) }

func projectName(s string) (string, string) {
	if pep508Name().FindString(s) != s || len(s) > 128 || s == "" {
		return quoteShort(s) + " is not the name of a Python package", "write the name alone, without version or extras"
	}
	return "", ""
}

func simpleIndex(s string) (string, string) {
	if m, f := plainURL(s); m != "" {
		return m, f
	}
	if !strings.HasSuffix(strings.TrimRight(s, "/"), "/simple") {
		return quoteShort(s) + " does not end in /simple",
			"write the URL of the simple index (PEP 503), as pip's index-url"
	}
	return "", ""
}

// filled is a list that must not be empty. fix is what to do about one that is.
func filled(v strictyaml.Value, fix string) strictyaml.Value {
	shape := func() strictyaml.Shape {
		s := v.Shape()
		s.Filled = true
		return s
	}
	return strictyaml.Func(shape, func(t *strictyaml.Reader, n *strictyaml.Node, key string) {
		if n.Kind == strictyaml.Null || n.Kind == strictyaml.List && len(n.Items) == 0 {
			t.AddAt(n, key, "is empty", fix)
			return
		}
		t.Read(n, key, v)
	})
}
