package cluster

import (
	"strings"
	"testing"
)

func TestStatusFitsATerminal(t *testing.T) {
	t.Parallel()
	digest := strings.Repeat("0123456789abcdef", 4)
	s := &Status{Cluster: "demo", Image: "registry.example/team/ray@sha256:" + digest, Ray: "2.52.0", Healthy: true,
		Alive: 2, Wanted: 2,
		Nodes: []NodeStatus{
			{ID: "demo-head", Role: Head, Host: "ubuntu@10.0.0.11", Address: "10.0.0.11", Container: "running",
				Ray: rayAlive, Resources: map[string]float64{"CPU": 16}},
			{ID: "demo-w-two", Role: Worker, Host: "two", Address: "10.0.0.12", Container: "running", Ray: rayAlive,
				Resources: map[string]float64{"CPU": 16}},
		},
		Warnings: []string{"ray 2.52.0 has CVE-2026-57516 (fixed in 2.56.0): reading a WebDataset unpickles " +
			"what is in it"}}
	text := s.String()
	for _, l := range strings.Split(text, "\n") {
		if len([]rune(l)) > textWidth {
			t.Errorf("%d columns: %s", len([]rune(l)), l)
		}
	}
	for _, part := range []string{"registry.example/team/ray@sha256:0123456789ab…\n", "two (10.0.0.12)",
		"\n    unpickles what is in it\n", "  ubuntu@10.0.0.11  running"} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing in\n%s", part, text)
		}
	}
}
