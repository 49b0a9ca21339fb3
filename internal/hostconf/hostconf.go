// Package hostconf reads where a machine fetches packages and images from: the settings of pip, uv, conda, apt and of
// what pulls images, and the certificates that it trusts beside the system's. It reads files and variables. It makes no
// request and runs nothing.
package hostconf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Machine is where the settings are read from.
type Machine struct {
	// Getenv returns a variable of the environment, or "" if it is not set.
	Getenv func(name string) string
	// Files are the machine's files, with / as root.
	Files fs.FS
	// Dir is the working directory. Paths in variables are relative to it.
	Dir string
	// Arch is the machine's architecture, as Go names it.
	Arch string
}

// This returns the machine that the program runs on, with the environment that getenv gives.
func This(getenv func(string) string) Machine {
	dir, err := os.Getwd()
	if err != nil {
		dir = "/" // a directory that is gone: paths relative to it lead nowhere
	}
	return Machine{Getenv: getenv, Files: os.DirFS("/"), Dir: dir, Arch: runtime.GOARCH}
}

// Value is a setting and the place where it was found.
type Value struct {
	// Text is the path of a file, or a URL without user, password and final slash.
	Text string
	// From is the variable or the file that sets it.
	From string
}

// Config is what a machine is configured with. A setting that it does not have is empty.
type Config struct {
	// PipIndex is the index that pip takes packages from, or uv's if pip has none.
	PipIndex Value
	// PipExtra are the further indexes of pip and uv.
	PipExtra []Value
	// CondaAlias is the URL below which conda finds channels by their names.
	CondaAlias Value
	// CondaChannels are the URLs of single channels by their names, such as conda-forge and pkgs/main.
	CondaChannels map[string]Value
	// Ubuntu and Debian are the roots of apt's archives. Ports is the root for Ubuntu's other
	// architectures.
	Ubuntu, UbuntuSecurity, Ports, Debian, DebianSecurity Value
	// Registries are the mirrors of image registries, by the name that references have ("docker.io"), in the order in
	// which they are asked. What stands before the names of repositories is the URL's path.
	Registries map[string][]Value
	// Keyring is what lets pip or uv ask the program keyring for passwords; empty: nothing does.
	Keyring Value
	// Certs are files or directories of certificates to trust.
	Certs []Value
	// Logins are users and passwords of the URLs above, by origin: see Origin. A user may have no password.
	Logins map[string]*url.Userinfo
	// Notes say what could not be read, and what is not used.
	Notes []string
}

// Origin is the scheme, host and port of a URL. It is the key of Logins.
func Origin(u *url.URL) string {
	scheme, port := strings.ToLower(u.Scheme), u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[scheme]
	}
	return scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port
}

// Read reads all settings. A setting that cannot be read counts as not set, and gives a note.
func Read(m Machine) Config {
	r := &reader{Machine: m, config: Config{CondaChannels: map[string]Value{}, Logins: map[string]*url.Userinfo{}}}
	r.pip()
	r.uv()
	r.conda()
	r.apt()
	r.registries()
	r.certs()
	return r.config
}

// reader reads the settings of one machine into one config.
type reader struct {
	Machine
	config Config
}

func (r *reader) note(format string, args ...any) {
	r.config.Notes = append(r.config.Notes, fmt.Sprintf(format, args...))
}

// maxFile limits a file of settings, in bytes.
const maxFile = 1 << 20

// open reads a file. One that is not there is nil; one that cannot be read is nil with a note.
func (r *reader) open(name string) []byte {
	data, err := r.read(name)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return data
	}
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	r.note("%s is not read: %v", name, err)
	return nil
}

func (r *reader) read(name string) (data []byte, err error) {
	name = r.abs(name)
	if name == "/" {
		return nil, fs.ErrNotExist
	}
	name = strings.TrimPrefix(name, "/")
	st, err := fs.Stat(r.Files, name) // before it is opened: that of a pipe waits for whoever writes to it
	switch {
	case err != nil:
		return nil, err
	case st.IsDir(), st.Mode()&fs.ModeCharDevice != 0: // /dev/null says that there is none
		return nil, fs.ErrNotExist
	case !st.Mode().IsRegular():
		return nil, errors.New("it is no regular file")
	}
	f, err := r.Files.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	if data, err = io.ReadAll(io.LimitReader(f, maxFile+1)); err == nil && len(data) > maxFile {
		return nil, fmt.Errorf("it is larger than %d bytes", maxFile)
	}
	return data, err
}

// exists tells whether there is a file or directory of that name.
func (r *reader) exists(name string) bool {
	_, err := fs.Stat(r.Files, strings.TrimPrefix(r.abs(name), "/"))
	return err == nil
}

// list are the files of a directory whose names end so, in order.
func (r *reader) list(dir string, ends ...string) []string {
	entries, err := fs.ReadDir(r.Files, strings.TrimPrefix(r.abs(dir), "/"))
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		if slices.Contains(ends, path.Ext(e.Name())) {
			out = append(out, path.Join(dir, e.Name()))
		}
	}
	slices.Sort(out)
	return out
}

// abs is a path from the root, clean, with ~ written out.
func (r *reader) abs(name string) string {
	if rest, ok := strings.CutPrefix(name, "~/"); ok {
		name = path.Join("/", r.Getenv("HOME"), rest)
	}
	if !path.IsAbs(name) {
		name = path.Join("/", filepath.ToSlash(r.Dir), name)
	}
	return path.Clean(name)
}

// configHome is where the user's settings are, by the rules of XDG; "" for one without a home.
func (r *reader) configHome() string {
	if dir := r.Getenv("XDG_CONFIG_HOME"); path.IsAbs(dir) {
		return dir
	}
	if home := r.Getenv("HOME"); home != "" {
		return path.Join(home, ".config")
	}
	return ""
}

// configDirs are where the settings of all users are, the most important last.
func (r *reader) configDirs() []string {
	dirs := strings.Split(r.Getenv("XDG_CONFIG_DIRS"), ":")
	dirs = slices.DeleteFunc(dirs, func(d string) bool { return !path.IsAbs(d) })
	if len(dirs) == 0 {
		return []string{"/etc/xdg"}
	}
	return dirs
}

// source reads a URL, and puts its user and password aside. What no package can be fetched from by HTTP is a note.
func (r *reader) source(raw, from string) Value {
	v, login, err := parseSource(raw)
	if err != nil {
		r.note("%s is not used: %v", from, err)
		return Value{}
	}
	v.From = from
	r.login(v.Text, login)
	return v
}

func parseSource(raw string) (Value, *url.Userinfo, error) {
	u, err := url.Parse(strings.TrimSpace(raw))
	if err != nil {
		// the error of net/url has the text, and that may have a password
		return Value{}, nil, errors.New("its value is no URL")
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return Value{}, nil, errors.New("its value is no URL that begins with http:// or https://")
	}
	login := u.User
	u.User, u.RawQuery, u.Fragment, u.RawFragment = nil, "", "", ""
	return Value{Text: strings.TrimRight(u.String(), "/")}, login, nil
}

// login remembers the user and password of a URL; the first of an origin counts.
func (r *reader) login(place string, login *url.Userinfo) {
	if login == nil {
		return
	}
	if u, err := url.Parse(place); err == nil && r.config.Logins[Origin(u)] == nil {
		r.config.Logins[Origin(u)] = login
	}
}

// certs lists the certificates that the settings name; pip's and conda's files were read before.
func (r *reader) certs() {
	for _, name := range []string{"PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"} {
		if v := r.Getenv(name); v != "" {
			r.cert(v, name)
		}
	}
	found := r.config.Certs
	r.config.Certs = nil
	for _, c := range found {
		if slices.ContainsFunc(r.config.Certs, func(o Value) bool { return o.Text == c.Text }) {
			continue
		}
		if !r.exists(c.Text) {
			r.note("%s is not used: %s is not there", c.From, c.Text)
			continue
		}
		r.config.Certs = append(r.config.Certs, c)
	}
}

func (r *reader) cert(file, from string) {
	r.config.Certs = append(r.config.Certs, Value{Text: r.abs(file), From: from})
}
