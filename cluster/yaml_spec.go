package cluster

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// hostAt is a host with the node that names it.
type hostAt struct {
	host Host
	at   ast.Node
}

// group is a head or a list of workers as the file has it.
type group struct {
	name    string
	at      ast.Node // for messages
	hosts   []hostAt
	private []netip.Addr
	perHost int
	settings
}

// document is a cluster.yaml before expansion.
type document struct {
	spec   Spec
	share  bool
	min    ast.Node // min_workers
	minN   int
	head   *group
	groups []*group
}

// spec reads the top of the file. Settings are read first, wherever they stand, because they are the defaults of the nodes.
func (d *decoder) spec(root ast.Node) *Spec {
	doc := &document{spec: Spec{File: d.file, Parallel: 32, Wait: 2 * time.Minute}}
	base := settings{node: Node{CPUs: -1, Ports: defaultPorts()}}
	var head, workers ast.Node
	var name, image bool
	s := &doc.spec
	d.fields(root, "cluster.yaml", append(d.settingFields(&base), []field{
		{"name", func(v ast.Node) {
			name = true
			s.Name, _ = d.match(v, "name", nameGrammar, "start with a letter and use up to 40 lower-case letters, digits and -")
		}},
		{"image", func(v ast.Node) { image = true; s.Image = d.image(v) }},
		{"head", func(v ast.Node) { head = v }},
		{"workers", func(v ast.Node) { workers = v }},
		{"min_workers", func(v ast.Node) {
			n, _ := d.integer(v, "min_workers", 0, maxHosts)
			doc.min, doc.minN = v, int(n)
		}},
		{"skip_unreachable", func(v ast.Node) { s.SkipUnreachable = d.boolean(v, "skip_unreachable") }},
		{"share_hosts", func(v ast.Node) { doc.share = d.boolean(v, "share_hosts") }},
		{"parallel", func(v ast.Node) { n, _ := d.integer(v, "parallel", 1, 256); s.Parallel = int(n) }},
		{"filter", func(v ast.Node) { s.Filter = d.boolean(v, "filter") }},
		{"accept_no_auth", func(v ast.Node) { s.AcceptNoAuth = d.boolean(v, "accept_no_auth") }},
		{"wait", func(v ast.Node) { s.Wait = d.duration(v, "wait") }},
		{"allow_public", func(v ast.Node) {
			d.list(v, "allow_public", func(e ast.Node) {
				if a, ok := d.addr(e, "allow_public"); ok {
					s.AllowPublic = append(s.AllowPublic, a)
				}
			})
		}},
	}...))
	if !name {
		d.bad(nil, "add `name: demo`", "the cluster has no name")
	}
	if !image {
		d.bad(nil, "add `image: registry/ray@sha256:…`, what `raybuild --push` printed", "the cluster has no image")
	}
	doc.head = d.head(head, base)
	doc.groups = d.workers(workers, base)
	return d.expand(doc)
}

func (d *decoder) head(v ast.Node, base settings) *group {
	g := &group{name: "head", at: v, perHost: 1, settings: base.clone()}
	if v == nil {
		d.bad(nil, "add `head: {host: local}` or `head: {host: ssh://user@10.0.0.1}`", "the cluster has no head")
		return g
	}
	if _, ok := v.(*ast.NullNode); ok { // "head:" with nothing is this machine, as an empty host is
		g.hosts = []hostAt{{Host{Local: true}, v}}
		return g
	}
	d.fields(v, "head", append(d.settingFields(&g.settings), []field{
		{"host", func(v ast.Node) { g.hosts = d.oneHost(v) }},
		{"private_address", func(v ast.Node) {
			if a, ok := d.addr(v, "private_address"); ok {
				g.private = []netip.Addr{a}
			}
		}},
	}...))
	if g.hosts == nil {
		g.hosts = []hostAt{{Host{Local: true}, v}}
	}
	return g
}

func (d *decoder) workers(v ast.Node, base settings) []*group {
	var out []*group
	if v == nil {
		return nil
	}
	if _, ok := v.(*ast.NullNode); ok {
		return nil
	}
	names := map[string]bool{"head": true}
	d.list(v, "workers", func(e ast.Node) {
		g := d.worker(e, base, len(out))
		if names[g.name] {
			d.bad(e, "give each group an own name", "worker group %q is there twice (or is called head)", g.name)
		}
		names[g.name] = true
		out = append(out, g)
	})
	return out
}

func (d *decoder) worker(e ast.Node, base settings, index int) *group {
	g := &group{name: fmt.Sprintf("w%d", index+1), at: e, perHost: 1, settings: base.clone()}
	var ranges []ast.Node
	d.fields(e, "worker group", append(d.settingFields(&g.settings), []field{
		{"name", func(v ast.Node) {
			if s, ok := d.match(v, "group name", nameGrammar, "use lower-case letters, digits and -"); ok {
				g.name = s
			}
		}},
		{"host", func(v ast.Node) { g.hosts = append(g.hosts, d.oneHost(v)...) }},
		{"hosts", func(v ast.Node) { g.hosts = append(g.hosts, d.hosts(v)...) }},
		{"nodes_per_host", func(v ast.Node) { n, _ := d.integer(v, "nodes_per_host", 1, maxPerHost); g.perHost = int(n) }},
		{"private_addresses", func(v ast.Node) {
			d.list(v, "private_addresses", func(e ast.Node) { ranges = append(ranges, e) })
		}},
	}...))
	if len(g.hosts) == 0 {
		d.bad(e, "add `hosts: [ssh://user@10.0.0.2]`, or leave the group out", "the worker group names no host")
	}
	for _, r := range ranges {
		g.private = append(g.private, d.addrRange(r)...)
	}
	if len(ranges) > 0 && len(g.private) != len(g.hosts) {
		d.bad(e, "give one address for each host, in the same order", "%d private_addresses for %d hosts", len(g.private), len(g.hosts))
		g.private = nil
	}
	return g
}

func (d *decoder) oneHost(v ast.Node) []hostAt {
	if _, ok := v.(*ast.NullNode); ok {
		return []hostAt{{Host{Local: true}, v}}
	}
	out := d.pattern(v)
	if len(out) > 1 {
		d.bad(v, "use hosts for several", "host %s names %d hosts", shown(v), len(out))
	}
	return out
}

func (d *decoder) hosts(v ast.Node) []hostAt {
	var out []hostAt
	d.list(v, "hosts", func(e ast.Node) {
		if out = append(out, d.pattern(e)...); len(out) > maxHosts {
			d.bad(e, "use several clusters", "more than %d hosts", maxHosts)
			out = out[:0]
		}
	})
	return out
}

const hostFix = "write local, ssh://user@10.0.0.1:22, ssh://user@node[01-12] or ssh://user@[fd00::1]"

// pattern expands one host pattern. A failing one still counts as a host, so that no further problem follows from it.
func (d *decoder) pattern(v ast.Node) []hostAt {
	s, ok := d.text(v, "host")
	if !ok {
		return []hostAt{{Host{}, v}}
	}
	names, err := expandHosts(s)
	if err != nil {
		d.bad(v, hostFix, "host: %v", err)
		return []hostAt{{Host{}, v}}
	}
	out := make([]hostAt, 0, len(names))
	for _, name := range names {
		h, err := parseHost(name)
		if err != nil {
			d.bad(v, hostFix, "host %q: %v", clip(s), err)
			return []hostAt{{Host{}, v}}
		}
		out = append(out, hostAt{h, v})
	}
	return out
}

func (d *decoder) addrRange(v ast.Node) []netip.Addr {
	const fix = "write 192.168.1.5 or 192.168.1.[2-9]"
	s, ok := d.text(v, "private address")
	if !ok {
		return nil
	}
	names, err := expandHosts(s)
	if err != nil {
		d.bad(v, fix, "private address: %v", err)
		return nil
	}
	out := make([]netip.Addr, 0, len(names))
	for _, name := range names {
		a, err := netip.ParseAddr(name)
		if err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
			d.bad(v, fix, "private address %q is not an IP address", clip(name))
			return nil
		}
		out = append(out, a.Unmap())
	}
	return out
}
