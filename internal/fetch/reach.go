package fetch

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"sync"
	"syscall"
)

// reach decides which servers are asked, and which of them get a login. Code of packages runs in the sandbox while
// resolvers look at them. It must not use the gateway to read what this machine or its site would tell us.
//
// A server at a public address may be asked. One at another address may be asked if a source is there, or if one
// at such an address leads there: a site's index links to the site's file server.
type reach struct {
	source func(*url.URL) bool // nil: each URL is one of a source

	mu    sync.Mutex
	open  map[string]space // server -> what its address may be beside public
	seen  map[string]space // server -> what its address was
	given map[string]bool  // URLs that belong to a source although they are not below its root
}

func newReach(source func(*url.URL) bool) *reach {
	return &reach{source: source, open: map[string]space{}, seen: map[string]space{}, given: map[string]bool{}}
}

// space is a set of parts of the address space. Public addresses are in none of them.
type space uint8

const (
	private space = 1 << iota
	loopback
	linkLocal
	metadata // where clouds tell a machine its credentials
)

// spaceOf tells which part an address is in.
func spaceOf(ip netip.Addr) space {
	ip = ip.Unmap()
	for _, s := range []string{
		"169.254.169.254", "fd00:ec2::254", // AWS, Azure, GCP and most others
		"100.100.100.200", "192.0.0.192", "168.63.129.16", // Alibaba, Oracle, Azure's wire server
	} {
		if ip == netip.MustParseAddr(s) {
			return metadata
		}
	}
	switch {
	case ip.IsLoopback(), ip.IsUnspecified():
		return loopback
	case ip.IsLinkLocalUnicast(), ip.IsMulticast():
		return linkLocal
	case ip.IsPrivate(), netip.MustParsePrefix("100.64.0.0/10").Contains(ip): // RFC 1918, 4193 and 6598
		return private
	}
	return 0
}

// spaceNamed is the space of a host that is written as an address, or whose name says it.
func spaceNamed(host string) space {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return loopback
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return 0
	}
	return spaceOf(ip)
}

// server is the host and port of a URL, as it is dialled.
func server(u *url.URL) string {
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port(u))
}

// isSource tells whether a URL is below the root of a source.
func (r *reach) isSource(u *url.URL) bool { return r.source == nil || r.source(u) }

// begin is called before a request. A source may be anywhere at its site or on this machine. It may be where
// clouds answer only if it is named by that address.
func (r *reach) begin(u *url.URL) error {
	if r.isSource(u) {
		r.trust(u)
	}
	return r.mayBe(server(u), spaceNamed(u.Hostname()))
}

// trust opens the server of a source, or of a file that a lock names.
func (r *reach) trust(u *url.URL) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open[server(u)] |= private | loopback
	if r.isSource(u) {
		r.open[server(u)] |= spaceNamed(u.Hostname())
	}
}

// proxy opens a proxy, which may be anywhere.
func (r *reach) proxy(u *url.URL) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := server(u)
	if u.Port() == "" && strings.HasPrefix(u.Scheme, "socks") {
		at = net.JoinHostPort(strings.ToLower(u.Hostname()), "1080")
	}
	r.open[at] = private | loopback | linkLocal | metadata
}

// lead tells whether what came from one URL may send us to another one.
func (r *reach) lead(from, to *url.URL) bool {
	r.mu.Lock()
	where := r.seen[server(from)] | spaceNamed(from.Hostname())
	r.open[server(to)] |= where &^ metadata
	r.mu.Unlock()
	return r.mayBe(server(to), spaceNamed(to.Hostname())) == nil
}

// mayBe returns an error if a server must not be where it is.
func (r *reach) mayBe(server string, where space) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if where&^r.open[server] == 0 {
		return nil
	}
	return &internalError{server}
}

// dial checks addresses after names are resolved, and before it connects.
func (r *reach) dial(d net.Dialer) func(ctx context.Context, network, server string) (net.Conn, error) {
	return func(ctx context.Context, network, server string) (net.Conn, error) {
		server = strings.ToLower(server)
		d := d
		d.Control = func(_, address string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("read address %q: %w", address, err)
			}
			return r.mayBe(server, spaceOf(at.Addr().WithZone("")))
		}
		conn, err := d.DialContext(ctx, network, server)
		if err != nil {
			return nil, err
		}
		if at, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil {
			r.mu.Lock()
			r.seen[server] = spaceOf(at.Addr().WithZone(""))
			r.mu.Unlock()
		}
		return conn, nil
	}
}

// internalError says that a server is where only a source may be.
type internalError struct{ server string }

func (e *internalError) Error() string {
	return fmt.Sprintf("%s is an internal address, and no source of the recipe is there", e.server)
}

// give lets the login of a source go to a URL beside its root.
func (r *reach) give(u *url.URL) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.given[bare(u)] = true
}

// mayLogin tells whether a login goes to a URL: it is below the root of a source, or was given.
func (r *reach) mayLogin(u *url.URL) bool {
	if u.User != nil || r.isSource(u) {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.given[bare(u)]
}

// bare is a URL without what does not name the file.
func bare(u *url.URL) string { return origin(u) + u.EscapedPath() }

// Below tells whether a URL is a root or below it, on the same server by the same scheme. A way up leads out.
func Below(root, u *url.URL) bool { return origin(root) == origin(u) && BelowPath(root.Path, u.Path) }

// BelowPath tells whether a URL's path is that of a root or below it. A way up leads out.
func BelowPath(root, at string) bool {
	root, at = path.Clean("/"+root), path.Clean("/"+at)
	return at == root || root == "/" || strings.HasPrefix(at, root+"/")
}
