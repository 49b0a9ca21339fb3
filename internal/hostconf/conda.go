package hostconf

import (
	"errors"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// condarc is the part of a .condarc that says where channels are
// (https://docs.conda.io/projects/conda/en/stable/user-guide/configuration/settings.html).
type condarc struct {
	alias    string
	defaults []string
	channels []string
	custom   map[string]string
	verify   string // a file or directory of certificates; "" for anything else
}

func parseCondarc(data []byte) (condarc, error) {
	var raw map[string]any
	if err := yaml.Unmarshal(data, &raw); err != nil {
		return condarc{}, errors.New("it is no YAML mapping") // the parser's own text may quote a password
	}
	c := condarc{custom: map[string]string{}}
	c.alias, _ = raw["channel_alias"].(string)
	c.defaults = texts(raw["default_channels"])
	c.channels = texts(raw["channels"])
	if custom, ok := raw["custom_channels"].(map[string]any); ok {
		for name, place := range custom {
			if s, ok := place.(string); ok {
				c.custom[strings.Trim(name, "/")] = s
			}
		}
	}
	if s, ok := raw["ssl_verify"].(string); ok && !isWord(s) {
		c.verify = s
	}
	return c, nil
}

// isWord tells the values of ssl_verify that are not the path of a file.
func isWord(s string) bool {
	switch strings.ToLower(s) {
	case "", "true", "false", "yes", "no", "on", "off", "1", "0", "truststore":
		return true
	}
	return false
}

// texts are the strings of a list, or the one string.
func texts(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, item := range v {
			if s, ok := item.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}

// conda reads conda's settings: its variables over its files, the most important first.
func (r *reader) conda() {
	// expands once: a password may have a $
	place := func(raw, from string) string { return r.source(r.expand(raw), from).Text }
	alias := func(raw, from string) {
		if raw != "" && r.config.CondaAlias.Text == "" {
			r.config.CondaAlias = r.source(r.expand(raw), from)
		}
	}
	list := func(urls []string, from string) {
		for _, raw := range urls {
			if root := r.expand(raw); strings.Contains(root, "://") {
				root = r.source(root, from).Text
				r.channel(channelName(root), root, from)
			}
		}
	}
	alias(r.Getenv("CONDA_CHANNEL_ALIAS"), "CONDA_CHANNEL_ALIAS")
	for _, name := range []string{"CONDA_CHANNELS", "CONDA_DEFAULT_CHANNELS"} {
		list(strings.FieldsFunc(r.Getenv(name), func(c rune) bool { return c == ',' || c == ' ' }), name)
	}
	if v := r.Getenv("CONDA_SSL_VERIFY"); !isWord(v) {
		r.cert(v, "CONDA_SSL_VERIFY")
	}
	files := r.condaFiles()
	slices.Reverse(files)
	for _, name := range files {
		data := r.open(name)
		if data == nil {
			continue
		}
		c, err := parseCondarc(data)
		if err != nil {
			r.note("%s is not used: %v", name, err)
			continue
		}
		alias(c.alias, name)
		for _, channel := range slices.Sorted(maps.Keys(c.custom)) {
			if root := place(c.custom[channel], name); root != "" {
				r.channel(channel, root+"/"+channel, name)
			}
		}
		list(append(c.channels, c.defaults...), name)
		if c.verify != "" {
			r.cert(r.expand(c.verify), name)
		}
	}
}

// channel takes down the place of one channel; the first that is found counts.
func (r *reader) channel(name, root, from string) {
	if _, taken := r.config.CondaChannels[name]; name != "" && root != "" && !taken {
		r.config.CondaChannels[name] = Value{Text: root, From: from}
	}
}

// channelName is the name of a channel by its place: the last element of the path, with the label if it has one.
// Anaconda's own channels are called pkgs/main and pkgs/r, whatever they lie in.
func channelName(root string) string {
	u, err := url.Parse(root)
	if err != nil {
		return ""
	}
	at := strings.Split(strings.Trim(u.Path, "/"), "/")
	n := len(at)
	switch last := at[n-1]; {
	case n >= 3 && at[n-2] == "label":
		return strings.Join(at[n-3:], "/")
	case n >= 2 && at[n-2] == "pkgs", last == "main", last == "r":
		return "pkgs/" + last
	default:
		return last
	}
}

// condaFiles are conda's files, the most important last.
func (r *reader) condaFiles() []string {
	var dirs []string
	add := func(dir string) {
		if dir != "" {
			dirs = append(dirs, dir)
		}
	}
	add("/etc/conda")
	add("/var/lib/conda")
	root := r.Getenv("CONDA_ROOT")
	if exe := r.Getenv("CONDA_EXE"); root == "" && exe != "" {
		root = path.Dir(path.Dir(exe)) // ROOT/bin/conda
	}
	add(root)
	if dir := r.configHome(); dir != "" {
		add(path.Join(dir, "conda"))
	}
	home := r.Getenv("HOME")
	if home != "" {
		add(path.Join(home, ".conda"))
	}
	var out []string
	of := func(dir string) {
		out = append(out, path.Join(dir, ".condarc"), path.Join(dir, "condarc"))
		out = append(out, r.list(path.Join(dir, "condarc.d"), ".yml", ".yaml")...)
	}
	for _, dir := range dirs {
		of(dir)
	}
	if home != "" {
		out = append(out, path.Join(home, ".condarc"))
	}
	if prefix := r.Getenv("CONDA_PREFIX"); prefix != "" && prefix != root {
		of(prefix)
	}
	if own := r.Getenv("CONDARC"); own != "" {
		out = append(out, r.abs(own))
	}
	return out
}

// expand writes the variables of a text out, as conda does; one that is not set stays as it is.
func (r *reader) expand(s string) string {
	return regexp.MustCompile(`\$(\w+|\{[^}]*\})`).ReplaceAllStringFunc(s, func(ref string) string {
		name := strings.Trim(ref, "${}")
		if v := r.Getenv(name); v != "" {
			return v
		}
		return ref
	})
}
