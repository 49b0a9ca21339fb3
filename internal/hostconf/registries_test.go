package hostconf

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// TestCase10MirrorsOfThisMachine: what pulls images on this machine says where images come from.
func TestCase10MirrorsOfThisMachine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		files map[string]string
		env   string // XDG_CONFIG_HOME
		want  string
	}{
		{"nothing", nil, "", ""},
		{"Docker", map[string]string{"etc/docker/daemon.json": `{"registry-mirrors": ["https://a.example/", ` +
			`"http://10.0.0.5:5000"], "debug": true}`}, "", "docker.io: https://a.example http://10.0.0.5:5000"},
		{"rootless Docker before the system's", map[string]string{
			"home/u/.config/docker/daemon.json": `{"registry-mirrors": ["https://own.example"]}`,
			"etc/docker/daemon.json":            `{"registry-mirrors": ["https://a.example", "https://own.example"]}`},
			"", "docker.io: https://own.example https://a.example"},
		{"another directory of settings", map[string]string{
			"conf/docker/daemon.json": `{"registry-mirrors": ["https://own.example"]}`}, "/conf",
			"docker.io: https://own.example"},
		{"a damaged file", map[string]string{"etc/docker/daemon.json": `{"registry-mirrors": "x"`}, "",
			"note: /etc/docker/daemon.json is not used: it is not what Docker takes"},
		{"a mirror with a password", map[string]string{
			"etc/docker/daemon.json": `{"registry-mirrors": ["https://u:geheim@a.example"]}`}, "",
			"note: /etc/docker/daemon.json: a mirror of docker.io has a user, and is not used"},
		{"Podman", map[string]string{"etc/containers/registries.conf": `
unqualified-search-registries = ["docker.io"]
[[registry]]
prefix = "docker.io"
location = "harbor.example/hub"
[[registry.mirror]]
location = "10.0.0.5:5000/hub"
insecure = true
[[registry]]
location = "quay.io"
[[registry.mirror]]
location = "quay.mirror.example"
[[registry]]
prefix = "ghcr.io/team"
location = "other.example"
`, "etc/containers/registries.conf.d/10-more.conf": `
[[registry]]
location = "docker.io"
[[registry.mirror]]
location = "more.example"
`}, "", "docker.io: http://10.0.0.5:5000/hub https://harbor.example/hub https://more.example\n" +
			"quay.io: https://quay.mirror.example"},
		{"containerd", map[string]string{"etc/containerd/certs.d/docker.io/hosts.toml": `
server = "https://registry-1.docker.io"
[host."https://z.example"]
  capabilities = ["pull", "resolve"]
[host."https://push.example"]
  capabilities = ["push"]
[host."a.example:5000/v2/hub"]
  override_path = true
`, "etc/containerd/certs.d/_default/hosts.toml": `[host."https://x.example"]`}, "",
			"docker.io: https://z.example https://a.example:5000/v2/hub"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			files := fstest.MapFS{}
			for name, text := range c.files {
				files[name] = &fstest.MapFile{Data: []byte(text)}
			}
			env := map[string]string{"HOME": "/home/u", "XDG_CONFIG_HOME": c.env}
			got := Read(Machine{Getenv: func(name string) string { return env[name] }, Files: files, Dir: "/"})
			var said []string
			for _, registry := range slices.Sorted(maps.Keys(got.Registries)) {
				line := registry + ":"
				for _, v := range got.Registries[registry] {
					line += " " + v.Text
					if !strings.HasPrefix(v.From, "/") {
						t.Errorf("%s is from %q", v.Text, v.From)
					}
				}
				said = append(said, line)
			}
			for _, n := range got.Notes {
				said = append(said, "note: "+n)
			}
			if all := strings.Join(said, "\n"); all != c.want {
				t.Errorf("got\n%s\nwant\n%s", all, c.want)
			}
		})
	}
}

// FuzzRegistries: what tools that pull images are configured with gives mirrors without users, or notes.
func FuzzRegistries(f *testing.F) {
	f.Add(`{"registry-mirrors": ["https://a.example"]}`, "[[registry]]\nlocation = 'docker.io'\n[[registry.mirror]]\n"+
		"location = 'm.example'\n", "[host.\"https://z.example\"]\ncapabilities = ['pull']\n")
	f.Fuzz(func(t *testing.T, daemon, podman, containerd string) {
		files := fstest.MapFS{"etc/docker/daemon.json": {Data: []byte(daemon)},
			"etc/containers/registries.conf":              {Data: []byte(podman)},
			"etc/containerd/certs.d/docker.io/hosts.toml": {Data: []byte(containerd)}}
		got := Read(Machine{Getenv: func(string) string { return "" }, Files: files, Dir: "/"})
		for _, all := range got.Registries {
			for _, v := range all {
				if u, err := url.Parse(v.Text); err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" ||
					u.Fragment != "" || !strings.HasPrefix(u.Scheme, "http") {
					t.Errorf("mirror %q (%v)", v.Text, err)
				}
			}
		}
	})
}
