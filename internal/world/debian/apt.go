package debian

import (
	"bufio"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// The canonical roots of Debian's archives, which the base images' own sources name.
const (
	CanonicalArchive  = "http://deb.debian.org/debian"
	CanonicalSecurity = "http://deb.debian.org/debian-security"
)

// Suite is the release that the world is made of: its Python, 3.11, is the one that the world's conda
// channel carries, whatever release the machine itself has.
const Suite = "bookworm"

// Mirror is a Debian mirror: roots of its main and its security archive, without a slash at the end.
type Mirror struct{ Archive, Security string }

// FindMirror reads apt's configuration in dir (/etc/apt if "") and takes the first Debian archive with
// the component main in it. Where there is none (an Ubuntu machine), it is Debian's own.
func FindMirror(dir string) (Mirror, error) {
	if dir == "" {
		dir = "/etc/apt"
	}
	files := []string{filepath.Join(dir, "sources.list")}
	for _, pattern := range []string{"*.list", "*.sources"} {
		more, err := filepath.Glob(filepath.Join(dir, "sources.list.d", pattern))
		if err != nil {
			return Mirror{}, err
		}
		files = append(files, more...)
	}
	var m Mirror
	for _, f := range files {
		data, err := os.ReadFile(f)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return Mirror{}, fmt.Errorf("read apt's configuration: %w", err)
		}
		entries := oneLine(string(data))
		if strings.HasSuffix(f, ".sources") {
			entries = deb822(string(data))
		}
		for _, e := range entries {
			m.take(e)
		}
	}
	if m.Archive == "" {
		m.Archive = CanonicalArchive
	}
	if m.Security == "" {
		// Mirrors that carry both have them side by side under these names.
		m.Security = strings.TrimSuffix(m.Archive, path.Base(m.Archive)) + "debian-security"
	}
	return m, nil
}

// source is one place that apt's configuration names.
type source struct {
	uri, suite string
	components []string
}

func (m *Mirror) take(s source) {
	u, err := url.Parse(strings.TrimSuffix(s.uri, "/"))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || !slices.Contains(s.components, "main") {
		return
	}
	switch base := path.Base(u.Path); {
	case base == "debian" && m.Archive == "":
		m.Archive = u.String()
	case base == "debian-security" && m.Security == "":
		m.Security = u.String()
	}
}

// oneLine reads the form of sources.list: deb [options] uri suite component…
func oneLine(text string) []source {
	var out []source
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb ")
		if !ok {
			continue
		}
		if rest = strings.TrimSpace(rest); strings.HasPrefix(rest, "[") {
			_, rest, _ = strings.Cut(rest, "]")
		}
		if f := strings.Fields(rest); len(f) >= 2 {
			out = append(out, source{f[0], f[1], f[2:]})
		}
	}
	return out
}

// deb822 reads the form of .sources files: stanzas of "Key: values".
func deb822(text string) []source {
	var out []source
	stanza := map[string][]string{}
	key := ""
	flush := func() {
		enabled := len(stanza["enabled"]) == 0 || stanza["enabled"][0] != "no"
		if enabled && slices.Contains(stanza["types"], "deb") {
			for _, uri := range stanza["uris"] {
				for _, suite := range stanza["suites"] {
					out = append(out, source{uri, suite, stanza["components"]})
				}
			}
		}
		clear(stanza)
		key = ""
	}
	sc := bufio.NewScanner(strings.NewReader(text))
	for sc.Scan() {
		line := sc.Text()
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			flush()
		case line[0] == ' ' || line[0] == '\t':
			stanza[key] = append(stanza[key], strings.Fields(line)...)
		default:
			k, v, _ := strings.Cut(line, ":")
			key = strings.ToLower(strings.TrimSpace(k))
			stanza[key] = append(stanza[key], strings.Fields(v)...)
		}
	}
	flush()
	return out
}
