package cluster

import (
	"strings"
	"testing"
)

func TestInitLoads(t *testing.T) {
	t.Parallel()
	for _, hosts := range [][]string{nil, {"local"}, {"ssh://ubuntu@10.0.0.1", "ssh://ubuntu@10.0.0.[2-9]"},
		{"node1", "node2", "[fd00::3]:2222"}} {
		b, err := Init("", "", hosts)
		if err != nil {
			t.Fatalf("%v: %v", hosts, err)
		}
		s := load(t, string(b))
		if s.Name != "demo" || (len(hosts) > 1) != (len(s.Workers) > 0) {
			t.Errorf("%v: %+v", hosts, s)
		}
		// What the comments show is valid, too.
		_, shown, _ := strings.Cut(string(b), "worker group for its own.\n")
		if !strings.Contains(shown, "# wait: 2m") {
			t.Fatalf("no comments in\n%s", b)
		}
		load(t, "name: a\nimage: ray\nhead: {host: local}\n"+strings.ReplaceAll(shown, "\n# ", "\n"))
	}
	for _, hosts := range [][]string{{"-x"}, {"a", "a"}, {"a\nhead: b"}, {`a", "b`}} {
		if b, err := Init("demo", "ray", hosts); err == nil {
			t.Errorf("%q accepted:\n%s", hosts, b)
		}
	}
}
