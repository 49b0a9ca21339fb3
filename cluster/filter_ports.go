package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/raybuild/raybuild/internal/docker"
)

// PortRange is a range of ports, both ends inclusive.
type PortRange struct{ First, Last int }

func (p PortRange) String() string { return span(portNeed{First: p.First, Last: p.Last}) }

// openPorts are the ports of a host's services that have nothing to do with the cluster. They stay open.
type openPorts struct{ TCP, UDP []PortRange }

// String is the form that parseOpen reads: "tcp 22,80 udp 68".
func (o openPorts) String() string {
	return strings.TrimSpace("tcp "+portList(o.TCP)) + " " + strings.TrimSpace("udp "+portList(o.UDP))
}

// parseOpen reads what String writes.
func parseOpen(s string) (openPorts, bool) {
	var o openPorts
	dst := &o.TCP
	for _, f := range strings.Fields(strings.ReplaceAll(s, ",", " ")) {
		switch f {
		case "tcp":
			dst = &o.TCP
			continue
		case "udp":
			dst = &o.UDP
			continue
		}
		p, ok := parsePorts(f)
		if !ok {
			return openPorts{}, false
		}
		*dst = append(*dst, p)
	}
	return o, len(o.TCP) > 0
}

// parsePorts reads 80 or 8000-8100.
func parsePorts(s string) (PortRange, bool) {
	a, b, isRange := strings.Cut(s, "-")
	if !isRange {
		b = a
	}
	first, err := strconv.ParseUint(a, 10, 16)
	last, lastErr := strconv.ParseUint(b, 10, 16)
	return PortRange{int(first), int(last)}, err == nil && lastErr == nil && first > 0 && last >= first
}

// mergePorts sorts ranges and joins those that touch.
func mergePorts(in []PortRange) []PortRange {
	in = slices.Clone(in)
	slices.SortFunc(in, func(a, b PortRange) int { return a.First - b.First })
	var out []PortRange
	for _, p := range in {
		if n := len(out); n > 0 && p.First <= out[n-1].Last+1 {
			out[n-1].Last = max(out[n-1].Last, p.Last)
			continue
		}
		out = append(out, p)
	}
	return out
}

func portList(in []PortRange) string {
	out := make([]string, len(in))
	for i, p := range in {
		out[i] = p.String()
	}
	return strings.Join(out, ",")
}

// alwaysOpen are answers that are not known as answers: DHCP's. A client asks by broadcast or multicast.
func alwaysOpen() []PortRange { return []PortRange{{68, 68}, {546, 546}} }

// privileged is the first port on which a program without privileges may listen.
const privileged = 1024

// otherPorts finds what a host listens on before a cluster comes: sshd's port, and every socket that others reach.
// nodes says that nodes of the cluster run there. Theirs cannot be told from the host's, so only privileged ports count
// then.
func otherPorts(ctx context.Context, h *docker.Host, nodes bool) (openPorts, error) {
	out, err := h.Run(ctx, nil, "cat", "/proc/net/tcp", "/proc/net/tcp6", "/proc/net/udp", "/proc/net/udp6")
	var failed *docker.CommandError // one of them is missing, as without IPv6
	if err != nil && !errors.As(err, &failed) || len(out) == 0 {
		return openPorts{}, fmt.Errorf("look at its ports: %w", cmpErr(err))
	}
	o := parseSockets(string(out))
	if nodes {
		high := func(p PortRange) bool { return p.Last >= privileged }
		o.TCP, o.UDP = slices.DeleteFunc(o.TCP, high), slices.DeleteFunc(o.UDP, high)
	}
	for _, p := range sshPorts(ctx, h) {
		o.TCP = append(o.TCP, PortRange{p, p})
	}
	o.UDP = append(o.UDP, alwaysOpen()...)
	return openPorts{TCP: mergePorts(o.TCP), UDP: mergePorts(o.UDP)}, nil
}

func cmpErr(err error) error {
	if err == nil {
		return errors.New("the host shows none")
	}
	return err
}

// sshPorts are the port that we came to, as the host sees it, and SSH's own.
func sshPorts(ctx context.Context, h *docker.Host) []int {
	ports := []int{22}
	if p := h.Target().Port; p != 0 {
		ports = append(ports, p)
	}
	out, err := h.Run(ctx, nil, "printenv", "SSH_CONNECTION") // "client port server port"
	if f := strings.Fields(string(out)); err == nil && len(f) == 4 {
		if p, err := strconv.ParseUint(f[3], 10, 16); err == nil {
			ports = append(ports, int(p))
		}
	}
	return ports
}

// parseSockets reads files such as /proc/net/tcp: "sl local_address rem_address st …". State 0A is a TCP socket that
// listens; 07 with no remote port is a UDP socket that takes packets of everybody. What is on loopback is left out: the
// filter lets it in anyway. Source: Linux include/net/tcp_states.h, net/ipv4/udp.c.
func parseSockets(text string) openPorts {
	var o openPorts
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 4 || f[3] != "0A" && f[3] != "07" {
			continue
		}
		at, hexPort, ok := strings.Cut(f[1], ":")
		port, err := strconv.ParseUint(hexPort, 16, 16)
		if !ok || err != nil || port == 0 || loopbackHex(at) {
			continue
		}
		p := PortRange{int(port), int(port)}
		switch {
		case f[3] == "0A":
			o.TCP = append(o.TCP, p)
		case strings.HasSuffix(f[2], ":0000"):
			o.UDP = append(o.UDP, p)
		}
	}
	return openPorts{TCP: mergePorts(o.TCP), UDP: mergePorts(o.UDP)}
}

// loopbackHex tells 127.0.0.0/8, also mapped into IPv6, and ::1. The kernel writes words of 32 bits in its own order,
// which is little-endian on every CPU that Ray runs on.
func loopbackHex(a string) bool {
	switch len(a) {
	case 8:
		return strings.HasSuffix(a, "7F")
	case 32:
		return a == "00000000000000000000000001000000" ||
			strings.HasPrefix(a, "0000000000000000FFFF0000") && strings.HasSuffix(a, "7F")
	}
	return false
}
