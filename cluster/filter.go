package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/raybuild/raybuild/internal/docker"
)

// The packet filter is one nftables table for each cluster and host. It is a list of what may come in: members, the
// host itself, answers, what listened before the cluster came, and what the file allows. nft(8) takes a whole file as
// one transaction, so there is no moment without a filter while it is replaced. A container keeps the table (guard.go).

func filterTable(cluster string) string { return "raybuild-" + cluster }

// packetFilter is what a host's filter lets in.
type packetFilter struct {
	cluster, id string
	members     []netip.Addr
	open        openPorts // of the host's other services
	allow       Allow
}

// rules is the input of `nft -f -`. digest is part of the table, as the name of an empty chain, so that one listing
// tells whether the installed filter is the wanted one. The identity of the cluster is another such name.
//
// Whoever connected while the filter was not there loses the connection when it is back: only what the host itself has
// asked for counts as an answer (ct direction reply), not every connection that is established.
func (f packetFilter) rules() (rules, digest string) {
	var b strings.Builder
	line := func(format string, a ...any) { fmt.Fprintf(&b, "\t\t"+format+"\n", a...) }
	line("type filter hook input priority -10; policy accept;")
	line(`iifname "lo" accept`)
	line("meta l4proto != { tcp, udp, sctp, dccp, udplite } accept")
	line("ct direction reply accept")
	line("ct state related accept")
	for _, from := range [][]netip.Prefix{hostPrefixes(f.members), f.allow.From} {
		v4, v6 := prefixSets(from)
		if v4 != "" {
			line("ip saddr { %s } accept", v4)
		}
		if v6 != "" {
			line("ip6 saddr { %s } accept", v6)
		}
	}
	for proto, ports := range [][]PortRange{f.open.TCP, f.open.UDP} {
		if ports = mergePorts(append(slices.Clone(ports), f.allow.Ports...)); len(ports) > 0 {
			line("%s dport { %s } accept", []string{"tcp", "udp"}[proto], portList(ports))
		}
	}
	line("drop")
	body := b.String()
	digest = digestOf([]any{2, f.id, body})[:16]
	t := filterTable(f.cluster)
	id := ""
	if f.id != "" {
		id = "\tchain id-" + f.id + " {\n\t}\n"
	}
	// Naming the table once before deleting it makes the deletion succeed whether or not it was there.
	return fmt.Sprintf("table inet %[1]s\ndelete table inet %[1]s\ntable inet %[1]s {\n\tchain digest-%[2]s {\n\t}\n"+
		"%[3]s\tchain input {\n%[4]s\t}\n}\n", t, digest, id, body), digest
}

func hostPrefixes(in []netip.Addr) []netip.Prefix {
	var out []netip.Prefix
	for _, a := range in {
		if a = a.Unmap(); a.IsValid() {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return out
}

// prefixSets writes addresses and networks as elements of two sets. Sets of nft take no overlaps: what lies within a
// larger network is left out.
func prefixSets(in []netip.Prefix) (v4, v6 string) {
	in = slices.Clone(in)
	for i, p := range in {
		in[i] = p.Masked()
	}
	slices.SortFunc(in, func(a, b netip.Prefix) int {
		if a.Bits() != b.Bits() {
			return a.Bits() - b.Bits()
		}
		return a.Addr().Compare(b.Addr())
	})
	var out [2][]string
	var kept []netip.Prefix
	for _, p := range in {
		if slices.ContainsFunc(kept, p.Overlaps) {
			continue
		}
		kept = append(kept, p)
		text, family := p.String(), 0
		if p.IsSingleIP() {
			text = p.Addr().String()
		}
		if p.Addr().Is6() {
			family = 1
		}
		out[family] = append(out[family], text)
	}
	return strings.Join(out[0], ", "), strings.Join(out[1], ", ")
}

// wantedFilters returns the rules and digest for each host of the desired containers. absent are
// members whose hosts cannot be reached; open are the ports of each host's other services.
func wantedFilters(m mark, allow Allow, desired []container, absent []netip.Addr,
	open map[string]openPorts) (rules, digests map[string]string) {
	rules, digests = map[string]string{}, map[string]string{}
	members := slices.Clone(absent)
	for _, c := range desired {
		members = append(members, c.Address)
	}
	for _, c := range desired {
		f := packetFilter{cluster: m.cluster, id: m.id, members: members, open: open[c.Host], allow: allow}
		rules[c.Host], digests[c.Host] = f.rules()
	}
	return rules, digests
}

// absent are the addresses of hosts that cannot be reached, as far as the file tells them: they
// stay members, so that a host which is off changes no filter, and finds its way when it is back.
func (l *launch) absent() []netip.Addr {
	var out []netip.Addr
	for _, h := range l.spec.Hosts() {
		if l.fleet.down[h.ID()] == nil {
			continue
		}
		a := h.Private
		if !a.IsValid() {
			a, _ = netip.ParseAddr(h.Address) // a name tells none
		}
		if a.IsValid() {
			out = append(out, a)
		}
	}
	return out
}

// portsOpen lists what a node may listen on. Of most images it is not known whether they have
// ray[client]: with it a head opens the client's default port unasked (ray.md:
// `--ray-client-server-port`, "10001 if ray[client] deps present").
func portsOpen(n Node, image ImageFacts) ([]portNeed, error) {
	need, err := portsNeeded(n, image.RayVersion, true)
	asks := slices.ContainsFunc(need, func(p portNeed) bool { return p.First == n.Ports.Client })
	if def := defaultPorts().Client; asks && n.Role == Head && !image.Client && n.Ports.Client != def {
		need = append(need, portNeed{Node: n.ID, First: def, Last: def, Use: "ray client"})
	}
	if n.Role == Head {
		for port, use := range headMetrics() {
			need = append(need, portNeed{Node: n.ID, First: port, Last: port, Use: use})
		}
	}
	return need, err
}

// headMetrics are ports on which a head answers whoever asks, and which no option of `ray start`
// moves. Source: ray python/ray/_private/ray_constants.py AUTOSCALER_METRIC_PORT,
// python/ray/dashboard/consts.py DASHBOARD_METRIC_PORT.
func headMetrics() map[int]string {
	return map[int]string{44217: "autoscaler metrics", 44227: "dashboard metrics"}
}

// nft runs nft(8) on a host, as root or through sudo without a password.
func nft(ctx context.Context, h *docker.Host, argv ...string) ([]byte, error) {
	argv = append([]string{"nft"}, argv...)
	out, err := h.Run(ctx, nil, argv...)
	var failed *docker.CommandError
	if err == nil || !errors.As(err, &failed) || failed.Code != 127 && !strings.Contains(failed.Stderr, "permitted") {
		return out, err
	}
	return h.Run(ctx, nil, append([]string{"sudo", "-n"}, argv...)...)
}

// installed is the filter that a host has.
type installed struct {
	digest string // "": none; "another": none of ours
	id     string // identity of the cluster that it belongs to; "": none
}

// installedFilter looks for a cluster's filter on a host.
func installedFilter(ctx context.Context, h *docker.Host, cluster string) (installed, error) {
	out, err := nft(ctx, h, "list", "table", "inet", filterTable(cluster))
	var failed *docker.CommandError
	if errors.As(err, &failed) && strings.Contains(failed.Stderr, "No such file") {
		return installed{}, nil
	}
	if err != nil {
		return installed{}, fmt.Errorf("look at the packet filter: %w; it needs nftables and root, or sudo without a "+
			"password, on the host", err)
	}
	return parseTable(string(out)), nil
}

// parseTable reads the names of the empty chains in a listing.
func parseTable(listing string) installed {
	chain := func(prefix string) string {
		_, rest, _ := strings.Cut(listing, "chain "+prefix+"-")
		name, _, _ := strings.Cut(rest, " ")
		return name
	}
	f := installed{digest: chain("digest"), id: chain("id")}
	if f.digest == "" {
		f.digest = "another"
	}
	return f
}

// removeFilter removes a cluster's filter and says whether there was one.
func (l *launch) removeFilter(ctx context.Context, h *docker.Host) (bool, error) {
	there, err := installedFilter(ctx, h, l.spec.Name)
	if err != nil || there.digest == "" || l.foreign(map[string]string{labelID: there.id}) && !l.TakeOver {
		return false, err
	}
	if _, err := nft(ctx, h, "delete", "table", "inet", filterTable(l.spec.Name)); err != nil {
		return true, fmt.Errorf("remove the packet filter: %w", err)
	}
	return true, nil
}
