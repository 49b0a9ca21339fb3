package builder

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/buildx/store"
)

func TestBuildxAddress(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		group store.NodeGroup
		want  string
		fails string
	}{
		"container": {store.NodeGroup{Driver: "docker-container",
			Nodes: []store.Node{{Name: "ci0", Endpoint: "unix:///var/run/docker.sock"}}},
			"docker-container://buildx_buildkit_ci0", ""},
		"container of a context": {store.NodeGroup{Driver: "docker-container",
			Nodes: []store.Node{{Name: "ci0", Endpoint: "far"}}},
			"docker-container://buildx_buildkit_ci0?context=far", ""},
		"remote": {store.NodeGroup{Driver: "remote",
			Nodes: []store.Node{{Endpoint: "tcp://b:1234"}, {Endpoint: "tcp://c:1234"}}}, "tcp://b:1234", ""},
		"remote with TLS": {store.NodeGroup{Driver: "remote", Nodes: []store.Node{{Endpoint: "tcp://b:1234",
			DriverOpts: map[string]string{"cacert": "/ca.pem", "key": "/k.pem", "cert": "/c.pem", "servername": "x"}}}},
			"tcp://b:1234?cacert=/ca.pem&cert=/c.pem&key=/k.pem&servername=x", ""},
		"docker": {store.NodeGroup{Driver: "docker", Nodes: []store.Node{{Endpoint: "default"}}}, "", ""},
		"docker at": {store.NodeGroup{Driver: "docker", Nodes: []store.Node{{Endpoint: "tcp://d:2375"}}},
			"tcp://d:2375", ""},
		"kubernetes": {store.NodeGroup{Driver: "kubernetes",
			Nodes: []store.Node{{Endpoint: "kubernetes:///x"}}}, "", "kube-pod://"},
		"without any node": {store.NodeGroup{Driver: "remote"}, "", "docker buildx create"},
		"driver of tomorrow": {store.NodeGroup{Driver: "cloud", Nodes: []store.Node{{Endpoint: "x"}}}, "",
			"its driver is cloud"},
	} {
		got, err := buildxAddress(&c.group)
		if got != c.want || (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) {
			t.Errorf("%s: %q, %v; want %q and an error with %q", name, got, err, c.want, c.fails)
		}
	}
}

// FuzzBuildxStore: whatever lies in buildx's directory, an address comes out, or an error.
func FuzzBuildxStore(f *testing.F) {
	f.Add([]byte(`{"Name":"ci","Driver":"remote","Nodes":[{"Name":"ci0","Endpoint":"tcp://b:1234","DriverOpts":` +
		`{"cacert":"/ca.pem"}}]}`))
	f.Add([]byte(`{"Name":"ci","Driver":"docker-container","Nodes":[{"Endpoint":"far"}]}`))
	f.Add([]byte(`{"Driver":"docker","Nodes":[{"Endpoint":"a b","Platforms":[{}]}]}`))
	f.Fuzz(func(t *testing.T, instance []byte) {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "instances"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "instances", "ci"), instance, 0o600); err != nil {
			t.Fatal(err)
		}
		group, err := findBuildx(func(name string) string {
			return map[string]string{"BUILDX_CONFIG": dir, "DOCKER_HOST": "unix:///x"}[name]
		}, "ci")
		if err != nil {
			return
		}
		if addr, err := buildxAddress(group); err == nil && addr == "" && group.Driver != "docker" {
			t.Fatalf("%+v has no address, and no error", group)
		}
	})
}
