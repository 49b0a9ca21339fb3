package cluster

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// maxHosts limits what one pattern and one file may name.
const maxHosts = 1000

// expandHosts expands the ranges of a host pattern: "10.0.0.[2-9]", "node[01-12]", "rack[1,3]-[a]"
// has none. Numbers keep the width of a range's first one when that starts with 0. Brackets around
// an IPv6 address are not a range.
func expandHosts(pattern string) ([]string, error) {
	open := rangeStart(pattern)
	if open < 0 {
		return []string{pattern}, nil
	}
	length := strings.IndexByte(pattern[open:], ']')
	if length < 0 {
		return nil, fmt.Errorf("range in %q is not closed by ]", clip(pattern))
	}
	values, err := rangeValues(pattern[open+1 : open+length])
	if err != nil {
		return nil, err
	}
	rest, err := expandHosts(pattern[open+length+1:])
	if err != nil {
		return nil, err
	}
	if len(values)*len(rest) > maxHosts {
		return nil, fmt.Errorf("%q names more than %d hosts", clip(pattern), maxHosts)
	}
	out := make([]string, 0, len(values)*len(rest))
	for _, v := range values {
		for _, r := range rest {
			out = append(out, pattern[:open]+v+r)
		}
	}
	return out, nil
}

// rangeStart is the index of the first '[' that opens a range, or -1.
func rangeStart(s string) int {
	for from := 0; ; {
		i := strings.IndexByte(s[from:], '[')
		if i < 0 {
			return -1
		}
		i += from
		end := strings.IndexByte(s[i:], ']')
		if end < 0 || !strings.Contains(s[i:i+end], ":") {
			return i
		}
		from = i + end
	}
}

// rangeValues expands "2-9" and "1,3,5-7".
func rangeValues(s string) ([]string, error) {
	var out []string
	for _, part := range strings.Split(s, ",") {
		first, last, found := strings.Cut(part, "-")
		if !found {
			last = first
		}
		if !intGrammar.MatchString(first) || !intGrammar.MatchString(last) || len(first) > 9 || len(last) > 9 {
			return nil, fmt.Errorf("range [%s] is not made of numbers", clip(s))
		}
		a, errA := strconv.Atoi(first)
		b, errB := strconv.Atoi(last)
		if err := errors.Join(errA, errB); err != nil {
			return nil, fmt.Errorf("range [%s]: %w", clip(s), err)
		}
		if b < a {
			return nil, fmt.Errorf("range [%s] ends before it starts", clip(s))
		}
		if b-a >= maxHosts || len(out)+b-a >= maxHosts {
			return nil, fmt.Errorf("range [%s] names more than %d hosts", clip(s), maxHosts)
		}
		width := 0
		if first[0] == '0' {
			width = len(first)
		}
		for i := a; i <= b; i++ {
			out = append(out, fmt.Sprintf("%0*d", width, i))
		}
	}
	return out, nil
}

// parseHost reads one host: "local" or "", "unix:///run/podman/podman.sock",
// "[ssh://][user@]host[:port]"; an IPv6 address stands in brackets. Nothing that it accepts starts
// with '-' or holds a character that means something to a shell.
func parseHost(s string) (Host, error) {
	switch {
	case s == "" || s == "local":
		return Host{Local: true}, nil
	case strings.HasPrefix(s, "unix://"):
		socket := strings.TrimPrefix(s, "unix://")
		if !cleanPath(socket) || len(socket) > 100 {
			return Host{}, fmt.Errorf("%q is not the absolute path of a socket", clip(socket))
		}
		return Host{Local: true, Socket: socket}, nil
	}
	rest := strings.TrimPrefix(s, "ssh://")
	if scheme, _, found := strings.Cut(rest, "://"); found {
		return Host{}, fmt.Errorf("%q is not a way to reach a host", clip(scheme)+"://")
	}
	var h Host
	if user, after, found := strings.Cut(rest, "@"); found {
		if !userGrammar.MatchString(user) {
			return Host{}, fmt.Errorf("user %q is not valid", clip(user))
		}
		h.User, rest = user, after
	}
	address, port, err := splitPort(rest)
	if err != nil {
		return Host{}, err
	}
	h.Address, h.Port = address, port
	return h, checkAddress(address)
}

// splitPort takes "host", "host:port", "[v6]" or "[v6]:port" apart.
func splitPort(s string) (address string, port int, err error) {
	var after string
	var found bool
	switch {
	case strings.HasPrefix(s, "["):
		if address, after, err = splitBrackets(s); err != nil {
			return "", 0, err
		}
	case strings.Count(s, ":") > 1:
		return "", 0, fmt.Errorf("%q: write an IPv6 address in brackets, [%s]", clip(s), clip(s))
	default:
		if address, after, found = strings.Cut(s, ":"); found && after == "" {
			return "", 0, fmt.Errorf("%q has an empty port", clip(s))
		}
	}
	if after == "" {
		return address, 0, nil
	}
	port, err = strconv.Atoi(after)
	if err != nil || !intGrammar.MatchString(after) || port < 1 || port > 65535 {
		return "", 0, fmt.Errorf("port %q is not between 1 and 65535", clip(after))
	}
	return address, port, nil
}

// splitBrackets takes "[v6]" or "[v6]:port" apart.
func splitBrackets(s string) (address, port string, err error) {
	address, after, found := strings.Cut(s[1:], "]")
	if !found {
		return "", "", fmt.Errorf("%q has no closing ]", clip(s))
	}
	if a, err := netip.ParseAddr(address); err != nil || !a.Is6() || a.Zone() != "" {
		return "", "", fmt.Errorf("%q in brackets is not an IPv6 address", clip(address))
	}
	if after == "" {
		return address, "", nil
	}
	port, found = strings.CutPrefix(after, ":")
	if !found || port == "" {
		return "", "", fmt.Errorf("%q follows the brackets, and is not :port", clip(after))
	}
	return address, port, nil
}

func checkAddress(s string) error {
	if a, err := netip.ParseAddr(s); err == nil {
		if a.IsUnspecified() || a.IsMulticast() {
			return fmt.Errorf("%s is not the address of one machine", s)
		}
		return nil
	}
	if !hostGrammar.MatchString(s) || strings.Contains(s, "..") {
		return fmt.Errorf("host %q is not a name or an address", clip(s))
	}
	if numericHost.MatchString(s) {
		return fmt.Errorf("host %q is not an IPv4 address", clip(s))
	}
	return nil
}

// slug turns an address into a part of a container's name.
func slug(address string) string {
	out := []byte(strings.ToLower(address))
	for i, c := range out {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			out[i] = '-'
		}
	}
	return strings.Trim(string(out), "-")
}
