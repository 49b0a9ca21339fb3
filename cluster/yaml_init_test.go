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

// TestInitNamesTheArgument has wrong arguments. A place in a file that nobody has written helps nobody.
func TestInitNamesTheArgument(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		cluster, image string
		hosts          []string
		want           string
	}{
		"a host twice": {"demo", "ray", []string{"root@10.99.0.11", "root@10.99.0.11"},
			"host root@10.99.0.11 is given twice"},
		"again in a range": {"demo", "ray", []string{"root@10.99.0.[11-12]", "me@10.99.0.12:22"},
			"host me@10.99.0.12:22 is given twice"},
		"this machine twice": {"demo", "ray", []string{"local", "local"}, "host local is given twice"},
		"no host":            {"demo", "ray", []string{"10.99.0.1", "http://a"}, `host "http://a": `},
		"an open range":      {"demo", "ray", []string{"10.99.0.[1-"}, `host "10.99.0.[1-": range in`},
		"a name":             {"Demo", "ray", nil, `name "Demo": start with a letter`},
		"an image":           {"demo", "Ray:1", nil, `image "Ray:1": `},
	} {
		_, err := Init(tt.cluster, tt.image, tt.hosts)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "yaml:1") {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}

func TestInitOfARange(t *testing.T) {
	t.Parallel()
	b, err := Init("demo", "ray", []string{"root@10.99.0.[11-13]", "root@10.99.0.[20-21]"})
	if err != nil {
		t.Fatal(err)
	}
	s := load(t, string(b))
	var got []string
	for _, h := range s.Hosts() {
		got = append(got, h.ID())
	}
	if strings.Join(got, " ") != "root@10.99.0.11 root@10.99.0.12 root@10.99.0.13 root@10.99.0.20 root@10.99.0.21" ||
		s.Head.Host.ID() != got[0] {
		t.Errorf("the hosts are %v, the head is on %s", got, s.Head.Host.ID())
	}
}
