package registry

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// guard keeps web pages from a registry.
type guard struct {
	http.Handler
	hosts []string // further names of this registry
}

// ServeHTTP implements http.Handler.
func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if why := g.refusal(r); why != "" {
		refuse(w, http.StatusForbidden, "DENIED", why)
		return
	}
	g.Handler.ServeHTTP(w, r)
}

// refusal says why a request may be of a web page, which would write images in the name of who reads it. A page can
// have its name resolved to this machine (DNS rebinding), so that the browser takes the registry for the page's own
// server. "" means that it is not. Tools send no Origin, and name a registry on loopback by an address or as localhost.
func (g *guard) refusal(r *http.Request) string {
	if r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Mode") != "" {
		return "this registry does not answer web pages"
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if local == nil {
		return ""
	}
	at, err := netip.ParseAddrPort(local.String())
	if err != nil || !at.Addr().Unmap().IsLoopback() {
		return "" // any name may be this machine's
	}
	host := strings.ToLower(strings.TrimSuffix(hostOnly(r.Host), "."))
	_, err = netip.ParseAddr(host) // an address is no name that could be rebound
	if err == nil || host == "localhost" || strings.HasSuffix(host, ".localhost") ||
		slices.ContainsFunc(g.hosts, func(h string) bool { return strings.EqualFold(h, host) }) {
		return ""
	}
	return "this registry is on loopback and does not answer to the name " + host + ": use the address that it " +
		"printed, or start it with --host " + host + " if a proxy before it keeps the name"
}

// hostOnly is a Host header without the port.
func hostOnly(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.Trim(host, "[]")
}
