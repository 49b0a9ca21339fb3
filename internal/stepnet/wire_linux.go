package stepnet

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// wire is where the packets of a namespace come out.
type wire struct {
	fd       int
	ethernet bool // packets are in frames of Ethernet, between the two addresses below
}

func stepMAC() net.HardwareAddr    { return net.HardwareAddr{2, 0, 0, 0, 0, 2} }
func gatewayMAC() net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 0, 1} }

// tun makes a TUN device in the namespace of this thread.
func (n *Network) tun() (wire, error) {
	w := wire{fd: -1}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return w, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(device)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		_ = unix.Close(fd) // nothing was written
		return w, fmt.Errorf("make a TUN device: %w", err)
	}
	w.fd = fd
	return w, nil
}

// veth makes a veth pair. One end is in the step's namespace, in which this thread is. The other is in one that only
// the socket holds that reads it.
func (n *Network) veth() (w wire, err error) {
	w.fd = -1
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return w, fmt.Errorf("make a network namespace: %w", err)
	}
	defer func() {
		if back := unix.Setns(int(n.namespace.Fd()), unix.CLONE_NEWNET); back != nil && err == nil {
			err = fmt.Errorf("enter a network namespace: %w", back)
		}
	}()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = "hub", mtu
	hub := &netlink.Veth{LinkAttrs: attrs, PeerName: device, PeerHardwareAddr: stepMAC(),
		PeerNamespace: netlink.NsFd(int(n.namespace.Fd()))}
	if err := netlink.LinkAdd(hub); err != nil {
		return w, fmt.Errorf("make a veth pair: %w", err)
	}
	end, err := netlink.LinkByName("hub")
	if err == nil {
		err = netlink.LinkSetUp(end)
	}
	if err != nil {
		return w, fmt.Errorf("set up the veth pair: %w", err)
	}
	all := htons(unix.ETH_P_ALL)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all))
	if err != nil {
		return w, fmt.Errorf("read the veth pair: %w", err)
	}
	w.fd, w.ethernet = fd, true
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
		return w, fmt.Errorf("read the veth pair: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: end.Attrs().Index}); err != nil {
		return w, fmt.Errorf("read the veth pair: %w", err)
	}
	return w, nil
}

// htons is a number in the network's order of bytes.
func htons(n uint16) uint16 { return n<<8 | n>>8 }
