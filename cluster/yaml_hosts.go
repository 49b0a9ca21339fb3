package cluster

import (
	"fmt"
	"net/netip"

	"github.com/raybuild/raybuild/internal/strictyaml"
)

// hostValue reads one host. Nothing, as in "host:", is this machine.
func hostValue(dst *[]hostAt) strictyaml.Value {
	shape := func() strictyaml.Shape { return strictyaml.NullOr(nil, strictyaml.Each(hostPattern(), nil)).Shape() }
	return strictyaml.Func(shape, func(t *strictyaml.Reader, n *strictyaml.Node, key string) {
		if n.Kind == strictyaml.Null {
			*dst = append(*dst, hostAt{Host{Local: true}, n})
			return
		}
		found := readHosts(t, n, key)
		if len(found) > 1 {
			t.AddAt(n, key, fmt.Sprintf("host %s names %d hosts", strictyaml.Quote(n.Text), len(found)),
				"use hosts for several")
		}
		*dst = append(*dst, found...)
	})
}

// hostsValue reads a list of host patterns.
func hostsValue(dst *[]hostAt) strictyaml.Value {
	count := 0
	one := func(t *strictyaml.Reader, n *strictyaml.Node, key string) {
		found := readHosts(t, n, key)
		if count += len(found); count > maxHosts {
			t.AddAt(n, key, fmt.Sprintf("more than %d hosts", maxHosts), "use several clusters")
			return
		}
		*dst = append(*dst, found...)
	}
	return strictyaml.Items("a list of hosts", strictyaml.Func(strictyaml.Each(hostPattern(), nil).Shape, one))
}

const hostsFix = "write local, ssh://user@10.0.0.1:22, ssh://user@node[01-12] or ssh://user@[fd00::1]"

// hostPattern is the grammar of a host with ranges.
func hostPattern() strictyaml.Grammar {
	return hostsGrammar.checked("a host", func(s string) (string, string) {
		if _, err := parseHosts(s); err != nil {
			return err.Error(), hostsFix
		}
		return "", ""
	})
}

func parseHosts(pattern string) ([]Host, error) {
	names, err := expandHosts(pattern)
	if err != nil {
		return nil, err
	}
	out := make([]Host, len(names))
	for i, name := range names {
		if out[i], err = parseHost(name); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// readHosts expands one host pattern. A wrong one still counts as a host, so that no further problem follows from it.
func readHosts(t *strictyaml.Reader, n *strictyaml.Node, key string) []hostAt {
	var out []hostAt
	t.Read(n, key, strictyaml.Each(hostPattern(), func(s string) {
		hosts, _ := parseHosts(s) // of its grammar
		for _, h := range hosts {
			out = append(out, hostAt{h, n})
		}
	}))
	if out == nil {
		return []hostAt{{Host{}, n}}
	}
	return out
}

// addressesValue reads addresses and ranges of them.
func addressesValue(dst *[]netip.Addr) strictyaml.Value {
	g := addressesRange.checked("an IP address or a range", func(s string) (string, string) {
		if _, err := parseAddresses(s); err != nil {
			return err.Error(), "write 192.168.1.5 or 192.168.1.[2-9]"
		}
		return "", ""
	})
	return strictyaml.Items("a list of addresses", strictyaml.Each(g, func(s string) {
		found, _ := parseAddresses(s) // of its grammar
		*dst = append(*dst, found...)
	}))
}

func parseAddresses(pattern string) ([]netip.Addr, error) {
	names, err := expandHosts(pattern)
	if err != nil {
		return nil, err
	}
	out := make([]netip.Addr, len(names))
	for i, name := range names {
		a, ok := parseAddress(name)
		if !ok {
			return nil, fmt.Errorf("%q is not the IP address of one machine", clip(name))
		}
		out[i] = a
	}
	return out, nil
}

// publicValue reads an address that is accepted, or unknown.
func publicValue(s *Spec) strictyaml.Value {
	g := publicGrammar.checked("an IP address, or unknown", func(s string) (string, string) {
		if _, ok := parseAddress(s); !ok && s != "unknown" {
			return fmt.Sprintf("%q is not the IP address of one machine", clip(s)),
				"write one such as 10.0.0.5 or fd00::5, or unknown"
		}
		return "", ""
	})
	return strictyaml.Each(g, func(text string) {
		if a, ok := parseAddress(text); ok {
			s.AllowPublic = append(s.AllowPublic, a)
			return
		}
		s.AllowUnknown = true
	})
}
