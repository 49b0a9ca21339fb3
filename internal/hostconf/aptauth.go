package hostconf

import (
	"net/url"
	"strings"
)

// aptLogin is an entry of apt's file of logins (apt_auth.conf(5)).
type aptLogin struct {
	scheme, host, path string // scheme is "" where it is not given, which is https
	login              *url.Userinfo
}

// parseAptAuth reads apt's form of netrc: machine [SCHEME://]HOST[:PORT][/PATH] login USER password PASSWORD.
func parseAptAuth(text string) []aptLogin {
	var words []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "#") {
			words = append(words, strings.Fields(line)...)
		}
	}
	var out []aptLogin
	var user, password string
	flush := func() {
		if n := len(out); n > 0 {
			out[n-1].login = url.UserPassword(user, password)
		}
		user, password = "", ""
	}
	for i := 0; i+1 < len(words); i += 2 {
		switch words[i] {
		case "machine":
			flush()
			place := words[i+1]
			scheme, rest, ok := strings.Cut(place, "://")
			if !ok {
				scheme, rest = "", place
			}
			host, path, _ := strings.Cut(rest, "/")
			out = append(out, aptLogin{scheme: scheme, host: strings.ToLower(host), path: strings.Trim(path, "/")})
		case "login":
			user = words[i+1]
		case "password":
			password = words[i+1]
		default:
			i-- // a word alone
		}
	}
	flush()
	return out
}

// fits tells whether apt sends the login to a URL. Without a scheme it does so by https alone.
func (l aptLogin) fits(u *url.URL) bool {
	scheme := l.scheme
	if scheme == "" {
		scheme = "https"
	}
	path := strings.Trim(u.Path, "/")
	return u.Scheme == scheme && strings.EqualFold(u.Host, l.host) &&
		(l.path == "" || path == l.path || strings.HasPrefix(path, l.path+"/"))
}

// aptLogins takes the logins of apt's own files for the archives that were found.
func (r *reader) aptLogins() {
	var all []aptLogin
	for _, name := range append([]string{"/etc/apt/auth.conf"}, r.list("/etc/apt/auth.conf.d", ".conf")...) {
		all = append(all, parseAptAuth(string(r.open(name)))...)
	}
	c := r.config
	for _, v := range []Value{c.Debian, c.DebianSecurity, c.Ubuntu, c.UbuntuSecurity, c.Ports} {
		u, err := url.Parse(v.Text)
		if err != nil || v.Text == "" {
			continue
		}
		for _, l := range all {
			if l.fits(u) {
				r.login(v.Text, l.login)
				break
			}
		}
	}
}
