package fetch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// login is a user name and its password.
type login struct{ user, password string }

// logins finds the credentials of a URL: its own userinfo or that of its origin, then the netrc file, then
// Options.Credentials. A user without a password takes the one of the netrc file, as with pip.
type logins struct {
	given map[string]*url.Userinfo
	netrc map[string]login
	ask   func(ctx context.Context, u *url.URL, user string) (username, password string, ok bool)
}

func readLogins(o Options) (logins, error) {
	l := logins{given: o.Logins, ask: o.Credentials}
	name := o.Netrc
	if name == "-" {
		return l, nil
	}
	if name == "" {
		name = os.Getenv("NETRC")
	}
	if name == "" {
		name = homeNetrc()
	}
	if name == "" {
		return l, nil
	}
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) && o.Netrc == "" {
		return l, nil
	}
	if err != nil {
		return l, fmt.Errorf("read netrc: %w", err)
	}
	l.netrc = parseNetrc(string(data))
	return l, nil
}

// homeNetrc is the user's own file; "" for a user without a home.
func homeNetrc() string {
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	if runtime.GOOS == "windows" {
		return filepath.Join(home, "_netrc")
	}
	return filepath.Join(home, ".netrc")
}

func (l logins) find(ctx context.Context, u *url.URL) (user, password string, ok bool) {
	if u.User != nil {
		password, _ = u.User.Password()
		return u.User.Username(), password, true
	}
	given := l.given[origin(u)]
	if password, has := given.Password(); has {
		return given.Username(), password, true
	}
	n, ok := l.netrc[strings.ToLower(u.Hostname())]
	if ok && (given == nil || given.Username() == n.user) {
		return n.user, n.password, true
	}
	if l.ask != nil {
		if user, password, ok := l.ask(ctx, u, given.Username()); ok {
			return user, password, true
		}
	}
	return given.Username(), "", given != nil
}

// origin is the scheme, host and port of a URL.
func origin(u *url.URL) string {
	return strings.ToLower(u.Scheme) + "://" + strings.ToLower(u.Hostname()) + ":" + port(u)
}

// parseNetrc reads the logins by host of a netrc file
// (https://www.gnu.org/software/inetutils/manual/html_node/The-_002enetrc-file.html). The first entry of a host
// counts. A "default" entry is left out: it would send a password to every mirror. Macros are skipped.
func parseNetrc(text string) map[string]login {
	out := map[string]login{}
	var host string
	var cur login
	flush := func() {
		if _, twice := out[host]; host != "" && !twice {
			out[host] = cur
		}
		host, cur = "", login{}
	}
	t := netrcTokens{rest: text}
	for {
		word, ok := t.keyword()
		if !ok {
			break
		}
		switch word {
		case "machine":
			flush()
			host = strings.ToLower(t.value())
		case "default":
			flush()
		case "login":
			cur.user = t.value()
		case "password":
			cur.password = t.value()
		case "account":
			t.value()
		case "macdef":
			t.skipMacro()
		}
	}
	flush()
	return out
}

// netrcTokens splits a netrc file into words.
type netrcTokens struct{ rest string }

// keyword takes the next word that is not in a comment.
func (t *netrcTokens) keyword() (string, bool) {
	for {
		t.rest = strings.TrimLeft(t.rest, " \t\r\n")
		if !strings.HasPrefix(t.rest, "#") {
			break
		}
		_, t.rest, _ = strings.Cut(t.rest, "\n")
	}
	if t.rest == "" {
		return "", false
	}
	return t.value(), true
}

// value takes the next word; it may begin with #.
func (t *netrcTokens) value() string {
	t.rest = strings.TrimLeft(t.rest, " \t\r\n")
	if strings.HasPrefix(t.rest, `"`) {
		return t.quoted()
	}
	i := strings.IndexAny(t.rest, " \t\r\n")
	if i < 0 {
		i = len(t.rest)
	}
	word := t.rest[:i]
	t.rest = t.rest[i:]
	return word
}

// quoted takes a word in double quotes, in which a backslash makes the next character plain (curl's rule).
func (t *netrcTokens) quoted() string {
	var b strings.Builder
	for i := 1; i < len(t.rest); i++ {
		switch c := t.rest[i]; c {
		case '"':
			t.rest = t.rest[i+1:]
			return b.String()
		case '\\':
			if i++; i < len(t.rest) {
				b.WriteByte(t.rest[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	t.rest = ""
	return b.String()
}

// skipMacro skips the name and body of a macro, which ends at an empty line.
func (t *netrcTokens) skipMacro() {
	text := strings.ReplaceAll(t.rest, "\r\n", "\n")
	_, t.rest, _ = strings.Cut(text, "\n\n")
}
