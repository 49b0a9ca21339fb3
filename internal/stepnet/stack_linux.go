package stepnet

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/fdbased"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const (
	dialTimeout = 30 * time.Second
	udpIdle     = time.Minute // after which a conversation by UDP is over
	inFlight    = 1024        // connections that are being opened
	nic         = 1
	dns         = 53
)

// newStack answers for all addresses on a wire.
func newStack(w wire) (*stack.Stack, error) {
	s := stack.New(stack.Options{
		NetworkProtocols: []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4,
			icmp.NewProtocol6},
	})
	options := &fdbased.Options{FDs: []int{w.fd}, MTU: mtu}
	if w.ethernet { // the kernel leaves the sums of packets on a veth pair open
		options.EthernetHeader, options.Address = true, tcpip.LinkAddress(gatewayMAC())
		options.RXChecksumOffload = true
	}
	link, err := fdbased.New(options)
	if err != nil {
		return nil, fmt.Errorf("use the device: %w", err)
	}
	s.SetTransportProtocolHandler(tcp.ProtocolNumber, tcp.NewForwarder(s, 0, inFlight, forwardTCP).HandlePacket)
	s.SetTransportProtocolHandler(udp.ProtocolNumber, udp.NewForwarder(s, forwardUDP).HandlePacket)
	buffers := tcpip.TCPReceiveBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: 1 << 20, Max: 4 << 20}
	sack := tcpip.TCPSACKEnabled(true)
	for _, failed := range []tcpip.Error{
		s.SetTransportProtocolOption(tcp.ProtocolNumber, &buffers),
		s.SetTransportProtocolOption(tcp.ProtocolNumber, &sack),
		s.CreateNIC(nic, link),          // packets come from now on
		s.SetPromiscuousMode(nic, true), // those to all addresses are for us
		s.SetSpoofing(nic, true),        // and we answer in their names
	} {
		if failed != nil {
			s.Destroy()
			return nil, errors.New(failed.String())
		}
	}
	if err := w.neighbour(s); err != nil {
		s.Destroy()
		return nil, err
	}
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic},
		{Destination: header.IPv6EmptySubnet, NIC: nic}})
	return s, nil
}

// neighbour tells a stack on Ethernet where the step is.
func (w wire) neighbour(s *stack.Stack) error {
	if !w.ethernet {
		return nil
	}
	for protocol, text := range map[tcpip.NetworkProtocolNumber]string{ipv4.ProtocolNumber: stepAddress,
		ipv6.ProtocolNumber: stepAddr6} {
		ip := netip.MustParsePrefix(text).Addr()
		if failed := s.AddStaticNeighbor(nic, protocol, tcpip.AddrFromSlice(ip.AsSlice()),
			tcpip.LinkAddress(stepMAC())); failed != nil {
			return fmt.Errorf("add neighbour %s: %s", ip, failed)
		}
	}
	return nil
}

// target is where a step's connection leads; ok is false if it may not.
func target(to tcpip.Address, port uint16) (address string, ok bool) {
	ip, valid := netip.AddrFromSlice(to.AsSlice())
	if !valid {
		return "", false
	}
	if ip == netip.MustParseAddr(gateway4) || ip == netip.MustParseAddr(gateway6) {
		server := nameServer()
		return server, port == dns && server != ""
	}
	return netip.AddrPortFrom(ip, port).String(), reachable(ip)
}

// nameServer is the first name server of this machine; "": it has none.
func nameServer() string {
	f, err := os.Open("/etc/resolv.conf")
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 1 && fields[0] == "nameserver" {
			return net.JoinHostPort(fields[1], "53")
		}
	}
	return ""
}

// forwardTCP connects where the step wanted to, and then takes the step's connection: what cannot be reached is
// refused.
func forwardTCP(r *tcp.ForwarderRequest) {
	address, ok := target(r.ID().LocalAddress, r.ID().LocalPort)
	if !ok {
		r.Complete(true)
		return
	}
	out, err := net.DialTimeout("tcp", address, dialTimeout)
	if err != nil {
		r.Complete(true)
		return
	}
	var queue waiter.Queue
	endpoint, failed := r.CreateEndpoint(&queue)
	r.Complete(failed != nil)
	if failed != nil {
		_ = out.Close() // nothing was sent
		return
	}
	go join(gonet.NewTCPConn(&queue, endpoint), out)
}

// join copies between two connections until both sides have ended.
func join(in *gonet.TCPConn, out net.Conn) {
	var both sync.WaitGroup
	pass := func(to, from net.Conn) {
		_, _ = io.Copy(to, from) // an error ends the connection, and both sides see that
		if half, ok := to.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	}
	both.Go(func() { pass(out, in) })
	both.Go(func() { pass(in, out) })
	both.Wait()
	_, _ = in.Close(), out.Close()
}

// forwardUDP passes the packets of one conversation on.
func forwardUDP(r *udp.ForwarderRequest) {
	address, ok := target(r.ID().LocalAddress, r.ID().LocalPort)
	if !ok {
		return
	}
	var queue waiter.Queue
	endpoint, failed := r.CreateEndpoint(&queue)
	if failed != nil {
		return
	}
	in := gonet.NewUDPConn(&queue, endpoint)
	out, err := net.Dial("udp", address)
	if err != nil {
		_ = in.Close()
		return
	}
	go passPackets(out, in)
	go passPackets(in, out)
}

// passPackets copies packets until none came for a while. Then it ends both sides.
func passPackets(to, from net.Conn) {
	defer func() { _, _ = to.Close(), from.Close() }()
	packet := make([]byte, 64<<10)
	for {
		if err := from.SetReadDeadline(time.Now().Add(udpIdle)); err != nil {
			return
		}
		n, err := from.Read(packet)
		if err != nil {
			return
		}
		if _, err := to.Write(packet[:n]); err != nil {
			return
		}
	}
}
