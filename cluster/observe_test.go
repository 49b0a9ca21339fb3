package cluster

import (
	"io"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
)

// procFiles is what a Debian 12 host with Docker prints (cat of what askKernel names), shortened.
const procFiles = `Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.0.0.0/24 2 0 2
        |-- 10.0.0.0
           /24 link UNICAST
Local:
  +-- 0.0.0.0/0 3 0 5
     +-- 10.0.0.0/24 2 0 2
        +-- 10.0.0.0/28 2 0 2
           |-- 10.0.0.5
              /32 host LOCAL
        |-- 10.0.0.255
           /32 link BROADCAST
     +-- 127.0.0.0/8 2 0 2
           |-- 127.0.0.1
              /32 host LOCAL
     |-- 172.17.0.1
        /32 host LOCAL
fe80000000000000005056fffe000001 02 40 20 80     eth0
fd000000000000000000000000000005 02 40 00 80     eth0
00000000000000000000000000000001 01 80 10 80       lo
MemTotal:       24683620 kB
MemFree:        23011840 kB
HugePages_Total:       0
0,2-4
`

func TestParseKernel(t *testing.T) {
	t.Parallel()
	want := kernel{looked: true, memory: 24683620 << 10, cpus: 4,
		addresses: []netip.Addr{netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("172.17.0.1"),
			netip.MustParseAddr("fe80::50:56ff:fe00:1"), netip.MustParseAddr("fd00::5")}}
	if got := parseKernel(procFiles); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
	if got := parseKernel("cat: not found\n\x00|--\n/32 host LOCAL\n" +
		"MemTotal: many kB\n3-1\n1,\n-"); !reflect.DeepEqual(got, kernel{}) {
		t.Errorf("noise gives %v", got)
	}
}

func TestParseListening(t *testing.T) {
	t.Parallel()
	ss := "LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:((\"sshd\",pid=612,fd=3))\nLISTEN 0 4096 [::]:8265 [::]:*\n" +
		"LISTEN 0 5 127.0.0.1%lo:6379 0.0.0.0:* users:((\"redis server\",pid=7,fd=6),(\"x\",pid=8,fd=6))\n"
	if got, want := parseSS(ss), map[int]string{22: "sshd (pid 612)", 8265: "", 6379: ""}; got[22] != want[22] ||
		got[8265] != "" || len(got) != 3 {
		t.Errorf("got %v", got)
	}
	tcp := "  sl  local_address rem_address   st tx_queue\n   0: 00000000:0016 00000000:0000 0A 00000000:00000000\n" +
		"   1: 0100007F:18EB 0100007F:A3C2 01 0\n" +
		"   2: 00000000000000000000000000000000:2049 00000000000000000000000000000000:0000 0A 0\n"
	if got, want := parseProcTCP(tcp), map[int]string{22: "", 8265: ""}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
}

func FuzzHostAnswers(f *testing.F) {
	f.Add(procFiles)
	f.Add("LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:((\"sshd\",pid=612,fd=3))")
	f.Add("0: 00000000:0016 00000000:0000 0A")
	f.Fuzz(func(t *testing.T, s string) {
		for _, a := range parseKernel(s).addresses {
			if !a.IsValid() || a.IsLoopback() {
				t.Errorf("address %v of %q", a, s)
			}
		}
		for port := range parseProcTCP(s) {
			if port < 0 || port > 65535 {
				t.Errorf("port %d of %q", port, s)
			}
		}
		parseSS(s)
		for _, p := range slices.Concat(parseSockets(s).TCP, parseSockets(s).UDP) {
			if p.First < 1 || p.Last < p.First || p.Last > 65535 {
				t.Errorf("ports %v of %q", p, s)
			}
		}
		if o, ok := parseOpen(s); ok {
			if again, ok := parseOpen(o.String()); !ok || !reflect.DeepEqual(o, again) {
				t.Errorf("%q is %v, and is read again as %v", s, o, again)
			}
		}
		if got := parseTable(s); got.digest == "" || strings.ContainsAny(got.digest+got.id, " ") {
			t.Errorf("%q is the filter %+v", s, got)
		}
	})
}

// FuzzRayAnswers: whatever the head answers, the table of nodes and its numbers come out, or an error that is safe to
// show.
func FuzzRayAnswers(f *testing.F) {
	f.Add(200, `{"result":true,"data":{"result":{"result":[{"node_id":"a","node_ip":"10.0.0.1","node_name":"n",`+
		`"state":"ALIVE","resources_total":{"CPU":2},"start_time_ms":-1}]}}}`)
	f.Add(200, `{"data":{"summary":[{"ip":"10.0.0.1","cpu":1e308,"mem":[1,2,3]}]}}`)
	f.Add(500, "\x1b]0;x\x07{")
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 200 || status > 599 {
			return
		}
		r := &ray{base: "http://127.0.0.1", features: features{StateAPI: true}, http: &http.Client{
			Transport: rayAnswer(func(req *http.Request) *http.Response {
				return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Request: req}
			})}}
		safe := func(err error) {
			if err != nil && strings.ContainsAny(err.Error(), "\x1b\x07\x00") {
				t.Fatalf("%q is not safe to show", err)
			}
		}
		nodes, err := r.nodes(t.Context())
		safe(err)
		found, foreign := match([]container{{Node: Node{ID: "a"}, Address: netip.MustParseAddr("10.0.0.1")}}, nodes,
			true)
		if len(found) > 1 || len(found)+len(foreign) > len(nodes) {
			t.Fatalf("%d nodes are %d found and %d foreign", len(nodes), len(found), len(foreign))
		}
		for _, n := range nodes {
			nodeResources{CPU: 1, GPU: 1}.lacks(n.Resources)
		}
		r.load(t.Context())
		safe(r.healthy(t.Context()))
	})
}

// rayAnswer is a head of one answer.
type rayAnswer func(*http.Request) *http.Response

func (a rayAnswer) RoundTrip(r *http.Request) (*http.Response, error) { return a(r), nil }

func TestFilterRulesAreStableAndTellChanges(t *testing.T) {
	t.Parallel()
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::2")
	open := openPorts{TCP: []PortRange{{22, 22}, {9000, 9100}}, UDP: []PortRange{{68, 68}}}
	f := packetFilter{cluster: "demo", id: idA, members: []netip.Addr{a, b}, open: open,
		allow: Allow{Ports: []PortRange{{8000, 8000}}, From: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}}
	rules, digest := f.rules()
	f.members, f.open.TCP = []netip.Addr{b, a, a}, []PortRange{{9000, 9100}, {22, 22}, {9001, 9001}}
	again, same := f.rules()
	if rules != again || digest != same {
		t.Errorf("order changes the rules:\n%s\n%s", rules, again)
	}
	for _, want := range []string{"delete table inet raybuild-demo", "chain digest-" + digest,
		"chain id-" + idA, "ip saddr { 10.0.0.1 } accept", "ip saddr { 10.1.0.0/16 } accept",
		"ip6 saddr { fd00::2 } accept", "tcp dport { 22,8000,9000-9100 } accept", "udp dport { 68,8000 } accept",
		"\t\tdrop\n"} {
		if !strings.Contains(rules, want) {
			t.Errorf("no %q in\n%s", want, rules)
		}
	}
	fewer := f
	fewer.members = []netip.Addr{a}
	if _, other := fewer.rules(); other == digest {
		t.Error("another member does not change the digest")
	}
	f.allow.Ports = nil
	if _, other := f.rules(); other == digest {
		t.Error("another port does not change the digest")
	}
}

func TestShellLineArrivesAsGiven(t *testing.T) {
	t.Parallel()
	got := shellLine([]string{"python", "a b.py", "it's", "$(x)", "", "--n=3", "a\nb"})
	want := `python 'a b.py' 'it'\''s' '$(x)' '' --n=3 'a` + "\n" + `b'`
	if got != want {
		t.Errorf("got %s", got)
	}
}

func TestCodeIn(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"Job entrypoint command failed with exit code 3, last available logs (truncated to 20,000 chars):\n": 3,
		"Job supervisor actor died": 0, "exit code x": 0, "": 0} {
		if got, ok := codeIn(text); got != want || ok != (want != 0) {
			t.Errorf("%q: got %d, %v", text, got, ok)
		}
	}
}

func TestPrefixedKeepsLinesWhole(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	var mu sync.Mutex
	p := &prefixed{w: &b, prefix: "n | ", mu: &mu}
	for _, s := range []string{"one\ntw", "o\n", "", "three"} {
		if n, err := p.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	p.flush()
	if b.String() != "n | one\nn | two\nn | three\n" {
		t.Errorf("got %q", b.String())
	}
}

func TestProcessIsDead(t *testing.T) {
	t.Parallel()
	me := processID()
	if me == "" {
		t.Skip("no /proc here")
	}
	if processIsDead(me) {
		t.Error("this process is taken for dead")
	}
	f := strings.Fields(me)
	if !processIsDead(strings.Join([]string{f[0], f[1], "999999999", "1"}, " ")) {
		t.Error("a process that is not there is taken for alive")
	}
	if !processIsDead(strings.Join([]string{f[0], f[1], f[2], "1"}, " ")) {
		t.Error("another process of the same number is taken for it")
	}
	for _, other := range []string{"", "x", "otherboot " + strings.Join(f[1:], " "), f[0] + " pid:[1] 1 1"} {
		if processIsDead(other) {
			t.Errorf("%q, of which nothing can be known, is taken for dead", other)
		}
	}
}

func TestRegistryOf(t *testing.T) {
	t.Parallel()
	for ref, want := range map[string]string{"ray": "docker.io", "rayproject/ray:2": "docker.io",
		"localhost/ray": "localhost", "r.example/ray@sha256:0": "r.example", "10.0.0.1:5000/a/b": "10.0.0.1:5000"} {
		if got := registryOf(ref); got != want {
			t.Errorf("%s: got %s", ref, got)
		}
	}
	for ref, want := range map[string][2]string{"r:5000/a:1": {"r:5000/a", ""}, "r:5000/a": {"r:5000/a", ""},
		"a:1@sha256:0": {"a", "sha256:0"}} {
		if name, digest := splitDigest(ref); name != want[0] || digest != want[1] {
			t.Errorf("%s: got %s %s", ref, name, digest)
		}
	}
}

func TestMatchFindsNodesOfOneHostByName(t *testing.T) {
	t.Parallel()
	a := netip.MustParseAddr("10.0.0.1")
	desired := []container{{Node: Node{ID: "d-head"}, Address: a}, {Node: Node{ID: "d-w"}, Address: a}}
	nodes := []rayNode{{Name: "d-w", IP: "10.0.0.1", Alive: true}, {Name: "d-head", IP: "10.0.0.1", Alive: true},
		{Name: "x", IP: "10.0.0.9", Alive: true}, {Name: "d-w", IP: "10.0.0.1"}}
	found, foreign := match(desired, nodes, true)
	if found["d-w"].Name != "d-w" || found["d-head"].Name != "d-head" || len(foreign) != 1 ||
		foreign[0].IP != "10.0.0.9" {
		t.Errorf("got %v %v", found, foreign)
	}
	if found, foreign = match(desired, []rayNode{{IP: "10.0.0.1", Alive: true}, {IP: "10.0.0.1", Alive: true}},
		false); len(found) != 2 || len(foreign) != 0 {
		t.Errorf("without names: %v %v", found, foreign)
	}
	if got := (nodeResources{CPU: 8, Custom: map[string]float64{"disk": 1}}).lacks(map[string]float64{"CPU": 4,
		"disk": 1}); got != "CPU 4 instead of 8" {
		t.Errorf("got %q", got)
	}
}
