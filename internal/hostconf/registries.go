package hostconf

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// dockerHub is the registry whose mirrors Docker's own settings name.
const dockerHub = "docker.io"

// registries reads the mirrors of image registries: of Docker, of Podman and its relatives, and of containerd.
func (r *reader) registries() {
	home := r.Getenv("HOME")
	config := r.Getenv("XDG_CONFIG_HOME")
	if config == "" && home != "" {
		config = path.Join(home, ".config")
	}
	if path.IsAbs(config) {
		r.dockerDaemon(path.Join(config, "docker/daemon.json")) // of rootless Docker
	}
	r.dockerDaemon("/etc/docker/daemon.json")
	r.containersRegistries(config)
	r.containerdHosts("/etc/containerd/certs.d")
}

// addRegistry adds a mirror of a registry, unless it has that one. The text is a URL.
func (r *reader) addRegistry(registry, text, from string) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" {
		r.note("%s: a mirror of %s is no URL, and is not used", from, registry)
		return
	}
	if u.User != nil {
		r.note("%s: a mirror of %s has a user, and is not used", from, registry)
		return
	}
	text = strings.TrimSuffix(u.String(), "/")
	all := r.config.Registries[registry]
	if slices.ContainsFunc(all, func(v Value) bool { return v.Text == text }) {
		return
	}
	if r.config.Registries == nil {
		r.config.Registries = map[string][]Value{}
	}
	r.config.Registries[registry] = append(all, Value{Text: text, From: from})
}

// dockerDaemon reads "registry-mirrors", which are Docker Hub's
// (https://docs.docker.com/reference/cli/dockerd/#daemon-configuration-file).
func (r *reader) dockerDaemon(name string) {
	data := r.open(name)
	if data == nil {
		return
	}
	mirrors, err := parseDaemon(data)
	if err != nil {
		r.note("%s is not used: %v", name, err)
	}
	for _, m := range mirrors {
		r.addRegistry(dockerHub, m, name)
	}
}

func parseDaemon(data []byte) ([]string, error) {
	var f struct {
		Mirrors []string `json:"registry-mirrors"`
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, errors.New("it is not what Docker takes")
	}
	return f.Mirrors, nil
}

// registriesFile is the part of a registries.conf that says where images come from
// (containers-registries.conf(5), version 2).
type registriesFile struct {
	Registry []struct {
		registryPlace
		Prefix string          `toml:"prefix"`
		Mirror []registryPlace `toml:"mirror"`
	} `toml:"registry"`
}

type registryPlace struct {
	Location string `toml:"location"`
	Insecure bool   `toml:"insecure"`
}

// url is a place as a URL. A location may have a path.
func (p registryPlace) url() string {
	if p.Insecure {
		return "http://" + p.Location
	}
	return "https://" + p.Location
}

func parseRegistries(data []byte) (registriesFile, error) {
	var f registriesFile
	if err := toml.Unmarshal(data, &f); err != nil {
		return registriesFile{}, errors.New("it is not what Podman takes")
	}
	return f, nil
}

// containersRegistries reads the user's registries.conf, or else the system's, and the files beside it. An entry for a
// part of a registry (a prefix with a path, or one with a star) is left out.
func (r *reader) containersRegistries(config string) {
	name := path.Join(config, "containers/registries.conf")
	if !path.IsAbs(name) || r.open(name) == nil {
		name = "/etc/containers/registries.conf"
	}
	for _, name := range append([]string{name}, r.files(name+".d", ".conf")...) {
		data := r.open(name)
		if data == nil {
			continue
		}
		f, err := parseRegistries(data)
		if err != nil {
			r.note("%s is not used: %v", name, err)
		}
		for _, one := range f.Registry {
			registry := one.Prefix
			if registry == "" {
				registry = one.Location
			}
			if registry == "" || strings.ContainsAny(registry, "/*") {
				continue
			}
			for _, m := range one.Mirror {
				r.addRegistry(registry, m.url(), name)
			}
			if one.Location != "" && one.Location != registry {
				r.addRegistry(registry, one.url(), name)
			}
		}
	}
}

// containerdFile is the part of a hosts.toml that says where images come from
// (https://github.com/containerd/containerd/blob/main/docs/hosts.md).
type containerdFile struct {
	Host map[string]struct {
		Capabilities []string `toml:"capabilities"`
		SkipVerify   bool     `toml:"skip_verify"`
	} `toml:"host"`
}

func parseHosts(data []byte) ([]string, error) {
	var f containerdFile
	if err := toml.Unmarshal(data, &f); err != nil {
		return nil, errors.New("it is not what containerd takes")
	}
	var all []string
	for _, place := range hostOrder(data) {
		h, ok := f.Host[place]
		if ok && (len(h.Capabilities) == 0 || slices.Contains(h.Capabilities, "pull")) && !slices.Contains(all, place) {
			all = append(all, place)
		}
	}
	return all, nil
}

// hostOrder lists the tables of a hosts.toml as they stand there: containerd tries the places in this order, and a map
// has none.
func hostOrder(data []byte) (all []string) {
	for line := range strings.Lines(string(data)) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "[host.")
		if !ok || len(rest) < 2 {
			continue
		}
		place, _, ok := strings.Cut(rest[1:], rest[:1])
		if ok && (rest[0] == '"' || rest[0] == '\'') {
			all = append(all, place)
		}
	}
	return all
}

// containerdHosts reads containerd's directory of registries. A place without a scheme is https.
func (r *reader) containerdHosts(dir string) {
	entries, err := fs.ReadDir(r.Files, strings.TrimPrefix(dir, "/"))
	if err != nil {
		return // there is none, or it is not ours to read
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name(), "hosts.toml")
		data := r.open(name)
		if data == nil || e.Name() == "_default" {
			continue
		}
		places, err := parseHosts(data)
		if err != nil {
			r.note("%s is not used: %v", name, err)
		}
		for _, place := range places {
			if !strings.Contains(place, "://") {
				place = "https://" + place
			}
			r.addRegistry(e.Name(), place, name)
		}
	}
}

// files lists the files of a directory with a suffix, by name.
func (r *reader) files(dir, suffix string) (all []string) {
	entries, err := fs.ReadDir(r.Files, strings.TrimPrefix(dir, "/"))
	if err != nil {
		return nil // there is none
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) {
			all = append(all, path.Join(dir, e.Name()))
		}
	}
	return all
}
