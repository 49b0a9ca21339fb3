package builder

import (
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
