package cluster

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// exposure refuses a host that the world can reach, or of which nobody knows: with host networking Ray's gRPC servers
// listen on every interface, whatever address the node advertises (ray src/ray/rpc/grpc_server.cc). It cannot see an
// address that is mapped to the host from outside (NAT); probe tries that one if SSH came by it.
func (p *planner) exposure(h Host, f hostFacts) {
	if p.spec.Filter {
		return
	}
	if !f.Looked && !p.spec.AllowUnknown {
		p.fail("host %s does not show its addresses (/proc/net/fib_trie and /proc/net/if_inet6), so the world may "+
			"reach it, and Ray listens on every interface; say `filter: true`, let the user there read these files, "+
			"or accept it with `allow_public: [unknown]`", h.ID())
	}
	var public []string
	for _, a := range f.Addresses {
		if classify(a) == addrPublic && !slices.Contains(p.spec.AllowPublic, a.Unmap()) {
			public = append(public, a.Unmap().String())
		}
	}
	if len(public) > 0 {
		p.fail("host %s has the public address %s, and Ray listens on every interface; say `filter: true` to close "+
			"its ports to everybody except members, or name the address in allow_public", h.ID(),
			strings.Join(public, ", "))
	}
}

// addresses chooses what each host advertises.
func (p *planner) addresses() map[string]netip.Addr {
	out := map[string]netip.Addr{}
	owner := map[netip.Addr]string{}
	var near netip.Addr // the head's, chosen first
	hosts := p.spec.Hosts()
	for _, h := range hosts {
		f, ok := p.facts[h.ID()]
		if !ok {
			continue
		}
		a, err := p.advertise(h, f, near, len(hosts) == 1)
		if err != nil {
			p.fail("host %s: %w", h.ID(), err)
			continue
		}
		if other, taken := owner[a]; taken {
			p.fail("hosts %s and %s would both advertise %s; give them private_address (private_addresses)",
				other, h.ID(), a)
		}
		owner[a], out[h.ID()] = h.ID(), a
		if !near.IsValid() {
			near = a
		}
	}
	return out
}

// advertise chooses a host's address: the one in the file, the one that it is reached by, the only private one.
func (p *planner) advertise(h Host, f hostFacts, near netip.Addr, alone bool) (netip.Addr, error) {
	if h.Private.IsValid() {
		return h.Private, p.mayAdvertise(h.Private, alone)
	}
	if a, err := netip.ParseAddr(h.Address); err == nil && !h.Local && slices.Contains(f.Addresses, a.Unmap()) {
		return a.Unmap(), p.mayAdvertise(a.Unmap(), alone)
	}
	var private, allowed []netip.Addr
	for _, a := range f.Addresses {
		a = a.Unmap()
		switch {
		case classify(a) == addrPrivate && !dockerBridge(a):
			private = append(private, a)
		case classify(a) == addrPublic && slices.Contains(p.spec.AllowPublic, a):
			allowed = append(allowed, a)
		}
	}
	if len(private) == 0 {
		private = allowed
	}
	if near.IsValid() {
		private = nearest4(private, near)
	} else if v4 := only4(private); len(v4) > 0 {
		private = v4
	}
	switch {
	case len(private) == 1 || len(private) > 1 && alone:
		return private[0], nil
	case len(private) > 1:
		return netip.Addr{}, fmt.Errorf("several addresses could be the one for Ray (%s); give private_address",
			join(private))
	case alone:
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil // no network: nothing else than this machine can be meant
	}
	return netip.Addr{}, fmt.Errorf("no private address to advertise; give private_address, or allow_public for " +
		"a public one")
}

// mayAdvertise refuses addresses that do not reach a node, or reach it from everywhere.
func (p *planner) mayAdvertise(a netip.Addr, alone bool) error {
	switch classify(a) {
	case addrPublic:
		if !slices.Contains(p.spec.AllowPublic, a) {
			return fmt.Errorf("%s is a public address; give private_address, or name it in allow_public", a)
		}
	case addrLoopback:
		if !alone {
			return fmt.Errorf("%s is reached from its own machine only; give private_address", a)
		}
	case addrLinkLocal:
		return fmt.Errorf("%s is link-local; give private_address", a)
	}
	return nil
}

// dockerBridge tells the addresses of Docker's own bridges (172.17.0.1 … 172.31.0.1), which every host has alike.
func dockerBridge(a netip.Addr) bool {
	b := a.As16()
	return a.Is4() && b[12] == 172 && b[13] >= 17 && b[13] <= 31 && b[14] == 0 && b[15] == 1
}

func only4(in []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(in), func(a netip.Addr) bool { return !a.Is4() })
}

// nearest4 keeps the addresses of near's family that share the most leading bits with it.
func nearest4(in []netip.Addr, near netip.Addr) []netip.Addr {
	best, out := -1, []netip.Addr(nil)
	for _, a := range in {
		if a.Is4() != near.Is4() {
			continue
		}
		bits := 0
		for bits < a.BitLen() {
			pre, err := a.Prefix(bits + 1)
			if err != nil || !pre.Contains(near) {
				break
			}
			bits++
		}
		switch {
		case bits > best:
			best, out = bits, []netip.Addr{a}
		case bits == best:
			out = append(out, a)
		}
	}
	return out
}

func join(in []netip.Addr) string {
	out := make([]string, len(in))
	for i, a := range in {
		out[i] = a.String()
	}
	return strings.Join(out, ", ")
}
