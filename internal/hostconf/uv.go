package hostconf

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/pelletier/go-toml/v2"
)

// uvFile is the part of a uv.toml that says where packages come from
// (https://docs.astral.sh/uv/reference/settings/).
type uvFile struct {
	Index         []uvIndex `toml:"index"`
	IndexURL      string    `toml:"index-url"`
	Keyring       string    `toml:"keyring-provider"`
	ExtraIndexURL []string  `toml:"extra-index-url"`
	Pip           struct {
		IndexURL string `toml:"index-url"`
	} `toml:"pip"`
}

type uvIndex struct {
	Name     string `toml:"name"`
	URL      string `toml:"url"`
	Default  bool   `toml:"default"`
	Explicit bool   `toml:"explicit"`
}

func parseUV(data []byte) (uvFile, error) {
	var f uvFile
	if err := toml.Unmarshal(data, &f); err != nil {
		// The text of the error may quote the file, and that may have a password.
		if at, ok := errors.AsType[*toml.DecodeError](err); ok {
			row, _ := at.Position()
			return uvFile{}, fmt.Errorf("line %d is not what uv takes", row)
		}
		return uvFile{}, errors.New("it is not what uv takes")
	}
	return f, nil
}

// uv reads uv's settings: its variables over the file of this user over that of all users. A project's own files
// (pyproject.toml, uv.toml beside it) say nothing about the machine, and are not read.
func (r *reader) uv() {
	index := r.uvVariables()
	for _, name := range r.uvFiles() {
		data := r.open(name)
		if data == nil {
			continue
		}
		f, err := parseUV(data)
		if err != nil {
			r.note("%s is not used: %v", name, err)
			continue
		}
		if found := f.defaultIndex(); index.url == "" && found.URL != "" {
			index = uvFound{name: found.Name, url: found.URL, from: name}
		}
		var extra []string
		for _, i := range f.Index {
			if !i.Default {
				r.uvLogin(i.Name, i.URL)
			}
			if !i.Default && !i.Explicit {
				extra = append(extra, i.URL)
			}
		}
		if f.Keyring == "subprocess" && r.config.Keyring.Text == "" {
			r.config.Keyring = Value{Text: f.Keyring, From: name}
		}
		r.extra(append(extra, f.ExtraIndexURL...), name)
	}
	if index.url == "" || r.config.PipIndex.Text != "" {
		return
	}
	r.config.PipIndex = r.source(index.url, index.from)
	if r.config.PipIndex.Text != "" {
		r.uvLogin(index.name, index.url)
	}
}

// uvFound is an index, the name that it has, and what said so.
type uvFound struct{ name, url, from string }

func (r *reader) uvVariables() uvFound {
	for _, name := range []string{"UV_INDEX", "UV_EXTRA_INDEX_URL"} {
		var urls []string
		for _, word := range strings.Fields(r.Getenv(name)) {
			label, u := uvNamed(word)
			r.uvLogin(label, u)
			urls = append(urls, u)
		}
		r.extra(urls, name)
	}
	if v := r.Getenv("UV_KEYRING_PROVIDER"); v == "subprocess" {
		r.config.Keyring = Value{Text: v, From: "UV_KEYRING_PROVIDER"}
	}
	for _, name := range []string{"UV_DEFAULT_INDEX", "UV_INDEX_URL"} {
		if v := r.Getenv(name); v != "" {
			label, u := uvNamed(v)
			return uvFound{name: label, url: u, from: name}
		}
	}
	return uvFound{}
}

// uvNamed splits NAME=URL, as uv takes an index.
func uvNamed(s string) (name, index string) {
	if name, rest, ok := strings.Cut(s, "="); ok && regexp.MustCompile(`^[A-Za-z0-9._-]+$`).MatchString(name) {
		return name, rest
	}
	return "", s
}

// defaultIndex is the index that uv takes packages from.
func (f uvFile) defaultIndex() uvIndex {
	if i := slices.IndexFunc(f.Index, func(x uvIndex) bool { return x.Default }); i >= 0 {
		return f.Index[i]
	}
	if f.IndexURL != "" {
		return uvIndex{URL: f.IndexURL}
	}
	return uvIndex{URL: f.Pip.IndexURL}
}

// uvLogin takes the login of an index by its name: UV_INDEX_NAME_USERNAME and UV_INDEX_NAME_PASSWORD.
func (r *reader) uvLogin(name, index string) {
	v, _, err := parseSource(index)
	if name == "" || err != nil {
		return
	}
	key := "UV_INDEX_" + strings.Map(func(c rune) rune {
		if c < 128 && (unicode.IsLetter(c) || unicode.IsDigit(c)) {
			return unicode.ToUpper(c)
		}
		return '_'
	}, name)
	switch user, password := r.Getenv(key+"_USERNAME"), r.Getenv(key+"_PASSWORD"); {
	case password != "":
		r.login(v.Text, url.UserPassword(user, password))
	case user != "":
		r.login(v.Text, url.User(user)) // keyring or netrc have its password
	}
}

// uvFiles are uv's files, the most important first.
func (r *reader) uvFiles() []string {
	if on := strings.ToLower(r.Getenv("UV_NO_CONFIG")); slices.Contains([]string{"1", "true", "yes", "on",
		"y", "t"}, on) {
		return nil
	}
	if own := r.Getenv("UV_CONFIG_FILE"); own != "" {
		return []string{r.abs(own)}
	}
	var out []string
	if dir := r.configHome(); dir != "" {
		out = append(out, path.Join(dir, "uv/uv.toml"))
	}
	// uv takes the first file that is there, of the directories of XDG_CONFIG_DIRS and then of /etc.
	for _, dir := range append(r.configDirs(), "/etc") {
		if file := path.Join(dir, "uv/uv.toml"); r.exists(file) {
			return append(out, file)
		}
	}
	return out
}
