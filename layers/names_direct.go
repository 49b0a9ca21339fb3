package layers

import (
	"cmp"
	"fmt"
	"net/url"
	"path"
	"strings"
)

// directPart is where a requirement's URL stands, if it has one: after NAME[EXTRAS] @, or alone.
var (
	bareURL   = lazy(`(?i)^[a-z][a-z0-9+.-]*://`)
	directEnd = lazy(`\s+;|;\s+|\s+;\s*$`)
)

// directRequirement reads a requirement by URL: NAME[EXTRAS] @ URL, or the URL alone, each with a marker after it. ok
// is false if it is none.
func directRequirement(s string) (r Requirement, message, fix string, ok bool) {
	text := strings.TrimSpace(s)
	at := text
	head := pep508At().FindString(text)
	if head == "" && !bareURL().MatchString(text) {
		return r, "", "", false
	}
	if head != "" {
		named, m, f := parseRequirement(strings.TrimSuffix(head, "@"))
		if m != "" {
			return r, m, f, true
		}
		r.Name, r.Extras = named.Name, named.Extras
		at = strings.TrimSpace(text[len(head):])
	}
	if end := directEnd().FindStringIndex(at); end != nil {
		if r.Marker = normalMarker(strings.TrimSpace(at[end[1]:])); r.Marker == "" {
			return r, "the requirement by URL has an unreadable marker",
				`write NAME @ URL ; MARKER, as in "x @ https://HOST/x-1.0.zip ; python_version < '3.11'"`, true
		}
		at = at[:end[0]]
	}
	message, fix = r.readURL(at)
	return r, message, fix, true
}

// urlFix is how a requirement by URL is written.
const urlFix = "write NAME @ https://HOST/PATH/FILE, where FILE is a wheel or a source archive (.whl, .tar.gz, .zip)"

// readURL reads the URL of a requirement with its fragment. No message has the URL's user or password.
func (r *Requirement) readURL(text string) (message, fix string) {
	at, fragment, _ := strings.Cut(text, "#")
	git := strings.HasPrefix(strings.ToLower(at), gitScheme)
	if strings.Contains(at, "${") {
		return "a URL with a variable in it",
			"write the URL out; a login goes into ~/.netrc or the file that NETRC names"
	}
	if git {
		if m, f := r.readFragment(fragment); m != "" {
			return m, f
		}
		return r.readGit(at)
	}
	if u, err := url.Parse(at); err == nil && u.RawQuery != "" && u.User == nil {
		return "a URL with a query, which will not be valid for ever",
			"write the link of the file that stays, or fetch the wheel and name it under pip.wheels"
	}
	if m, f := plainURL(at); m != "" {
		return m, f
	}
	if m, f := r.readFragment(fragment); m != "" {
		return m, f
	}
	r.URL = at
	file := Artifact{Path: at}.Filename()
	name, _, wheel := wheelFile(file)
	switch {
	case strings.HasSuffix(file, ".whl") && !wheel:
		return fmt.Sprintf("%s is not named as a wheel (name-version-python-abi-platform.whl)", quoteShort(file)),
			urlFix
	case !wheel && archiveEnd(file) == "":
		return "a URL that names neither a wheel nor a source archive", urlFix
	case !wheel:
		name = sourceName(file)
	case r.Subdirectory != "":
		return "a wheel with a subdirectory", "leave out #subdirectory="
	}
	if wheel && r.Name != "" && r.Name != name {
		return fmt.Sprintf("the wheel is one of %q, and not of %q", name, r.Name), "write the name that the wheel has"
	}
	r.Name = cmp.Or(r.Name, name)
	return "", ""
}

// sourceName is the project of an archive of sources; "" if the name of the file does not tell, as in main.zip.
func sourceName(file string) string {
	name, version := sdistFile(file)
	if strings.TrimLeft(version, "0123456789") == version {
		return ""
	}
	return name
}

// readFragment reads what follows a URL's #: hash, name and subdirectory.
func (r *Requirement) readFragment(text string) (message, fix string) {
	for part := range strings.SplitSeq(text, "&") {
		key, value, _ := strings.Cut(part, "=")
		switch {
		case part == "":
		case key == "sha256":
			value = strings.ToLower(value)
			if m, f := nameSHA256.Check(value); m != "" {
				return m, f
			}
			r.Hashes = []string{"sha256:" + value}
		case key == "egg":
			named, m, f := parseRequirement(value)
			if m != "" || named.Specifier != "" || named.Marker != "" {
				return fmt.Sprintf("%s after #egg= is not a name", quoteShort(value)), cmp.Or(f, "write #egg=NAME")
			}
			if r.Name != "" && named.Name != r.Name {
				return fmt.Sprintf("the URL has #egg=%s, and the requirement is %s", named.Name, r.Name),
					"leave out #egg="
			}
			if r.Name = named.Name; r.Extras == nil {
				r.Extras = named.Extras
			}
		case key == "subdirectory":
			plain, err := url.PathUnescape(value)
			if m, f := localPath(plain); err != nil || m != "" {
				return fmt.Sprintf("%s after #subdirectory= is not a path: %s", quoteShort(value), m), f
			}
			r.Subdirectory = path.Clean(plain)
		default:
			return fmt.Sprintf("%s after # in a URL is not checked", quoteShort(key)), "write #sha256=HEX, or nothing"
		}
	}
	return "", ""
}

// archiveEnd is the end of the name of an archive of sources; "" if it is none.
func archiveEnd(file string) string {
	for _, end := range []string{".tar.gz", ".zip", ".tar.bz2", ".tgz"} {
		if strings.HasSuffix(strings.ToLower(file), end) {
			return end
		}
	}
	return ""
}

// unsafe refuses a URL whose file anybody on the way could replace: only a hash tells what it is.
func (r Requirement) unsafe() (message, fix string) {
	if strings.HasPrefix(r.URL, "http://") && len(r.Hashes) != 1 {
		return "a URL without TLS, whose file anybody on the way may replace",
			"write https://, or add #sha256=HEX of the file to the URL"
	}
	return "", ""
}

// direct is a requirement by URL in its normal form.
func (r Requirement) direct() string {
	s := r.URL
	if r.Name != "" {
		s = r.Name
		if len(r.Extras) > 0 {
			s += "[" + strings.Join(r.Extras, ",") + "]"
		}
		s += " @ " + r.URL
	}
	var fragment []string
	if len(r.Hashes) == 1 {
		fragment = append(fragment, strings.Replace(r.Hashes[0], ":", "=", 1))
	}
	if r.Subdirectory != "" {
		fragment = append(fragment, "subdirectory="+(&url.URL{Path: r.Subdirectory}).EscapedPath())
	}
	if len(fragment) > 0 {
		s += "#" + strings.Join(fragment, "&")
	}
	if r.Marker != "" {
		s += " ; " + r.Marker
	}
	return s
}

// registered is the requirement as an index knows it: without its URL.
func (r Requirement) registered() Requirement {
	r.URL, r.Subdirectory = "", ""
	return r
}

// withHashes takes the hashes of a line beside those of its URL, which names one file.
func (r *Requirement) withHashes(hashes []string) (message, fix string) {
	if r.URL == "" {
		r.Hashes = sorted(hashes)
		return "", ""
	}
	if _, _, git := r.git(); git && len(hashes) > 0 {
		return hashOfGit, hashOfGitFix
	}
	if r.Hashes = sorted(append(r.Hashes, hashes...)); len(r.Hashes) > 1 {
		return "several hashes of the one file of a URL", "leave that of this file"
	}
	return r.unsafe()
}
