package cluster

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

const digest1 = "sha256:1111111111111111111111111111111111111111111111111111111111111111"

func load(t *testing.T, text string) *Spec {
	t.Helper()
	s, err := Load("cluster.yaml", []byte(text))
	if err != nil {
		t.Fatalf("load:\n%v", err)
	}
	return s
}

const sketch = `
name: demo
image: registry/ray@` + digest1 + `
head: {host: ssh://ubuntu@10.0.0.1}          # "local" or empty: this machine's Docker Engine
workers: [{hosts: ["ssh://ubuntu@10.0.0.[2-9]"], num_cpus: 8, num_gpus: 0, resources: {}}]
shm_size: auto
ports: {gcs: 6379, dashboard: 8265}
`

func TestLoadSketch(t *testing.T) {
	t.Parallel()
	s := load(t, sketch)
	if s.Name != "demo" || s.Head.ID != "demo-head" || s.Head.Host.ID() != "ubuntu@10.0.0.1" || s.Head.CPUs != -1 {
		t.Errorf("head %+v", s.Head)
	}
	if len(s.Workers) != 8 || s.MinWorkers != 8 || len(s.Hosts()) != 9 {
		t.Fatalf("%d workers, min %d, %d hosts", len(s.Workers), s.MinWorkers, len(s.Hosts()))
	}
	w := s.Workers[7]
	if w.ID != "demo-w-10-0-0-9" || w.CPUs != 8 || w.Ports.GCS != 0 || w.Ports.NodeManager != 6380 ||
		w.TempDir != "/tmp/ray" {
		t.Errorf("last worker %+v", w)
	}
}

const groups = `
name: c
image: ray
num_cpus: 2
env: {A: "1", B: x}
labels: {zone: a}
ssh: {user: ops, port: 2222, key: ~/.ssh/id, jump: "bastion,me@10.1.1.1:23"}
share_hosts: true
min_workers: 1
skip_unreachable: true
wait: 30s
allow_public: [203.0.113.5]
filter: true
head: {host: "[fd00::1]", num_cpus: 0, private_address: fd00::1}
workers:
  - name: big
    hosts: ["node[01-02]", "root@node03:22"]
    private_addresses: ["192.168.1.[1-3]"]
    nodes_per_host: 2
    env: {B: y}
    resources: {disk: 0.5}
    mounts: ["/data:/data:ro", "cache:/cache", {source: /x, target: /y, read_only: true}]
    args: ["--verbose", "--plasma-directory=/p q"]
    temp_dir: /scratch/ray
    object_store_memory: 1g
    memory: 1.5g
  - host: unix:///run/podman/podman.sock
`

func TestLoadDefaultsAndGroups(t *testing.T) {
	t.Parallel()
	s := load(t, groups)
	if h := s.Head.Host; h.Address != "fd00::1" ||
		h.User != "ops" || h.Port != 2222 || h.Key != "~/.ssh/id" || s.Head.CPUs != 0 {
		t.Errorf("head host %+v", h)
	}
	if s.Head.Host.ID() != "ops@[fd00::1]:2222" || s.Wait != 30*time.Second || !s.SkipUnreachable ||
		s.MinWorkers != 1 || !s.Filter {
		t.Errorf("id %s, spec %+v", s.Head.Host.ID(), s)
	}
	if len(s.Workers) != 7 {
		t.Fatalf("%d workers", len(s.Workers))
	}
	second := s.Workers[1]
	if second.ID != "c-w-node01-p2222-2" || second.Index != 1 || second.Ports.NodeManager != 6390 ||
		second.Ports.WorkerMin != 11002 ||
		second.Ports.AgentListen != 52366 || second.TempDir != "/scratch/ray-2" {
		t.Errorf("second node %+v", second)
	}
	if second.Env["A"] != "1" || second.Env["B"] != "y" || second.Labels["zone"] != "a" || s.Head.Env["B"] != "x" {
		t.Errorf("env %v, head's %v", second.Env, s.Head.Env)
	}
	if second.Memory != 3<<29 || second.ObjectStore != 1<<30 ||
		second.Host.Private != netip.MustParseAddr("192.168.1.1") {
		t.Errorf("memory %d, store %d, private %v", second.Memory, second.ObjectStore, second.Host.Private)
	}
	third := s.Workers[4]
	if third.Host.User != "root" || third.Host.Port != 22 || third.ID != "c-w-node03" {
		t.Errorf("third host %+v %s", third.Host, third.ID)
	}
	if m := third.Mounts; len(m) != 3 || !m[0].ReadOnly ||
		m[0].Volume || !m[1].Volume || m[1].ReadOnly || !m[2].ReadOnly {
		t.Errorf("mounts %+v", m)
	}
	if p := s.Workers[6]; !p.Host.Local || p.Host.ID() != "unix:///run/podman/podman.sock" || p.CPUs != 2 {
		t.Errorf("podman %+v", p)
	}
}

func TestLoadLocalAlone(t *testing.T) {
	t.Parallel()
	for _, head := range []string{"head:", "head: {host: local}", "head: {host: }", "head: {host: ''}",
		"head: {num_cpus: 2}"} {
		s := load(t, "name: a\nimage: ray\n"+head+"\nworkers: []\n")
		if !s.Head.Host.Local || len(s.Workers) != 0 {
			t.Errorf("%s: %+v", head, s.Head.Host)
		}
	}
}

// badCluster is a file that is refused, and a part of what is said of it.
type badCluster struct{ name, yaml, want string }

// badClusters must each give a problem at this place with this text.
func badClusters() []badCluster {
	const ok = "name: a\nimage: ray\nhead: {host: 10.0.0.1}\n"
	return []badCluster{
		{"unknown key", ok + "shmsize: auto\n", `4:1: shmsize: unknown key; did you mean "shm_size"?`},
		{"unknown key far from all", ok + "quux: 1\n", `4:1: quux: unknown key; known are accept_no_auth,`},
		{"unknown key of a group", ok + "workers: [{hosts: [b], cpus: 1}]\n",
			`4:24: workers[0].cpus: unknown key; known are args,`},
		{"key twice", ok + "wait: 1m\nwait: 2m\n",
			`5:1: key "wait" is there twice, first in line 4; keep one of the two`},
		{"no name", "image: ray\nhead: {host: b}\n", "1:1: has no name; add `name: demo`"},
		{"no image", "name: a\nhead: {host: b}\n",
			"1:1: has no image; add `image: registry/ray@sha256:…`, what `raybuild --push` printed"},
		{"no head", "name: a\nimage: ray\n", "1:1: has no head; add `head: {host: local}` or `head: {host: " +
			"ssh://user@10.0.0.1}`"},
		{"empty file", "# nothing\n", "the file describes no cluster"},
		{"a list", "- a\n", `1:1: is a list, not a mapping; write a mapping`},
		{"two documents", ok + "---\nname: b\n",
			`4:1: a second document; keep one document in the file: remove what follows ---`},
		{"not YAML", "name: [a\n", "not valid YAML"},
		{"tab", "name:\ta\n\thead: b\n", `2:1: a tab in the indentation; indent with spaces`},
		{"not UTF-8", "name: \xff\n", `1:7: not UTF-8; save the file as UTF-8`},
		{"byte order mark", "\ufeffname: a\n", "byte order mark"},
		{"too large", strings.Repeat("# x\n", 70000),
			`the file has 280000 bytes, more than the 262144 allowed; name hosts by ranges such as 10.0.0.[2-9]`},
		{"deep flow", "name: " + strings.Repeat("[", 100000),
			`the file is too complex: more than 60000 lines and separators; name hosts by ranges such as 10.0.0.[2-9]`},
		{"deep block", strings.Repeat("- ", 100000) + "a",
			`the file is too complex: more than 60000 lines and separators; name hosts by ranges such as 10.0.0.[2-9]`},
		{"anchor", ok + "env: &e {A: b}\n", `4:6: anchors and aliases are not supported; write the value out`},
		{"merge", "x: {<<: {name: a}}\n" + ok, `1:1: x: unknown key; known are accept_no_auth,`},
		{"binary tag", "name: !!binary YQ==\nimage: ray\n" +
			"head: {host: b}\n",
			`1:7: the tag "!!binary" is not supported; remove it; quote text that looks like something else`},
		{"NaN", ok + "num_gpus: .nan\n",
			`4:11: num_gpus: ".nan" is not a whole number from 0 to 1024; write one in digits, without quotes`},
		{"large exponent", ok + "num_cpus: 1e400\n",
			`4:11: num_cpus: "1e400" is not a whole number from 0 to 4096; write one in digits, without quotes`},
		{"negative", ok + "num_cpus: -1\n",
			`4:11: num_cpus: "-1" is not a whole number from 0 to 4096; write one in digits, without quotes`},
		{"quoted number", ok + "num_cpus: \"2\"\n",
			`4:11: num_cpus: "2" is not a whole number from 0 to 4096; write one in digits, without quotes`},
		{"boolean", ok + "filter: yes please\n", `4:9: filter: is text, not true or false; write true or false`},
		{"name with capitals", "name: Demo\nimage: ray\n" +
			"head: {host: b}\n",
			`1:7: name: "Demo" is not a cluster's name; start with a letter and use up to 40 lower-case letters, digits and -`},
		{"image with capitals", "name: a\nimage: Ray\nhead: {host: b}\n",
			`2:8: image: "Ray": invalid reference format: repository name (library/Ray) must be lowercase; write a reference such as registry.example/ray@sha256:… (lower case, digest of 64 hex digits)`},
		{"image with a short digest", "name: a\nimage: ray@sha256:12\n" +
			"head: {host: b}\n",
			`2:8: image: "ray@sha256:12": invalid reference format; write a reference such as registry.example/ray@sha256:… (lower case, digest of 64 hex digits)`},
		{"same host twice", ok + "workers: [{hosts: [10.0.0.2, 10.0.0.2]}]\n",
			"4:30: workers[0].hosts[1]: host 10.0.0.2 is there twice; remove one, or say `share_hosts: true` to run " +
				"several nodes on a host"},
		{"same host as another user", ok + "workers: [{hosts: [a@10.0.0.2, \"b@10.0.0.2:22\"]}]\n", "is there twice"},
		{"same host as another user, shared", ok + "share_hosts: true\nworkers: [{hosts: [a@10.0.0.2, b@10.0.0.2]}]\n",
			"with different settings"},
		{"head in workers", ok + "workers: [{hosts: [10.0.0.1]}]\n",
			"4:20: workers[0].hosts[0]: host 10.0.0.1 is the head's; remove it from workers (the head " +
				"works, too), or say `share_hosts: true` to run several nodes on a host"},
		{"two spellings of an IPv6 address", ok + "workers: [{hosts: [\"[fd00::2]\", \"[fd00:0::2]\"]}]\n",
			"is there twice"},
		{"IPv6 without an end", ok + "workers: [{hosts: [\"[fd00::2\"]}]\n", "is not closed by ]"},
		{"IPv4 in brackets with a port", ok + "workers: [{hosts: [\"[fd00::2]22\"]}]\n", "follows the brackets"},
		{"empty port", ok + "workers: [{hosts: [\"b:\"]}]\n", "has an empty port"},
		{"bare IPv6", ok + "workers: [{hosts: [\"fd00::2\"]}]\n", "write an IPv6 address in brackets, [fd00::2]"},
		{"port 0", ok + "workers: [{hosts: [\"b:0\"]}]\n", "port \"0\" is not between 1 and 65535"},
		{"port 70000", ok + "workers: [{hosts: [\"b:70000\"]}]\n", "port \"70000\" is not between 1 and 65535"},
		{"Ray port 70000", ok + "ports: {gcs: 70000}\n",
			`4:14: ports.gcs: "70000" is not a whole number from 1 to 65535; write one in digits, without quotes`},
		{"port of a range", ok + "ports: {workers: 10-12}\n",
			`4:18: ports.workers: "10-12" is too small or not between 1 and 65535; write a range such as 10002-10999, at least ten ports between 1 and 65535`},
		{"backward port range", ok + "ports: {workers: 20000-10000}\n", "is too small"},
		{"address out of range", ok + "workers: [{hosts: [\"10.0.0.[250-260]\"]}]\n",
			"host \"10.0.0.256\" is not an IPv4 address"},
		{"backward range", ok + "workers: [{hosts: [\"n[9-2]\"]}]\n", "range [9-2] ends before it starts"},
		{"open range", ok + "workers: [{hosts: [\"n[1-2\"]}]\n", "is not closed by ]"},
		{"letters in a range", ok + "workers: [{hosts: [\"n[a-c]\"]}]\n", "range [a-c] is not made of numbers"},
		{"huge range", ok + "workers: [{hosts: [\"n[1-999999999]\"]}]\n", "more than 1000 hosts"},
		{"huge product", ok + "workers: [{hosts: [\"n[1-100]-[1-100]\"]}]\n", "more than 1000 hosts"},
		{"another scheme", ok + "workers: [{hosts: [\"tcp://b:2375\"]}]\n", "\"tcp://\" is not a way to reach a host"},
		{"unspecified address", ok + "workers: [{hosts: [\"0.0.0.0\"]}]\n", "not the address of one machine"},
		{"group without hosts", ok + "workers: [{num_cpus: 1}]\n", "names no host"},
		{"two groups of one name", ok + "workers: [{name: x, host: b}, {name: x, host: c}]\n", "\"x\" is there twice"},
		{"several for one host", "name: a\nimage: ray\nhead: {host: \"n[1-2]\"}\n", "names 2 hosts"},
		{"nodes per host unasked", ok + "workers: [{hosts: [b], nodes_per_host: 2}]\n", "say `share_hosts: true`"},
		{"too many nodes", ok + "share_hosts: true\nworkers: [{hosts: [b], nodes_per_host: 20}, {hosts: [b]}]\n",
			"21 nodes on host b"},
		{"private addresses do not match", ok + "workers: [{hosts: [\"n[1-3]\"], private_addresses: " +
			"[\"10.1.0.[1-2]\"]}]\n", "2 private_addresses for 3 hosts"},
		{"private address twice", ok + "workers: [{hosts: [b, c], private_addresses: [10.1.0.1, 10.1.0.1]}]\n",
			"private address 10.1.0.1 is also that of b"},
		{"more minimum than workers", ok + "min_workers: 2\nworkers: [{host: b}]\n",
			`4:14: min_workers: is 2, more than the number of workers, 1; write at most 1`},
		{"ports that collide", ok + "ports: {gcs: 6380}\n", "port node_manager of a-head (6380) is also gcs"},
		{"ports that collide on a shared host", ok + "share_hosts: true\n" +
			"workers: [{hosts: [b], nodes_per_host: 2, ports: {metrics: 6370}}]\n", "6380"},
		{"worker ports too high", ok + "share_hosts: true\n" +
			"workers: [{hosts: [b], nodes_per_host: 2, ports: {agent_listen: 65535}}]\n",
			"port agent_listen of a-w-b-2 would be 65536"},
		{"small shm", ok + "shm_size: 10m\n",
			`4:11: shm_size: "10m" is too small for Ray's smallest object store of 75 MiB; write auto or at least 83m`},
		{"store larger than shm", ok + "shm_size: 1g\nobject_store_memory: 1g\n", "does not fit in shm_size"},
		{"size with a wrong unit", ok + "shm_size: 10x\n", "\"10x\" is not a size"},
		{"token in env", ok + "env: {RAY_AUTH_TOKEN: x}\n", "variable RAY_AUTH_TOKEN is set by the launcher"},
		{"env name", ok + "env: {\"A B\": x}\n", `4:7: env: "A B" is not a variable's name; use letters, digits and _`},
		{"env with newline", ok + "env: {A: \"x\\ny\"}\n", "control character"},
		{"env with a mapping", ok + "env: {A: {b: c}}\n", `4:10: env.A: is a mapping, not text; write text`},
		{"Ray's own resource", ok + "resources: {CPU: 2}\n", "resource \"CPU\" is one of Ray's own"},
		{"resource amount", ok + "resources: {x: 0.00001}\n",
			`4:16: resources.x: "0.00001" is not an amount; write a number such as 2 or 0.5, with at most four decimals`},
		{"Ray's own label", ok + "labels: {ray.io/x: y}\n",
			`4:10: labels: "ray.io/x" is not a label's name; use letters, digits and -_. (and an own prefix/, not ray.io/)`},
		{"mount over shm", ok + "mounts: [\"/x:/dev/shm\"]\n", "mount target /dev/shm is used by the launcher"},
		{"mount upwards", ok + "mounts: [\"/x/../etc:/y\"]\n", "mount source \"/x/../etc\" is not valid"},
		{"mount at a place twice", ok + "mounts: [\"/x:/y\", \"/z:/y\"]\n", "target /y is mounted twice"},
		{"argument of the launcher", ok + "args: [\"--port=1\"]\n",
			`4:8: args[0]: argument --port is set by the launcher; use ports`},
		{"argument that is none", ok + "args: [\"; touch /tmp/x\"]\n", "4:8: args[0]: \"; touch /tmp/x\" is not an " +
			"argument of `ray start`; write --name or --name=value, one argument an element"},
		{"jump that is no host", ok + "ssh: {jump: \"-oProxyCommand=x\"}\n",
			`4:13: ssh.jump: host "-oProxyCommand=x" is not a name or an address; write [user@]host[:port], several with commas, as ssh -J takes them`},
		{"relative socket", ok + "ssh: {socket: docker.sock}\n",
			`4:15: ssh.socket: "docker.sock" is not a clean absolute path; write an absolute path without .. and special characters`},
		{"wait without unit", ok + "wait: 2\n",
			`4:7: wait: "2" is not a time; write a time from 1s to 24h, such as 2m`},
		{"public address that is none", ok + "allow_public: [everything]\n",
			`4:16: allow_public[0]: "everything" is not the IP address of one machine; write one such as 10.0.0.5 or fd00::5`},
	}
}

func TestLoadProblems(t *testing.T) {
	t.Parallel()
	for _, tt := range badClusters() {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Now()
			_, err := Load("cluster.yaml", []byte(tt.yaml))
			if err == nil {
				t.Fatal("loads")
			}
			if took := time.Since(start); took > 30*time.Second { // far more than a busy machine needs
				t.Errorf("took %v", took)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got\n%v\nwant %s", err, tt.want)
			}
			for _, line := range strings.Split(err.Error(), "\n") {
				if !strings.HasPrefix(line, "cluster.yaml:") {
					t.Errorf("line without a place: %q", line)
				}
			}
		})
	}
}

func TestLoadReportsAllProblemsInOrder(t *testing.T) {
	t.Parallel()
	_, err := Load("c.yaml", []byte("name: A\nimage: Ray\nnum_cpu: 1\nhead: {host: -x, ports: {gcs: 0}}\n"+
		"workers: [{hosts: [b, b], shm_size: 1}]\n"))
	var p *SpecError
	if !errors.As(err, &p) {
		t.Fatalf("error is %T", err)
	}
	var lines []int
	for _, x := range p.Problems {
		lines = append(lines, x.Line)
		if x.Fix == "" {
			t.Errorf("no fix: %v", x)
		}
	}
	if got := fmt.Sprint(lines); got != "[1 2 3 4 4 5 5]" {
		t.Errorf("problems at lines %s:\n%v", got, err)
	}
}

// I1 of the fault matrix: nothing that means something to a shell or to an option parser gets
// through, whatever the field.
func TestLoadRefusesShellInEveryField(t *testing.T) {
	t.Parallel()
	bad := []string{"; touch x", "$(touch x)", "`touch x`", "a|b", "a&b", "a\nb", "a\x00b", "-oProxyCommand=x",
		"--flag", "a b", " a",
		"a\u00a0b", "\u202egnp", "a'b", "a\"b", "a>b", "a*", "a\\b", "../../etc", "~root;x"}
	fields := []string{"name: %s", "image: %s", "head: {host: %s}", "workers: [{host: %s}]", "workers: [{hosts: [%s]}]",
		"workers: [{name: %s, host: b}]", "ssh: {user: %s}", "ssh: {jump: %s}", "ssh: {socket: %s}", "temp_dir: %s",
		"env: {%s: x}", "resources: {%s: 1}", "labels: {%s: x}", "labels: {x: %s}",
		"mounts: [{source: %s, target: /x}]",
		"mounts: [{source: /x, target: %s}]", "args: [%s]", "shm_size: %s", "wait: %s", "allow_public: [%s]",
		"ports: {workers: %s}",
		"head: {private_address: %s}", "workers: [{host: b, private_addresses: [%s]}]"}
	for _, f := range fields {
		for _, b := range bad {
			doc := fmt.Sprintf(f, quoteYAML(b))
			if _, err := Load("c.yaml", []byte(doc)); err == nil || !strings.Contains(err.Error(), "c.yaml:1:") {
				if strings.HasPrefix(f, "args") && b == "--flag" {
					continue // a flag is what args are for; it stays one element of an argv
				}
				t.Errorf("accepted: %s (%v)", doc, err)
			}
		}
	}
}

func quoteYAML(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteString("\\" + string(r))
		case r < ' ':
			fmt.Fprintf(&b, "\\x%02x", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String() + `"`
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(sketch))
	f.Add([]byte("name: a\nimage: ray\nhead: {host: \"[fd00::1]:22\"}\n" +
		"workers: [{hosts: [\"n[01-12,15]\"], mounts: [\"/a:/b:ro\"], args: [\"--x=y\"]}]\n"))
	f.Add([]byte("name: &a [*a]\n? - {}\n: |\n  x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Load("c.yaml", data)
		if err != nil {
			var p *SpecError
			if !errors.As(err, &p) || len(p.Problems) == 0 {
				t.Fatalf("error without problems: %v", err)
			}
			return
		}
		ids := map[string]bool{}
		for _, n := range s.Nodes() {
			if ids[n.ID] || strings.HasPrefix(n.Host.Address, "-") || strings.HasPrefix(n.Host.User, "-") ||
				!strings.HasPrefix(n.ID, s.Name) {
				t.Fatalf("node %+v", n)
			}
			ids[n.ID] = true
			if n.Ports.WorkerMax > 65535 || n.Ports.WorkerMin >= n.Ports.WorkerMax {
				t.Fatalf("ports %+v", n.Ports)
			}
		}
	})
}
