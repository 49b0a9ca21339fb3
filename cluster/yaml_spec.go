package cluster

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

// hostAt is a host with the node that names it.
type hostAt struct {
	host Host
	at   *strictyaml.Node
}

// group is a head or a list of workers as the file has it.
type group struct {
	name    string
	at      *strictyaml.Node // for messages
	hosts   []hostAt
	private []netip.Addr
	perHost int
	settings
}

// document is a cluster.yaml before expansion.
type document struct {
	spec   Spec
	share  bool
	min    int
	base   settings // defaults of all nodes
	head   *group
	groups []*group
}

// spec reads the file. What is said of all nodes is read before head and workers, wherever it stands.
func (d *decoder) spec(root *strictyaml.Node) *Spec {
	doc := newDocument()
	doc.spec.File = d.file
	d.Read(root, "", strictyaml.Map(doc.keys()...))
	doc.spec.Trust.Check(&d.Reader, "trust")
	if doc.head == nil {
		doc.head = &group{name: "head", perHost: 1, settings: doc.base.clone()}
	}
	return d.expand(doc)
}

func newDocument() *document {
	node := Node{CPUs: -1, Ports: defaultPorts()}
	return &document{spec: Spec{Parallel: 32, Wait: 2 * time.Minute}, base: settings{node: node}}
}

const nameFix = "start with a letter and use up to 40 lower-case letters, digits and -"

// keys describe a cluster.yaml and read one into the document. They are the grammar of the reader, the JSON Schema and
// docs/cluster.md.
func (doc *document) keys() []strictyaml.Key {
	s := &doc.spec
	name := nameGrammar.words("a cluster's name", nameFix)
	top := []strictyaml.Key{
		{Name: "name", Doc: "The name of the cluster. Its containers' names begin with it.", Required: true,
			Example: "demo",
			Missing: "add `name: demo`", Value: strictyaml.String(&s.Name, name)},
		{Name: "image", Doc: "The image: a name, a tag or a digest. Every host runs the same digest.", Required: true,
			Missing: "add `image: registry/ray@sha256:…`, what `raybuild --push` printed",
			Example: "registry.example/ray:2.60.0",
			Value:   strictyaml.String(&s.Image, imageReference())},
		doc.trustKey(),
	}
	workers := []strictyaml.Key{
		{Name: "head", Doc: "The head node. `head:` alone is this machine.", Required: true,
			Example: "{host: ssh://ubuntu@10.0.0.1}",
			Missing: "add `head: {host: local}` or `head: {host: ssh://user@10.0.0.1}`", Value: doc.headValue()},
		{Name: "workers", Doc: "Groups of worker nodes.", Default: "none",
			Example: `[{hosts: ["ssh://ubuntu@10.0.0.[2-9]"]}]`,
			Value:   doc.workersValue()},
	}
	return append(append(append(top, settingKeys(&doc.base)...), doc.clusterKeys()...), workers...)
}

// clusterKeys are what the file says of the cluster as a whole.
func (doc *document) clusterKeys() []strictyaml.Key {
	s := &doc.spec
	return []strictyaml.Key{
		{Name: "min_workers", Doc: "The fewest workers with which `cluster up` succeeds.", Default: "all workers",
			Example: "2",
			Value:   strictyaml.Int(&doc.min, 0, maxHosts)},
		{Name: "skip_unreachable", Doc: "Goes on without workers whose host cannot be reached.", Default: "`false`",
			Example: "true",
			Value:   strictyaml.Flag(&s.SkipUnreachable)},
		{Name: "share_hosts", Doc: "Allows several nodes on one host. They share its CPUs and memory.",
			Default: "`false`",
			Example: "true",
			Value:   strictyaml.Flag(&doc.share)},
		{Name: "parallel", Doc: "How many hosts the launcher works on at once.", Default: "`32`", Example: "64",
			Value: strictyaml.Int(&s.Parallel, 1, 256)},
		{Name: "filter",
			Doc: "Installs a packet filter on each host. It lets in members, SSH, ports on which the host listened " +
				"before the cluster came, and what `allow` names. A container keeps it, also after a reboot: Ray " +
				"starts only once the filter is there. The host needs nftables, and the image a shell.",
			Default: "`false`",
			Example: "true",
			Value:   strictyaml.Flag(&s.Filter)},
		{Name: "allow", Doc: "What the packet filter lets in besides: ports for everybody, and addresses or " +
			"networks that reach every port.", Default: "none", Example: "[8000, 9000-9100, 10.1.0.0/16]",
			Value: strictyaml.Items("a list of ports, addresses and networks", allowValue(&s.Allow))},
		{Name: "accept_no_auth",
			Doc:     "Runs a Ray before 2.52, which has no token: whoever reaches its ports runs code on the cluster.",
			Default: "`false`", Example: "true", Value: strictyaml.Flag(&s.AcceptNoAuth)},
		{Name: "wait", Doc: "How long nodes may take to join, from 1s to 24h.", Default: "`2m`", Example: "5m",
			Value: durationValue(&s.Wait)},
		{Name: "allow_public", Doc: "Public addresses of hosts that are accepted without a filter; `unknown` accepts " +
			"hosts that do not show their addresses. An address that a cloud maps to a host (NAT) is not on the " +
			"host, so raybuild cannot see it.", Default: "none",
			Example: "[203.0.113.5]", Value: strictyaml.Items("a list of addresses, or unknown",
				publicValue(s))},
		doc.kubernetesKey(),
	}
}

// headValue reads the head. Nothing, as in "head:", is this machine, as an empty host is.
func (doc *document) headValue() strictyaml.Value {
	shape := func() strictyaml.Shape {
		return strictyaml.NullOr(nil, strictyaml.Map(headKeys(&group{})...)).Shape()
	}
	return strictyaml.Func(shape, func(t *strictyaml.Reader, n *strictyaml.Node, key string) {
		g := &group{name: "head", at: n, perHost: 1, settings: doc.base.clone()}
		doc.head = g
		t.Read(n, key, strictyaml.Map(headKeys(g)...))
		if g.hosts == nil {
			g.hosts = []hostAt{{Host{Local: true}, n}}
		}
	})
}

func headKeys(g *group) []strictyaml.Key {
	return append([]strictyaml.Key{
		{Name: "host",
			Doc: "The machine: `local`, `ssh://[user@]host[:port]`, or `unix://` and the path of an engine's socket " +
				"on this machine.",
			Default: "`local`", Example: "ssh://ubuntu@10.0.0.1", Value: hostValue(&g.hosts)},
		{Name: "private_address", Doc: "The address that other nodes reach the head at.",
			Default: "chosen among the host's addresses",
			Example: "10.0.0.1", Value: addressValue(func(a netip.Addr) { g.private = []netip.Addr{a} })},
	}, settingKeys(&g.settings)...)
}

// workersValue reads groups of workers.
func (doc *document) workersValue() strictyaml.Value {
	names := map[string]bool{"head": true}
	shape := func() strictyaml.Shape { return strictyaml.Map(workerKeys(&group{})...).Shape() }
	one := func(t *strictyaml.Reader, n *strictyaml.Node, key string) {
		g := &group{name: fmt.Sprintf("w%d", len(doc.groups)+1), at: n, perHost: 1, settings: doc.base.clone()}
		t.Read(n, key, strictyaml.Map(workerKeys(g)...))
		if len(g.hosts) == 0 {
			t.AddAt(n, key, "the worker group names no host",
				"add `hosts: [ssh://user@10.0.0.2]`, or leave the group out")
		}
		if t.Place(key+".private_addresses") != nil && len(g.private) != len(g.hosts) {
			t.AddAt(n, key, fmt.Sprintf("%d private_addresses for %d hosts", len(g.private), len(g.hosts)),
				"give one address for each host, in the same order")
			g.private = nil
		}
		if names[g.name] {
			t.AddAt(n, key, fmt.Sprintf("worker group %q is there twice (or is called head)", g.name),
				"give each group its own name")
		}
		names[g.name] = true
		doc.groups = append(doc.groups, g)
	}
	return strictyaml.Items("a list of worker groups", strictyaml.Func(shape, one))
}

func workerKeys(g *group) []strictyaml.Key {
	name := nameGrammar.words("a group's name", "use lower-case letters, digits and -")
	return append([]strictyaml.Key{
		{Name: "name", Doc: "The name of the group, for `cluster scale` and status.", Default: "`w1`, `w2`, …",
			Example: "gpu",
			Value:   strictyaml.String(&g.name, name)},
		{Name: "host", Doc: "One machine, as in head.", Example: "ssh://ubuntu@10.0.0.2", Value: hostValue(&g.hosts)},
		{Name: "hosts", Doc: "Machines. A range in brackets stands for many: `10.0.0.[2-9]`, `node[01-12,20]`.",
			Example: `["ssh://ubuntu@10.0.0.[2-9]"]`, Value: hostsValue(&g.hosts)},
		{Name: "nodes_per_host", Doc: "How many nodes run on each host. More than one needs `share_hosts`.",
			Default: "`1`",
			Example: "2",
			Value:   strictyaml.Int(&g.perHost, 1, maxPerHost)},
		{Name: "private_addresses",
			Doc: "The addresses that other nodes reach the hosts at, one for each, in the same order. Ranges " +
				"as in hosts.",
			Default: "chosen among each host's addresses", Example: `["192.168.1.[2-9]"]`,
			Value: addressesValue(&g.private)},
		autoscaleKey(g),
	}, settingKeys(&g.settings)...)
}
