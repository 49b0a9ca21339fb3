package raybuild

import (
	"net"
	"net/netip"
	"net/url"
	"strings"

	"github.com/raybuild/raybuild/llb"
)

// proxy is the proxy of this machine's environment, for steps that have a network.
func (e *env) proxy() llb.Proxy {
	either := func(name string) string {
		if v := e.getenv(name); v != "" {
			return v
		}
		return e.getenv(strings.ToLower(name))
	}
	return llb.Proxy{HTTP: either("HTTP_PROXY"), HTTPS: either("HTTPS_PROXY"), FTP: either("FTP_PROXY"),
		All: either("ALL_PROXY"), Except: either("NO_PROXY")}
}

// stepProxy is the proxy of steps with a network, if there are such steps. A proxy on this machine's loopback is named,
// because a step does not reach it there.
func (p *Project) stepProxy() llb.Proxy {
	online := false
	for _, s := range p.recipe.Steps {
		online = online || s.Network
	}
	if !online && !p.recipe.HostNetwork() {
		return llb.Proxy{}
	}
	out := p.env.proxy()
	for _, at := range []string{out.HTTP, out.HTTPS, out.All} {
		if online && onLoopback(at) {
			p.env.warn("steps with network: true do not reach the proxy of this machine's environment, because it is " +
				"an address of this machine alone: name it by an address that other machines reach, too")
			break
		}
	}
	return out
}

// onLoopback tells whether a proxy's URL names this machine.
func onLoopback(proxy string) bool {
	u, err := url.Parse(proxy)
	if err != nil || u.Host == "" {
		u, err = url.Parse("http://" + proxy)
	}
	if err != nil {
		return false
	}
	host := u.Hostname()
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && (addr.IsLoopback() || net.ParseIP(host).IsUnspecified())
}
