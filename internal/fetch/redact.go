package fetch

import (
	"net/url"
	"regexp"
)

// tokenPath matches the path element by which anaconda.org and quetz servers take a token.
var tokenPath = regexp.MustCompile(`/t/[^/\s"'?#]+/`)

// secretURL matches what may be secret in a URL in the middle of a text: userinfo, and the values of its query.
var (
	userinfo = regexp.MustCompile(`(?i)([a-z][a-z0-9+.-]*://)[^/\s"'?#]*@`)
	query    = regexp.MustCompile(`(?i)([a-z][a-z0-9+.-]*://[^\s"'?]*)\?[^\s"']*`)
)

// redact takes out of a text what may be secret in the URLs that it holds.
func redact(s string) string {
	s = userinfo.ReplaceAllString(s, "${1}")
	s = query.ReplaceAllString(s, "${1}?…")
	return tokenPath.ReplaceAllString(s, "/t/…/")
}

// redactURL is the printable form of a URL.
func redactURL(u *url.URL) string {
	c := *u
	c.User, c.Fragment, c.RawFragment = nil, "", ""
	return redact(c.String())
}

// Redacted returns a URL for messages: without user and password, and without query values and tokens.
func Redacted(raw string) string { return redactString(raw) }

// redactString is the printable form of what should be a URL; of what is none it shows nothing, for it cannot tell
// what is secret in it.
func redactString(s string) string {
	if u, err := url.Parse(s); err == nil && u.Host != "" {
		return redactURL(u)
	}
	return "not a valid url"
}

// redacted is an error whose text is without secrets.
type redacted struct{ err error }

func (e redacted) Error() string { return redact(e.err.Error()) }
func (e redacted) Unwrap() error { return e.err }
