package cluster

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

// placed is a machine with the nodes that the file puts there.
type placed struct {
	host  Host
	nodes int
	head  bool
}

// expansion turns groups into nodes and finds what contradicts between them.
type expansion struct {
	*decoder
	doc      *document
	machines map[string]*placed // by machine, whatever the user
	ids      map[string]bool
	private  map[netip.Addr]string // who advertises it
}

// expand makes one node for each container.
func (d *decoder) expand(doc *document) *Spec {
	e := &expansion{decoder: d, doc: doc, machines: map[string]*placed{}, ids: map[string]bool{},
		private: map[netip.Addr]string{}}
	s := &doc.spec
	if heads := e.nodes(doc.head, Head); len(heads) > 0 {
		s.Head = heads[0]
	}
	for _, g := range doc.groups {
		s.Workers = append(s.Workers, e.nodes(g, Worker)...)
	}
	s.MinWorkers = len(s.Workers)
	if at := d.Place("min_workers"); at != nil {
		if doc.min > len(s.Workers) {
			fix := fmt.Sprintf("write at most %d", len(s.Workers))
			d.bad(at, fix, "is %d, more than the number of workers, %d", doc.min, len(s.Workers))
		}
		s.MinWorkers = doc.min
	}
	if at := d.Place("allow"); at != nil && !s.Filter && len(s.Allow.Ports)+len(s.Allow.From) > 0 {
		d.bad(at, "say `filter: true`, too, or leave allow out", "allow is for the packet filter, and there is none")
	}
	if len(s.Workers) > maxHosts {
		d.bad(nil, "use several clusters", "%d workers, at most %d", len(s.Workers), maxHosts)
	}
	if d.Count() == 0 {
		e.collisions()
	}
	return s
}

// nodes expands one group.
func (e *expansion) nodes(g *group, role Role) []Node {
	e.checkSizes(g)
	var out []Node
	for i, h := range g.hosts {
		host := e.hostOf(g, h)
		if len(g.private) > i {
			host.Private = g.private[i]
		}
		host, first := e.place(g, host, h.at)
		for k := range g.perHost {
			n := g.node
			n.Role, n.Group, n.Host, n.Index = role, g.name, host, first+k
			n.ID = e.id(role, host, n.Index)
			if e.ids[n.ID] && e.Count() == 0 {
				e.bad(h.at, "use addresses that differ in letters and digits", "two nodes would be called %s", n.ID)
			}
			e.ids[n.ID] = true
			n.Ports = g.node.Ports.shift(n.Index, role)
			n.TempDir = tempDir(g.node.TempDir, n.Index)
			n.Resources, n.Labels, n.Env = maps.Clone(n.Resources), maps.Clone(n.Labels), maps.Clone(n.Env)
			n.Mounts, n.Args = slices.Clone(n.Mounts), slices.Clone(n.Args)
			out = append(out, n)
		}
	}
	return out
}

// hostOf adds the group's ssh settings to a host; what the host itself says wins.
func (e *expansion) hostOf(g *group, h hostAt) Host {
	out := h.host
	if out.Local {
		return out
	}
	if out.User == "" {
		out.User = g.ssh.User
	}
	if out.Port == 0 {
		out.Port = g.ssh.Port
	}
	out.Key, out.Jump, out.Socket = g.ssh.Key, g.ssh.Jump, g.ssh.Socket
	return out
}

// place puts the group's nodes on a machine and returns the host as it was first named and the
// index of the first of them there.
func (e *expansion) place(g *group, h Host, at *strictyaml.Node) (Host, int) {
	if !h.Local && h.Address == "" {
		return h, 0 // reported already
	}
	if g.perHost > 1 && !e.doc.share {
		e.bad(g.at, "say `share_hosts: true` at the top, too", "nodes_per_host is %d", g.perHost)
	}
	m := e.machines[h.machine()]
	if m == nil {
		m = &placed{host: h, head: g == e.doc.head}
		e.machines[h.machine()] = m
		if other := e.private[h.Private]; other != "" && h.Private.IsValid() {
			e.bad(at, "each host has an address of its own", "private address %s is also that of %s", h.Private, other)
		}
		e.private[h.Private] = h.ID()
	} else {
		if !h.Private.IsValid() {
			h.Private = m.host.Private
		}
		switch {
		case !e.doc.share && m.head:
			e.bad(at, "remove it from workers (the head works, too), or say `share_hosts: true` to run several "+
				"nodes on a host",
				"host %s is the head's", clip(h.ID()))
		case !e.doc.share:
			e.bad(at, "remove one, or say `share_hosts: true` to run several nodes on a host",
				"host %s is there twice", clip(h.ID()))
		case m.host != h:
			e.bad(at, "write the host in one way", "host %s is there twice, with different settings", clip(h.ID()))
		}
	}
	first := m.nodes
	if m.nodes += g.perHost; m.nodes > maxPerHost {
		e.bad(at, fmt.Sprintf("use at most %d, one large node does the same work", maxPerHost), "%d nodes on host %s",
			m.nodes, clip(h.ID()))
		return m.host, 0
	}
	return m.host, first
}

// machine is what makes two spellings the same machine: its address and port.
func (h Host) machine() string {
	if h.Local {
		return "local " + h.Socket
	}
	port := h.Port
	if port == 22 {
		port = 0
	}
	address := h.Address
	if a, err := netip.ParseAddr(address); err == nil {
		address = a.Unmap().String()
	}
	return fmt.Sprintf("%s %d", address, port)
}

// id names a node: demo-head, demo-w-10-0-0-2, demo-w-10-0-0-2-2.
func (e *expansion) id(role Role, h Host, index int) string {
	if role == Head {
		return e.doc.spec.Name + "-head"
	}
	where := "local"
	if !h.Local {
		where = slug(h.Address)
		if h.Port != 0 && h.Port != 22 {
			where += fmt.Sprintf("-p%d", h.Port) // several hosts behind one address, told apart by port
		}
	}
	id := e.doc.spec.Name + "-w-" + where
	if index > 0 {
		id += fmt.Sprintf("-%d", index+1)
	}
	return id
}

// checkSizes finds amounts that do not fit each other.
func (e *expansion) checkSizes(g *group) {
	n := g.node
	if n.SHM > 0 && n.ObjectStore > 0 && shmFor(n.ObjectStore) > n.SHM {
		e.bad(g.at, "leave one of the two out: shm_size is 1.1 × object_store_memory",
			"object_store_memory %d does not fit in shm_size %d of %s", n.ObjectStore, n.SHM, g.name)
	}
}
