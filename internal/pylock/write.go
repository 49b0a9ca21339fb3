package pylock

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"strings"
)

// Marshal writes a pylock.toml. The same lock gives the same bytes, and Read gives the lock back. It is an error if a
// package is no file of an index.
func (l *Lock) Marshal() ([]byte, error) {
	var b bytes.Buffer
	line := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s = %s\n", key, quote(value))
		}
	}
	list := func(key string, values []string) {
		if len(values) == 0 {
			return
		}
		fmt.Fprintf(&b, "%s = [\n", key)
		for _, v := range values {
			fmt.Fprintf(&b, "    %s,\n", quote(v))
		}
		b.WriteString("]\n")
	}
	line("lock-version", cmp.Or(l.Version, "1.0"))
	list("environments", l.Environments)
	line("requires-python", l.RequiresPython)
	list("extras", l.Extras)
	list("dependency-groups", l.Groups)
	list("default-groups", l.DefaultGroups)
	line("created-by", l.CreatedBy)
	for _, p := range l.Packages {
		if p.Other != "" {
			return nil, fmt.Errorf("write pylock.toml: %w", &NotAFileError{Name: p.Name, Version: p.Version,
				Kind: p.Other})
		}
		b.WriteString("\n[[packages]]\n")
		line("name", p.Name)
		line("version", p.Version)
		line("marker", p.Marker)
		line("requires-python", p.RequiresPython)
		line("index", p.Index)
		for _, one := range []struct {
			key  string
			file *File
		}{{"archive", p.Archive}, {"sdist", p.Sdist}} {
			if one.file != nil {
				fmt.Fprintf(&b, "%s = %s\n", one.key, one.file.toml())
			}
		}
		if len(p.Wheels) > 0 {
			b.WriteString("wheels = [\n")
			for _, w := range p.Wheels {
				fmt.Fprintf(&b, "    %s,\n", w.toml())
			}
			b.WriteString("]\n")
		}
	}
	return b.Bytes(), nil
}

// toml is the file as an inline table. Its name is left out where its place tells it.
func (f File) toml() string {
	var parts []string
	told := path.Base(f.Path)
	if u, err := url.Parse(f.URL); err == nil && f.URL != "" {
		told = path.Base(u.Path)
	}
	if told != f.Name {
		parts = append(parts, "name = "+quote(f.Name))
	}
	if f.URL != "" {
		parts = append(parts, "url = "+quote(f.URL))
	} else {
		parts = append(parts, "path = "+quote(f.Path))
	}
	if f.Size > 0 {
		parts = append(parts, fmt.Sprintf("size = %d", f.Size))
	}
	return "{ " + strings.Join(append(parts, "hashes = { sha256 = "+quote(f.SHA256)+" }"), ", ") + " }"
}

// quote writes a basic string of TOML; JSON's strings are a part of them.
func quote(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return `""`
	}
	return strings.ReplaceAll(strings.TrimSuffix(b.String(), "\n"), "\x7f", `\u007f`)
}
