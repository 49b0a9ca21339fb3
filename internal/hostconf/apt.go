package hostconf

import (
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
)

// aptSource is one entry of apt's sources (sources.list(5)).
type aptSource struct {
	uris, suites, components, archs []string
	signedBy                        string
	from                            string
}

// parseSources reads the deb822 form; entries that are off, or of sources alone, are left out.
func parseSources(text string) []aptSource {
	var out []aptSource
	fields, last := map[string]string{}, ""
	flush := func() {
		words := func(name string) []string { return strings.Fields(fields[name]) }
		if slices.Contains(words("types"), "deb") && !isOff(fields["enabled"]) {
			out = append(out, aptSource{
				uris: words("uris"), suites: words("suites"), components: words("components"),
				archs:    words("architectures"),
				signedBy: strings.TrimSpace(fields["signed-by"]),
			})
		}
		fields, last = map[string]string{}, ""
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			flush()
		case line[0] == ' ' || line[0] == '\t':
			if last != "" {
				fields[last] += "\n" + strings.TrimSpace(line)
			}
		default:
			name, value, ok := strings.Cut(line, ":")
			if !ok {
				last = ""
				continue
			}
			last = strings.ToLower(strings.TrimSpace(name))
			fields[last] = strings.TrimSpace(value)
		}
	}
	flush()
	return out
}

// isOff tells the values that apt takes for no.
func isOff(s string) bool {
	return slices.Contains([]string{"no", "false", "without", "off", "disable", "0"}, strings.ToLower(s))
}

// parseList reads the form of a line for each entry: deb [OPTIONS] URI SUITE COMPONENT….
func parseList(text string) []aptSource {
	var out []aptSource
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		rest, ok := strings.CutPrefix(line, "deb")
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '\t' && rest[0] != '[' {
			continue
		}
		var s aptSource
		rest = strings.TrimSpace(rest)
		if strings.HasPrefix(rest, "[") {
			options, after, closed := strings.Cut(rest[1:], "]")
			if !closed {
				continue
			}
			rest = after
			for _, option := range strings.Fields(options) {
				switch name, value, _ := strings.Cut(option, "="); strings.ToLower(name) {
				case "arch":
					s.archs = strings.Split(value, ",")
				case "signed-by":
					s.signedBy = value
				}
			}
		}
		words := strings.Fields(rest)
		if len(words) < 2 {
			continue
		}
		s.uris, s.suites, s.components = words[:1], words[1:2], words[2:]
		out = append(out, s)
	}
	return out
}

// apt reads apt's sources. Of them only the distribution's own archive and its security archive matter here: whatever
// else is there, such as a vendor's repository, is no mirror of them.
func (r *reader) apt() {
	d := r.distribution()
	if d.name == "" {
		return
	}
	var all []aptSource
	take := func(name string, parse func(string) []aptSource) {
		found := parse(string(r.open(name)))
		for i := range found {
			found[i].from = name
		}
		all = append(all, found...)
	}
	take("/etc/apt/sources.list", parseList)
	for _, name := range r.list("/etc/apt/sources.list.d", ".list", ".sources") {
		if strings.HasSuffix(name, ".list") {
			take(name, parseList)
		} else {
			take(name, parseSources)
		}
	}
	updated := map[string]bool{} // roots that have the suite of updates: only the distribution's own archive has
	for _, s := range all {
		if slices.Contains(s.suites, d.codename+"-updates") {
			for _, uri := range s.uris {
				updated[strings.TrimRight(uri, "/")] = true
			}
		}
	}
	all = slices.DeleteFunc(all, func(s aptSource) bool {
		return !slices.Contains(s.components, "main") ||
			s.foreign()
	})
	for _, sure := range []bool{true, false} {
		for _, s := range all {
			for _, uri := range s.uris {
				if s.ownKey() || updated[strings.TrimRight(uri, "/")] || !sure && d.known(uri, s.from) {
					r.aptRoot(d, s, uri)
				}
			}
		}
	}
	r.aptLogins()
}

// aptRoot takes down one root of the distribution.
func (r *reader) aptRoot(d distribution, s aptSource, uri string) {
	main := slices.Contains(s.suites, d.codename) || slices.ContainsFunc(s.suites, d.branch)
	security := slices.ContainsFunc(s.suites, func(suite string) bool {
		name, kind, _ := strings.Cut(strings.Replace(suite, "/updates", "-security", 1), "-")
		return kind == "security" && (name == d.codename || d.branch(name))
	})
	if !main && !security {
		return
	}
	root := r.aptPlace(uri, s.from)
	if root.Text == "" {
		return
	}
	set := func(into *Value, is bool) {
		if is && into.Text == "" {
			*into = root
		}
	}
	switch {
	case d.name == "debian":
		set(&r.config.Debian, main)
		set(&r.config.DebianSecurity, security)
	case s.ports(root.Text, r.Arch):
		set(&r.config.Ports, main)
	default:
		set(&r.config.Ubuntu, main)
		set(&r.config.UbuntuSecurity, security)
	}
}

// aptPlace is the URL of a source. That of a list of mirrors (mirror+file:/PATH) is the first of the list.
func (r *reader) aptPlace(uri, from string) Value {
	if file, ok := strings.CutPrefix(uri, "mirror+file:"); ok {
		file = "/" + strings.TrimLeft(file, "/")
		uri = ""
		for line := range strings.Lines(string(r.open(file))) {
			if words := strings.Fields(line); len(words) > 0 && !strings.HasPrefix(words[0], "#") {
				uri, from = words[0], file
				break
			}
		}
	}
	if v, login, err := parseSource(uri); err == nil {
		v.From = from
		r.login(v.Text, login)
		return v
	}
	return Value{} // a CD, a directory: nothing that others can fetch from
}

// ports tells Ubuntu's archive of the other architectures.
func (s aptSource) ports(root, arch string) bool {
	if len(s.archs) > 0 {
		return !slices.Contains(s.archs, "amd64") && !slices.Contains(s.archs, "i386")
	}
	return strings.HasSuffix(root, "-ports") || arch != "amd64" && arch != "386"
}

// ownKey tells a source that the distribution's own key signs.
func (s aptSource) ownKey() bool {
	name := path.Base(s.signedBy)
	return strings.HasPrefix(name, "debian-archive-") || strings.HasPrefix(name, "ubuntu-archive-")
}

// foreign tells a source that another key signs.
func (s aptSource) foreign() bool { return s.signedBy != "" && !s.ownKey() }

// distribution is what the machine runs.
type distribution struct{ name, codename string }

func (r *reader) distribution() distribution {
	var data []byte
	for _, name := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		if data = r.open(name); data != nil {
			break
		}
	}
	vars := map[string]string{}
	for line := range strings.Lines(string(data)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			vars[k] = strings.Trim(v, `"'`)
		}
	}
	switch {
	case vars["UBUNTU_CODENAME"] != "": // Ubuntu, and what is made of its archive
		return distribution{"ubuntu", vars["UBUNTU_CODENAME"]}
	case vars["ID"] == "ubuntu":
		return distribution{"ubuntu", vars["VERSION_CODENAME"]}
	case vars["ID"] == "debian":
		return distribution{"debian", vars["VERSION_CODENAME"]}
	}
	return distribution{}
}

// branch tells the names that Debian's releases have besides their own.
func (d distribution) branch(suite string) bool {
	return d.name == "debian" && slices.Contains([]string{"stable", "oldstable", "testing", "unstable", "sid"}, suite)
}

// known tells the distribution's own hosts, and its own files of sources.
func (d distribution) known(uri, file string) bool {
	if u, err := url.Parse(uri); err == nil &&
		regexp.MustCompile(`(^|\.)(debian\.org|archive\.ubuntu\.com|security\.ubuntu\.com|ports\.ubuntu\.com)$`).
			MatchString(u.Hostname()) {
		return true
	}
	return file == "/etc/apt/sources.list" || file == "/etc/apt/sources.list.d/"+d.name+".sources"
}
