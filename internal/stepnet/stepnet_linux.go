package stepnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// Addresses in each namespace. They are of ranges that no network uses: RFC 2544 (benchmarks) and RFC 4193.
const (
	stepAddress, gateway4 = "198.18.0.2/30", "198.18.0.1"
	stepAddr6, gateway6   = "fd6d:7062:7569::2/126", "fd6d:7062:7569::1"
	device                = "eth0"
	mtu                   = 65520 // the stack ends all connections, so nothing beyond it sees such packets
)

// Network is the network of a step.
type Network struct {
	namespace *os.File
	wire      wire
	stack     *stack.Stack
}

// New makes a network. It needs the right to make network namespaces.
func New() (*Network, error) { return newBy((*Network).veth, (*Network).tun) }

// newBy makes a network by the first way that works.
func newBy(ways ...func(*Network) (wire, error)) (*Network, error) {
	n := &Network{wire: wire{fd: -1}}
	done := make(chan error)
	go func() { // the thread is in the namespace, and ends with the goroutine, because it stays locked
		runtime.LockOSThread()
		done <- n.enter(ways)
	}()
	err := <-done
	if err == nil {
		n.stack, err = newStack(n.wire)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make the network of a step: %w", err), n.Close())
	}
	return n, nil
}

// Path names the network's namespace while it is open, for programs that this process starts.
func (n *Network) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.namespace.Fd()) }

// Resolver is the address of the step's name server: those of this machine answer there.
func Resolver() string { return gateway4 }

// Close ends the network and all connections.
func (n *Network) Close() error {
	var errs []error
	if n.stack != nil {
		n.stack.Destroy()
	}
	if n.wire.fd >= 0 {
		errs = append(errs, unix.Close(n.wire.fd))
	}
	if n.namespace != nil {
		errs = append(errs, n.namespace.Close())
	}
	return errors.Join(errs...)
}

// enter makes the namespace of this thread, and its device.
func (n *Network) enter(ways []func(*Network) (wire, error)) (err error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	if n.namespace, err = os.Open("/proc/thread-self/ns/net"); err != nil {
		return err
	}
	var errs []error
	for _, way := range ways {
		if n.wire, err = way(n); err == nil {
			return n.wire.setUp()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// setUp gives the namespace of this thread its addresses and routes.
func (w wire) setUp() error {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("set up loopback: %w", err)
	}
	eth, err := netlink.LinkByName(device)
	if err == nil {
		err = errors.Join(netlink.LinkSetMTU(eth, mtu), netlink.LinkSetUp(eth))
	}
	if err != nil {
		return fmt.Errorf("set up %s: %w", device, err)
	}
	if err := w.route(eth, stepAddress, gateway4, "0.0.0.0/0"); err != nil {
		return err
	}
	if _, err := os.Stat("/proc/sys/net/ipv6"); err == nil { // else this kernel has none
		return w.route(eth, stepAddr6, gateway6, "::/0")
	}
	return nil
}

func (w wire) route(eth netlink.Link, address, gateway, to string) error {
	addr, err := netlink.ParseAddr(address)
	if err == nil {
		addr.Flags = unix.IFA_F_NODAD
		err = netlink.AddrAdd(eth, addr)
	}
	if err != nil {
		return fmt.Errorf("add address %s: %w", address, err)
	}
	if w.ethernet {
		if err := netlink.NeighAdd(&netlink.Neigh{LinkIndex: eth.Attrs().Index, State: netlink.NUD_PERMANENT,
			IP: net.ParseIP(gateway), HardwareAddr: gatewayMAC()}); err != nil {
			return fmt.Errorf("add neighbour %s: %w", gateway, err)
		}
	}
	_, all, err := net.ParseCIDR(to)
	if err == nil {
		err = netlink.RouteAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Dst: all, Gw: net.ParseIP(gateway)})
	}
	if err != nil {
		return fmt.Errorf("add route by %s: %w", gateway, err)
	}
	return nil
}

// reachable tells whether a step may reach an address.
func reachable(ip netip.Addr) bool {
	ip = ip.Unmap()
	for _, cloud := range []string{"100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254"} {
		if ip == netip.MustParseAddr(cloud) {
			return false // metadata of Alibaba, Oracle, Azure and AWS
		}
	}
	return ip.IsValid() && !ip.IsLoopback() && !ip.IsUnspecified() && !ip.IsMulticast() && !ip.IsLinkLocalUnicast() &&
		ip != netip.MustParseAddr("255.255.255.255")
}
