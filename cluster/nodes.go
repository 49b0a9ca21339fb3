package cluster

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

// Ports and limits of nodes. Ray's own defaults are kept where it has fixed ones (6379, 8265,
// 10001, 52365, 10002 and up); the random ones get a block beside GCS, so that a filter and a check
// can know them. Source: ray doc/source/ray-core/configure.rst, "Ports configurations".
const (
	maxPerHost  = 20   // nodes on one host: their worker ports end below 32768, where Linux's ephemeral ports start
	blockStep   = 10   // from one node's fixed ports to the next one's
	workerStep  = 1000 // from one node's worker ports to the next one's
	minStore    = 75 << 20
	minSHM      = 83 << 20
	defaultTemp = "/tmp/ray"
)

func defaultPorts() Ports {
	return Ports{GCS: 6379, Dashboard: 8265, Client: 10001, RedisShard: 6378, GCSServer: 6377,
		NodeManager: 6380, ObjectManager: 6381, RuntimeEnvAgent: 6382, AgentGRPC: 6383, Metrics: 6384,
		AgentListen: 52365, WorkerMin: 10002, WorkerMax: 10999}
}

// shift gives a host's second, third … node a block of its own. The head's ports are for a head alone.
func (p Ports) shift(index int, role Role) Ports {
	if role == Worker {
		p.GCS, p.Dashboard, p.Client, p.RedisShard, p.GCSServer = 0, 0, 0, 0, 0
	}
	for _, port := range []*int{&p.NodeManager, &p.ObjectManager, &p.RuntimeEnvAgent, &p.AgentGRPC, &p.Metrics} {
		*port += index * blockStep
	}
	p.AgentListen += index
	step := max(workerStep, p.WorkerMax-p.WorkerMin+1)
	p.WorkerMin += index * step
	p.WorkerMax += index * step
	return p
}

func tempDir(dir string, index int) string {
	if dir == "" {
		dir = defaultTemp
	}
	if index > 0 {
		dir += "-" + strconv.Itoa(index+1)
	}
	return dir
}

// ID names the host: "local", the unix:// address of a socket, or [user@]address[:port] with the parts that the file
// has.
func (h Host) ID() string {
	if h.Local {
		if h.Socket != "" {
			return "unix://" + h.Socket
		}
		return "local"
	}
	id := h.Address
	if h.Port != 0 {
		id = net.JoinHostPort(h.Address, strconv.Itoa(h.Port))
	}
	if h.User != "" {
		id = h.User + "@" + id
	}
	return id
}

// addrKind says who can reach an address.
type addrKind string

// Kinds of address.
const (
	addrLoopback  addrKind = "loopback"
	addrPrivate   addrKind = "private"    // RFC 1918, unique local (RFC 4193), carrier-grade NAT (RFC 6598)
	addrLinkLocal addrKind = "link-local" // RFC 3927, fe80::/10: no node can rely on it
	addrPublic    addrKind = "public"
)

// classify says who can reach an address.
func classify(a netip.Addr) addrKind {
	a = a.Unmap()
	switch {
	case a.IsLoopback():
		return addrLoopback
	case a.IsLinkLocalUnicast():
		return addrLinkLocal
	case a.IsPrivate(), netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10).Contains(a):
		return addrPrivate
	}
	return addrPublic
}

// portNeed is a port, or a range of ports, on which a node listens.
type portNeed struct {
	Node        string
	First, Last int    // inclusive
	Use         string // "gcs", "node manager", "worker processes", …
	Loopback    bool   // listens on 127.0.0.1 only
	Peers       bool   // other nodes must reach it
}

// portsNeeded lists the ports on which a node listens with a version of Ray. client says that the head opens the Ray
// Client port. Source of who reaches what: ray doc/source/ray-core/configure.rst.
func portsNeeded(n Node, version string, client bool) ([]portNeed, error) {
	v, err := parseVersion(version)
	if err != nil {
		return nil, err
	}
	p := n.Ports
	var out []portNeed
	add := func(use string, first, last int, loopback, peers bool) {
		if first != 0 {
			out = append(out, portNeed{Node: n.ID, First: first, Last: last, Use: use, Loopback: loopback,
				Peers: peers})
		}
	}
	if n.Role == Head {
		add("gcs", p.GCS, p.GCS, false, true)
		add("dashboard", p.Dashboard, p.Dashboard, true, false)
		if client && flagIn(v, "--ray-client-server-port") {
			add("ray client", p.Client, p.Client, false, false)
		}
		if usesRedis(v) {
			add("redis shard", p.RedisShard, p.RedisShard, false, true)
			if flagIn(v, "--gcs-server-port") {
				add("gcs server", p.GCSServer, p.GCSServer, false, true)
			}
		}
	}
	add("node manager", p.NodeManager, p.NodeManager, false, true)
	add("object manager", p.ObjectManager, p.ObjectManager, false, true)
	for _, f := range []struct {
		flag, use string
		port      int
	}{
		{"--runtime-env-agent-port", "runtime env agent", p.RuntimeEnvAgent},
		{"--dashboard-agent-grpc-port", "dashboard agent", p.AgentGRPC},
		{"--dashboard-agent-listen-port", "dashboard agent http", p.AgentListen},
		{"--metrics-export-port", "metrics", p.Metrics},
	} {
		if flagIn(v, f.flag) {
			add(f.use, f.port, f.port, false, true)
		}
	}
	add("worker processes", p.WorkerMin, p.WorkerMax, false, true)
	return out, nil
}

// all lists every port of a node whatever the version, for the check that no two nodes of a host want the same.
func (n Node) all() []portNeed {
	p := n.Ports
	var out []portNeed
	for _, x := range []struct {
		use         string
		first, last int
	}{
		{"gcs", p.GCS, p.GCS}, {"dashboard", p.Dashboard, p.Dashboard}, {"client", p.Client, p.Client},
		{"redis_shard", p.RedisShard, p.RedisShard}, {"gcs_server", p.GCSServer, p.GCSServer},
		{"node_manager", p.NodeManager, p.NodeManager},
		{"object_manager", p.ObjectManager, p.ObjectManager},
		{"runtime_env_agent", p.RuntimeEnvAgent, p.RuntimeEnvAgent},
		{"agent_grpc", p.AgentGRPC, p.AgentGRPC}, {"agent_listen", p.AgentListen, p.AgentListen},
		{"metrics", p.Metrics, p.Metrics},
		{"workers", p.WorkerMin, p.WorkerMax},
	} {
		if x.first != 0 {
			out = append(out, portNeed{Node: n.ID, First: x.first, Last: x.last, Use: x.use})
		}
	}
	return out
}

// collisions finds ports that two nodes of a host, or one node twice, would listen on, and those above 65535.
func (e *expansion) collisions() {
	at := map[string]*strictyaml.Node{"head": e.doc.head.at}
	for _, g := range e.doc.groups {
		at[g.name] = g.at
	}
	where := func(n Node) *strictyaml.Node {
		for _, g := range append([]*group{e.doc.head}, e.doc.groups...) {
			if g.name == n.Group && g.ports != nil {
				return g.ports
			}
		}
		return at[n.Group]
	}
	taken := map[string][]portNeed{} // by machine
	reported := map[string]bool{}    // one problem for a group and use: its other hosts have the same
	for _, n := range e.doc.spec.Nodes() {
		m := n.Host.machine()
		for _, p := range n.all() {
			fix, text := clash(p, taken[m])
			taken[m] = append(taken[m], p)
			if text != "" && !reported[n.Group+p.Use] {
				reported[n.Group+p.Use] = true
				e.bad(where(n), fix, "%s", text)
			}
		}
	}
}

// clash says what is wrong with a port next to those that are taken on its machine.
func clash(p portNeed, taken []portNeed) (fix, text string) {
	if p.Last > 65535 {
		return "choose lower ports", fmt.Sprintf("port %s of %s would be %d", p.Use, p.Node, p.Last)
	}
	for _, q := range taken {
		if p.First <= q.Last && q.First <= p.Last {
			return "leave ports out, or choose ranges that do not overlap",
				fmt.Sprintf("port %s of %s (%s) is also %s of %s (%s)", p.Use, p.Node, span(p), q.Use, q.Node, span(q))
		}
	}
	return "", ""
}

func span(p portNeed) string {
	if p.First == p.Last {
		return strconv.Itoa(p.First)
	}
	return fmt.Sprintf("%d-%d", p.First, p.Last)
}
