package layers

import (
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/distribution/reference"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

// lazy is a regular expression that is compiled when it is used first.
func lazy(expr string) func() *regexp.Regexp { return strictyaml.Regexp(expr) }

// quoteShort quotes user input for a message, without control characters and of a bounded length.
func quoteShort(s string) string { return strictyaml.Quote(s) }

// scriptText is a user's own script: the one string that a shell reads.
func scriptText(s string) (string, string) {
	const limit = 64 << 10
	if strings.TrimSpace(s) == "" {
		return "an empty script", "write the commands to run"
	}
	if len(s) > limit {
		return fmt.Sprintf("a script of %d bytes, more than %d", len(s), limit),
			"put it into a file, copy that with files:, and run it"
	}
	return strictyaml.Lines(s)
}

// The grammars of single names. What may not begin with "-" cannot be taken
// for an option by apt, conda, pip, useradd or ssh.
//
//nolint:gochecknoglobals // compiled once, written never
var (
	// Debian Policy 5.6.1 and 5.6.12; a trailing "-" would tell apt to remove.
	nameApt = strictyaml.Pattern("an apt package", `[a-z0-9][a-z0-9+.-]*[a-z0-9+.](=([0-9]+:)?[0-9][0-9A-Za-z.+~:-]*)?`,
		200,
		`write name or name=version, as in "vim" or "vim=2:9.1.0016-1ubuntu7"`)
	nameSuite = strictyaml.Pattern("a suite", `\./|[a-zA-Z0-9][a-zA-Z0-9._-]*(/[a-zA-Z0-9][a-zA-Z0-9._-]*)*/?`, 100,
		`write a suite such as "noble", or "./" for a flat repository`)
	nameComponent = strictyaml.Pattern("a component", `[a-zA-Z0-9][a-zA-Z0-9._-]*(/[a-zA-Z0-9][a-zA-Z0-9._-]*)*`, 100,
		`write a component such as "main"`)
	nameEnv = strictyaml.Pattern("the name of a conda environment", `[A-Za-z0-9][A-Za-z0-9._-]*`, 64,
		`use letters, digits, ".", "_" and "-", beginning with a letter or digit`)
	// The default NAME_REGEX of Debian's adduser.
	nameUser = strictyaml.Pattern("a user name", `[a-z_][a-z0-9_-]*`, 32,
		`use lower-case letters, digits, "_" and "-", beginning with a letter`)
	namePython = strictyaml.Pattern("a Python version", `3\.[0-9]{1,2}(\.[0-9]{1,3})?`, 10,
		`write "3.12" or "3.12.4", in quotes`)
	nameCUDA = strictyaml.Pattern("a version of CUDA", `[0-9]{1,2}\.[0-9]{1,2}`, 5,
		`write it as nvidia-smi shows it, such as "12.6", in quotes`)
	// PEP 440 as far as Ray uses it.
	nameRayVersion = strictyaml.Pattern("a version of Ray",
		`[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}((rc|\.post|\.dev)[0-9]{1,4})?`, 30,
		`write all of it, such as "2.60.0"`)
	nameExtra = strictyaml.Pattern("an extra", `[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?`, 60,
		`write an extra such as "default"`)
	nameInstaller = strictyaml.Pattern("a version of an installer",
		`(py3[0-9]{1,2}_)?[0-9]{1,4}\.[0-9]{1,3}(\.[0-9]{1,3}){0,2}(-[0-9]{1,3})?`, 40,
		`write it as in the installer's file name: "py312_26.7.1-1" for Miniconda, "26.7.2-0" for Miniforge`)
	nameSHA256 = strictyaml.Pattern("a SHA-256 digest", `[0-9a-f]{64}`, 64, "write 64 lower-case hex digits")
	// The Open Container Initiative's image specification asks for reverse domain names.
	nameLabel = strictyaml.Pattern("the name of a label or annotation",
		`[A-Za-z0-9][A-Za-z0-9_-]*([./][A-Za-z0-9_-]+)*`, 255,
		`use letters, digits, ".", "_", "/" and "-", as in "org.opencontainers.image.title"`)
	nameVariable = strictyaml.Pattern("the name of an environment variable", `[A-Za-z_][A-Za-z0-9_]*`, 128,
		`use letters, digits and "_"`)
	nameSecret = strictyaml.Pattern("the id of a secret", `[A-Za-z0-9_][A-Za-z0-9._-]*`, 64,
		`use letters, digits, ".", "_" and "-"`)
	nameStep = strictyaml.Pattern("the name of a step", `[a-z0-9][a-z0-9._-]*`, 63,
		`use lower-case letters, digits, ".", "_" and "-"`)
	nameChannel = strictyaml.Pattern("a conda channel",
		`[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*`, 128,
		`write a channel such as "conda-forge", or its URL`)
)

// systemUsers are the users of Debian's base-passwd and of base images, which
// cannot be made again.
var systemUsers = []string{
	"daemon", "bin", "sys", "sync", "games", "man", "lp", "mail", "news", "uucp", "proxy", "www-data", "backup", "list",
	"irc", "gnats", "nobody", "_apt",
}

// Grammars that need more than a pattern.

func envName(s string) (string, string) {
	if s == "base" || s == "root" {
		return fmt.Sprintf("%q is conda's own environment", s), `use another name, such as "ray"`
	}
	return nameEnv.Check(s)
}

func userName(s string) (string, string) {
	for _, u := range systemUsers {
		if s == u {
			return fmt.Sprintf("%q is a user of the system's own", s), `use another name, such as "ray"`
		}
	}
	return nameUser.Check(s)
}

func installerVersion(s string) (string, string) {
	if strings.Contains(s, "latest") {
		return "a version that moves", "write the exact version, so that the image can be built again"
	}
	return nameInstaller.Check(s)
}

// baseReference is an image reference as Docker reads it.
func baseReference(s string) (string, string) {
	if s == "scratch" {
		return `"scratch" is no image`, "name an apt-based image, such as ubuntu:22.04"
	}
	if _, err := reference.ParseNormalizedNamed(s); err != nil {
		return fmt.Sprintf("%s is not an image reference (%v)", quoteShort(s), err),
			`write [HOST/]NAME[:TAG][@DIGEST], such as "ubuntu:22.04"`
	}
	return "", ""
}

// pathRune tells whether a path may hold the character: nothing that means
// something to a shell or to a pattern.
func pathRune(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) || strings.ContainsRune("/._+@%=:,~ -", r)
}

func pathText(s string) (string, string) {
	if len(s) > 1024 {
		return fmt.Sprintf("a path of %d bytes, more than 1024", len(s)), "use a shorter one"
	}
	for _, r := range s {
		if !pathRune(r) {
			return fmt.Sprintf("the path %s holds %q", quoteShort(s), r),
				`use letters, digits, spaces and . _ + @ % = : , ~ -`
		}
	}
	for _, e := range strings.Split(s, "/") {
		if len(e) > 255 {
			return fmt.Sprintf("a file name of %d bytes, more than 255", len(e)), "use a shorter one"
		}
	}
	return "", ""
}

// imagePath is a clean absolute path in an image.
func imagePath(s string) (string, string) {
	if m, f := pathText(s); m != "" {
		return m, f
	}
	if !strings.HasPrefix(s, "/") {
		return fmt.Sprintf("%s is not an absolute path", quoteShort(s)), `begin it with "/"`
	}
	if c := path.Clean(s); c != s {
		return fmt.Sprintf("%s is not clean", quoteShort(s)), fmt.Sprintf("write %q", c)
	}
	for _, d := range []string{"/proc", "/sys", "/dev", "/run/secrets"} {
		if s == d || strings.HasPrefix(s, d+"/") {
			return fmt.Sprintf("%s is not part of an image", quoteShort(d)), "use another directory"
		}
	}
	return "", ""
}

// localPath is a path below the recipe's directory. Whether a link leads out
// of it is checked where it is opened.
func localPath(s string) (string, string) {
	if m, f := pathText(s); m != "" {
		return m, f
	}
	switch {
	case strings.TrimSpace(s) == "":
		return "an empty path", "name a file or directory"
	case strings.TrimSpace(s) != s:
		return fmt.Sprintf("%s begins or ends with a space", quoteShort(s)), "remove it"
	case strings.Contains(s, "://"):
		return fmt.Sprintf("%s is a URL, not a path", quoteShort(s)), "download it to a file beside the recipe"
	case strings.HasPrefix(s, "/") || strings.HasPrefix(s, "~"):
		return fmt.Sprintf("%s is outside of the recipe's directory", quoteShort(s)),
			"write a path relative to the recipe, of a file that lies beside or below it"
	case strings.HasPrefix(s, "-"):
		return fmt.Sprintf("%s begins with %q", quoteShort(s), "-"), fmt.Sprintf("write %q", "./"+s)
	}
	for _, e := range strings.Split(s, "/") {
		if e == ".." {
			return fmt.Sprintf("%s leads out of the recipe's directory", quoteShort(s)),
				"keep the file beside or below the recipe"
		}
	}
	return "", ""
}

// wheelPattern is a path of local wheels; its last element may be a pattern.
func wheelPattern(s string) (string, string) {
	dir, file := "", s
	if i := strings.LastIndexByte(s, '/'); i >= 0 {
		dir, file = s[:i+1], s[i+1:]
	}
	if m, f := localPath(dir + strings.NewReplacer("*", "x", "?", "x").Replace(file)); m != "" {
		return m, f
	}
	if !strings.HasSuffix(s, ".whl") {
		return fmt.Sprintf("%s does not name wheels", quoteShort(s)), `write a path such as "./dist/*.whl"`
	}
	return "", ""
}

var (
	urlText = lazy(`^[A-Za-z0-9._~:/%+=,!\[\]@?#&-]*$`)
	urlPath = lazy(`^(/[A-Za-z0-9._~+%@:=,!-]*)*$`)
	urlHost = lazy(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*\.?$`)
)

// plainURL is an http or https URL of a directory, without credentials.
// What is wrong with a URL never shows the URL's user or password.
func plainURL(s string) (string, string) {
	const fix = `write http://HOST/PATH or https://HOST/PATH`
	if len(s) > 1024 {
		return fmt.Sprintf("a URL of %d characters, more than 1024", len(s)), "use a shorter one"
	}
	u, err := url.Parse(s)
	switch {
	case err == nil && u.User != nil, strings.Contains(s, "@") && strings.Contains(s, "://"):
		return "a URL with credentials", "leave them out, and put them into ~/.netrc, the file that NETRC names, or " +
			"the URL of PIP_EXTRA_INDEX_URL: a recipe is not a place for secrets"
	case err == nil && tokenInPath(u.Path):
		return "a URL with a token", noToken
	case err != nil || !urlText().MatchString(s):
		return fmt.Sprintf("%s is not a URL", quoteShort(s)), fix
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Sprintf("%s is not an http or https URL", quoteShort(s)), fix
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(s, "#"):
		return fmt.Sprintf("%s has a query or a fragment", quoteShort(s)), "leave out what follows the path"
	case !urlPath().MatchString(u.EscapedPath()):
		return fmt.Sprintf("%s has unusual characters in its path", quoteShort(s)),
			"use letters, digits and . _ ~ + % : = , ! -"
	}
	for _, e := range strings.Split(u.Path, "/") {
		if e == ".." || e == "." {
			return fmt.Sprintf("%s is not clean", quoteShort(s)), "write the path without . and .."
		}
	}
	host := u.Hostname()
	if _, err := netip.ParseAddr(host); err != nil && (len(host) > 253 || !urlHost().MatchString(host)) {
		return fmt.Sprintf("%s has no valid host name", quoteShort(s)),
			fix + `; write an international name in its "xn--" form`
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return fmt.Sprintf("%s has no valid port", quoteShort(s)), "use a port from 1 to 65535"
		}
	}
	return "", ""
}

// noToken says where a token of a conda server goes.
const noToken = "leave /t/TOKEN out: a recipe is not a place for secrets; with mirrors.fetch: [host] raybuild takes " +
	"the URL with the token from conda's own configuration (default_channels, channel_alias or custom_channels in " +
	"~/.condarc)"

// tokenInPath tells whether a path begins with a token, as the paths of anaconda.org and quetz do.
func tokenInPath(p string) bool { return strings.HasPrefix(strings.TrimLeft(p, "/"), "t/") }

// channelName is a conda channel by name or URL.
func channelName(s string) (string, string) {
	if tokenInPath(s) {
		return "a channel with a token", noToken
	}
	if strings.Contains(s, "://") || strings.Contains(s, "@") {
		return plainURL(s)
	}
	if s == "nodefaults" || s == "local" {
		return fmt.Sprintf("%q is no channel", s), "list the channels that packages come from, and no others are used"
	}
	return nameChannel.Check(s)
}

// platforms are those of Linux that an image can be built for, as the image specification writes them.
func platforms() []string {
	return []string{"linux/amd64", "linux/arm64", "linux/ppc64le", "linux/s390x", "linux/riscv64", "linux/arm/v7"}
}

// platformName is a platform of Linux as the image specification writes it.
func platformName(s string) (string, string) {
	if slices.Contains(platforms(), s) {
		return "", ""
	}
	switch s {
	case "linux/arm64/v8", "linux/x86_64", "linux/aarch64", "amd64", "arm64":
		return fmt.Sprintf("%s is not how the platform is written", quoteShort(s)), "write linux/amd64 or linux/arm64"
	}
	return fmt.Sprintf("%s is not a platform that an image can be built for", quoteShort(s)),
		"write linux/amd64 or linux/arm64"
}
