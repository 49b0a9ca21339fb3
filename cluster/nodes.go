package cluster

import (
	"net"
	"net/netip"
	"strconv"
)

// ID names the host: "local", or [user@]address[:port] as far as the file gives them. Facts and observations are keyed by it.
func (h Host) ID() string {
	if h.Local {
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

// Reach says who can reach an address.
type Reach string

// Kinds of address.
const (
	Loopback  Reach = "loopback"
	Private   Reach = "private"    // RFC 1918, unique local (RFC 4193), carrier-grade NAT (RFC 6598)
	LinkLocal Reach = "link-local" // RFC 3927, fe80::/10: no node can rely on it
	Public    Reach = "public"
)

// Classify says who can reach an address.
func Classify(a netip.Addr) Reach { return Public }

// PortNeed is a port, or a range, that a node listens on.
type PortNeed struct {
	Node        string
	First, Last int    // inclusive
	Use         string // "gcs", "node manager", "worker processes", …
	Loopback    bool   // listens on 127.0.0.1 only
	Peers       bool   // other nodes must reach it
}
