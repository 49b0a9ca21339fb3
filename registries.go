package raybuild

import (
	"slices"

	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/layers"
)

// client returns a client for registries.
func (e *env) client() *registry.Client {
	o := registry.Options{Insecure: e.InsecureRegistries, CertDirs: registry.CertDirs(e.getenv), Log: e.warn}
	o.Mirrors = e.registryMirrors
	if len(e.bundles) > 0 {
		o.Bases = e.bundles.Bases()
	}
	return registry.New(o)
}

// pullFrom notes the recipe's mirrors of Docker Hub.
func (e *env) pullFrom(m layers.Mirrors) {
	e.hubs = nil
	for _, f := range m.Fetch {
		if f.Registry != "" {
			e.hubs = append(e.hubs, f.Registry)
		}
	}
}

// registryMirrors are the mirrors of a registry: the recipe's, and those that this machine is configured with.
func (e *env) registryMirrors(host string) []registry.Mirror {
	var urls []string
	if host == registry.DockerHub {
		urls = append(urls, e.hubs...)
	}
	for _, v := range e.host().Registries[host] {
		urls = append(urls, v.Text)
	}
	var all []registry.Mirror
	for _, u := range urls {
		m, err := registry.ParseMirror(u)
		if err == nil && !slices.Contains(all, m) {
			all = append(all, m)
		}
	}
	return all
}
