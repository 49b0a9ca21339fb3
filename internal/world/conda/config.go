package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// config is what condarc files, environment and options come to.
type config struct {
	root, version string
	channels      []string
	defaults      []string          // default_channels
	custom        map[string]string // custom_channels
	alias         string            // channel_alias
	pkgsDirs      []string
	envsDirs      []string
	addPip        bool
	onlyBz2       bool
	offline       bool
	registerEnvs  bool
	autoAcceptTOS bool
	pinned        []string
	sources       []source
}

// source is one condarc file.
type source struct {
	path string
	data map[string]any
}

const (
	officialAlias = "https://conda.anaconda.org"
	officialMain  = "https://repo.anaconda.com/pkgs/main"
	officialR     = "https://repo.anaconda.com/pkgs/r"
)

func home() string { return os.Getenv("HOME") }

func loadConfig(o options) (*config, error) {
	c := &config{root: rootPrefix(), alias: officialAlias, defaults: []string{officialMain, officialR},
		custom: map[string]string{}, addPip: true, registerEnvs: true}
	c.version = condaVersion(c.root)
	// The order of conda's own search path; later files weigh more.
	for _, file := range []string{"/etc/conda/.condarc", filepath.Join(c.root, ".condarc"),
		filepath.Join(home(), ".condarc"), filepath.Join(os.Getenv("CONDA_PREFIX"), ".condarc"), os.Getenv("CONDARC")} {
		if file == "" || file == ".condarc" || slices.ContainsFunc(c.sources,
			func(s source) bool { return s.path == file }) {
			continue
		}
		if err := c.read(file); err != nil {
			return nil, err
		}
	}
	c.environment()
	if len(o.channels) > 0 || o.overrideChannels {
		var more []string
		if !o.overrideChannels {
			more = c.channels
		}
		c.channels = append(slices.Clone(o.channels), more...)
	}
	c.offline = c.offline || o.offline
	if len(c.pkgsDirs) == 0 {
		c.pkgsDirs = []string{filepath.Join(c.root, "pkgs")}
		if !writable(c.root) {
			c.pkgsDirs = []string{filepath.Join(home(), ".conda", "pkgs")}
		}
	}
	c.envsDirs = append(c.envsDirs, filepath.Join(c.root, "envs"), filepath.Join(home(), ".conda", "envs"))
	return c, nil
}

// read adds one condarc file.
func (c *config) read(file string) error {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	m := map[string]any{}
	if err := yaml.Unmarshal(data, &m); err != nil {
		return newError("ConfigurationLoadError", "Unable to load configuration file.\n  path: %s\n"+
			"  reason: invalid yaml: %v", file, err)
	}
	c.sources = append(c.sources, source{file, m})
	for key, to := range map[string]*[]string{"channels": &c.channels, "default_channels": &c.defaults,
		"pkgs_dirs": &c.pkgsDirs, "envs_dirs": &c.envsDirs, "pinned_packages": &c.pinned} {
		v, ok := m[key]
		if !ok || v == nil {
			continue
		}
		list, ok := v.([]any)
		if !ok {
			// Ends every command; observed on conda 26.7.1.
			return newError("InvalidTypeError", "Parameter _%s = %s declared in %s has type %s.\n"+
				"Valid types:\n  - tuple", key, pyRepr(v), file, pyType(v))
		}
		var values []string
		for _, one := range list {
			values = append(values, fmt.Sprint(one))
		}
		if key == "default_channels" {
			*to = values
		} else {
			*to = append(values, *to...)
		}
	}
	if v, ok := m["channel_alias"].(string); ok {
		c.alias = strings.TrimSuffix(v, "/")
	}
	if v, ok := m["custom_channels"].(map[string]any); ok {
		for name, base := range v {
			c.custom[name] = strings.TrimSuffix(fmt.Sprint(base), "/")
		}
	}
	for key, to := range map[string]*bool{"add_pip_as_python_dependency": &c.addPip, "offline": &c.offline,
		"register_envs": &c.registerEnvs, "use_only_tar_bz2": &c.onlyBz2} {
		if v, ok := m[key].(bool); ok {
			*to = v
		}
	}
	if p, ok := m["plugins"].(map[string]any); ok {
		c.autoAcceptTOS, _ = p["auto_accept_tos"].(bool)
	}
	return nil
}

// environment adds the variables CONDA_….
func (c *config) environment() {
	list := func(name, sep string) []string {
		return strings.FieldsFunc(os.Getenv(name), func(r rune) bool { return strings.ContainsRune(sep, r) })
	}
	if v := list("CONDA_CHANNELS", ","); len(v) > 0 {
		c.channels = append(v, c.channels...)
	}
	if v := list("CONDA_DEFAULT_CHANNELS", ","); len(v) > 0 {
		c.defaults = v
	}
	if v := list("CONDA_PKGS_DIRS", ","); len(v) > 0 {
		c.pkgsDirs = v
	}
	if v := list("CONDA_ENVS_DIRS", ":"); len(v) > 0 {
		c.envsDirs = append(v, c.envsDirs...)
	}
	if v := os.Getenv("CONDA_CHANNEL_ALIAS"); v != "" {
		c.alias = strings.TrimSuffix(v, "/")
	}
	c.pinned = append(c.pinned, list("CONDA_PINNED_PACKAGES", "&")...)
	for name, to := range map[string]*bool{
		"CONDA_ADD_PIP_AS_PYTHON_DEPENDENCY": &c.addPip, "CONDA_OFFLINE": &c.offline,
		"CONDA_REGISTER_ENVS": &c.registerEnvs, "CONDA_USE_ONLY_TAR_BZ2": &c.onlyBz2,
		"CONDA_PLUGINS_AUTO_ACCEPT_TOS": &c.autoAcceptTOS,
	} {
		switch strings.ToLower(os.Getenv(name)) {
		case "":
		case "1", "true", "yes", "on", "y":
			*to = true
		default:
			*to = false
		}
	}
}

// envPrefix is where the environment of a name is, or where it would be made.
func (c *config) envPrefix(name string) string {
	for _, d := range c.envsDirs {
		if isEnv(filepath.Join(d, name)) {
			return filepath.Join(d, name)
		}
	}
	for _, d := range c.envsDirs {
		if os.MkdirAll(d, 0o755) == nil && writable(d) {
			return filepath.Join(d, name)
		}
	}
	return filepath.Join(c.envsDirs[0], name)
}

func isEnv(prefix string) bool {
	return exists(filepath.Join(prefix, "conda-meta"))
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// writable tries to write: a read-only mount has the same mode bits as another.
func writable(dir string) bool {
	f, err := os.CreateTemp(dir, ".conda-test-*")
	if err != nil {
		return false
	}
	return errors.Join(f.Close(), os.Remove(f.Name())) == nil
}

func pyRepr(v any) string {
	if s, ok := v.(string); ok {
		return "'" + strings.ReplaceAll(s, "'", `\'`) + "'"
	}
	return fmt.Sprint(v)
}

func pyType(v any) string {
	switch v.(type) {
	case string:
		return "str"
	case map[string]any:
		return "frozendict"
	case bool:
		return "bool"
	}
	return "int"
}

// pyList is a list of strings as Python prints it.
func pyList(l []string) string {
	out := make([]string, len(l))
	for i, s := range l {
		out[i] = pyRepr(s)
	}
	return "[" + strings.Join(out, ", ") + "]"
}
