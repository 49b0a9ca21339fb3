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

// The packet filter is one nftables table for each cluster and host: members and the host itself
// reach Ray's ports, nobody else. nft(8) takes a whole file as one transaction: there is no moment
// without a filter while it is replaced.

func filterTable(cluster string) string { return "raybuild-" + cluster }

// filterRules is the input of `nft -f -` for a host's nodes. digest is part of the table, as the
// name of an empty chain, so that one listing tells whether the installed filter is the wanted one.
func filterRules(cluster string, members []netip.Addr, ports []portNeed) (rules, digest string) {
	var v4, v6, spans []string
	for _, a := range slices.SortedFunc(slices.Values(members), netip.Addr.Compare) {
		if a = a.Unmap(); a.Is4() {
			v4 = append(v4, a.String())
		} else {
			v6 = append(v6, a.String())
		}
	}
	for _, p := range ports {
		spans = append(spans, span(p))
	}
	slices.Sort(spans)
	spans = slices.Compact(spans)
	v4, v6 = slices.Compact(v4), slices.Compact(v6)
	digest = digestOf([]any{1, v4, v6, spans})[:16]
	var b strings.Builder
	set := strings.Join(spans, ", ")
	t := filterTable(cluster)
	// Naming the table once before deleting it makes the deletion succeed whether or not it was there.
	fmt.Fprintf(&b, "table inet %s\ndelete table inet %s\ntable inet %s {\n\tchain digest-%s {\n\t}\n", t, t, t, digest)
	b.WriteString("\tchain input {\n\t\ttype filter hook input priority -10; policy accept;\n" +
		"\t\tiifname \"lo\" accept\n")
	if len(v4) > 0 {
		fmt.Fprintf(&b, "\t\ttcp dport { %s } ip saddr { %s } accept\n", set, strings.Join(v4, ", "))
	}
	if len(v6) > 0 {
		fmt.Fprintf(&b, "\t\ttcp dport { %s } ip6 saddr { %s } accept\n", set, strings.Join(v6, ", "))
	}
	fmt.Fprintf(&b, "\t\ttcp dport { %s } drop\n\t}\n}\n", set)
	return b.String(), digest
}

// wantedFilters returns the rules and digest for each host of the desired containers. absent are
// members whose hosts cannot be reached.
func wantedFilters(cluster string, desired []container, absent []netip.Addr,
	image ImageFacts) (rules, digests map[string]string, err error) {
	rules, digests = map[string]string{}, map[string]string{}
	members := slices.Clone(absent)
	ports := map[string][]portNeed{}
	for _, c := range desired {
		members = append(members, c.Address)
		need, err := portsOpen(c.Node, image)
		if err != nil {
			return nil, nil, err
		}
		ports[c.Host] = append(ports[c.Host], need...)
	}
	for host, p := range ports {
		rules[host], digests[host] = filterRules(cluster, members, p)
	}
	return rules, digests, nil
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

// nft runs nft(8) on a host, as root or through sudo without a password. The rules go in by stdin.
func nft(ctx context.Context, h *docker.Host, rules string, argv ...string) ([]byte, error) {
	argv = append([]string{"nft"}, argv...)
	out, err := h.Run(ctx, strings.NewReader(rules), argv...)
	var failed *docker.CommandError
	if err == nil || !errors.As(err, &failed) || failed.Code != 127 && !strings.Contains(failed.Stderr, "permitted") {
		return out, err
	}
	return h.Run(ctx, strings.NewReader(rules), append([]string{"sudo", "-n"}, argv...)...)
}

// installedFilter returns the digest of a cluster's filter on a host, "" when there is none.
func installedFilter(ctx context.Context, h *docker.Host, cluster string) (string, error) {
	out, err := nft(ctx, h, "", "list", "table", "inet", filterTable(cluster))
	var failed *docker.CommandError
	if errors.As(err, &failed) && strings.Contains(failed.Stderr, "No such file") {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look at the packet filter: %w", err)
	}
	_, rest, ok := strings.Cut(string(out), "chain digest-")
	if !ok {
		return "another", nil
	}
	digest, _, _ := strings.Cut(rest, " ")
	return digest, nil
}

func installFilter(ctx context.Context, h *docker.Host, rules string) error {
	if _, err := nft(ctx, h, rules, "-f", "-"); err != nil {
		return fmt.Errorf("install the packet filter: %w; it needs nftables and root, or sudo without a "+
			"password, on the host", err)
	}
	return nil
}

// removeFilter removes a cluster's filter and says whether there was one.
func removeFilter(ctx context.Context, h *docker.Host, cluster string) (bool, error) {
	there, err := installedFilter(ctx, h, cluster)
	if err != nil || there == "" {
		return false, err
	}
	if _, err := nft(ctx, h, "", "delete", "table", "inet", filterTable(cluster)); err != nil {
		return true, fmt.Errorf("remove the packet filter: %w", err)
	}
	return true, nil
}
