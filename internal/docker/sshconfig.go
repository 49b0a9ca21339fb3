package docker

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"strconv"
	"strings"

	"github.com/kevinburke/ssh_config"
)

// hop is one SSH server on the way to a host, after the client configuration was applied.
type hop struct {
	name string // as the user knows it, for messages
	user string
	addr string // host:port
	keys []string
	jump string

	known    string // host:port that its host keys are recorded under, as HostKeyAlias says; "": addr
	only     bool   // of the agent's keys only those of named files are shown (IdentitiesOnly)
	proxy    string // the command that connects to it (ProxyCommand); "": there is none
	original string // as the configuration knows it
}

// keyAddr is the address that the hop's keys are recorded under.
func (h hop) keyAddr() string { return cmp.Or(h.known, h.addr) }

// clientConfig is the part of ssh_config(5) that is understood: Host, Match host, Match all, HostName, User, Port,
// IdentityFile, IdentitiesOnly, HostKeyAlias, ProxyJump, ProxyCommand, Include. Another Match is an error.
type clientConfig struct {
	file string
	cfg  *ssh_config.Config
}

func readClientConfig(file string) (clientConfig, error) {
	c := clientConfig{file: file, cfg: &ssh_config.Config{}}
	if file == "none" || file == "" {
		return c, nil
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err == nil {
		c.cfg, err = ssh_config.DecodeBytes(bytes.TrimPrefix(data, []byte("\ufeff")))
	}
	if err != nil {
		return c, fmt.Errorf("read SSH configuration %q: %w; name another file with --ssh-config, or none", file, err)
	}
	return c, nil
}

// get returns the value of a key for an alias; the library's errors are those of conditional
// includes, which count as no value.
func (c clientConfig) get(alias, key string) string {
	v, err := c.cfg.Get(alias, key)
	if err != nil {
		return ""
	}
	return v
}

// resolve applies the configuration to a target. What the target says goes first.
func (c clientConfig) resolve(t Target) (hop, error) {
	h := hop{name: t.String(), user: t.User, jump: t.Jump, original: t.Address,
		only: strings.EqualFold(c.get(t.Address, "IdentitiesOnly"), "yes")}
	if alias := c.get(t.Address, "HostKeyAlias"); alias != "" {
		h.known = net.JoinHostPort(alias, "22") // ssh(1) records an alias without a port
	}
	host, port := t.Address, t.Port
	if v := c.get(t.Address, "HostName"); v != "" {
		host = strings.ReplaceAll(v, "%h", t.Address)
	}
	if port == 0 {
		port = 22
		if v := c.get(t.Address, "Port"); v != "" {
			n, err := strconv.ParseUint(v, 10, 16)
			if err != nil || n == 0 {
				return h, fmt.Errorf("read SSH configuration %q: Port %q of %q is not a port", c.file, v, t.Address)
			}
			port = int(n)
		}
	}
	h.addr = net.JoinHostPort(host, strconv.Itoa(port))
	if h.user == "" {
		h.user = c.get(t.Address, "User")
	}
	if h.user == "" {
		u, err := user.Current()
		if err != nil {
			return h, fmt.Errorf("find the user for %q: %w; write user@host", t.Address, err)
		}
		h.user = u.Username
	}
	if h.jump == "" {
		h.jump = c.get(t.Address, "ProxyJump")
	}
	if h.jump == "" && !strings.EqualFold(c.get(t.Address, "ProxyCommand"), "none") {
		h.proxy = c.get(t.Address, "ProxyCommand")
	}
	if h.jump == "none" {
		h.jump = ""
	}
	if t.Key != "" {
		h.keys = append(h.keys, expandKey(t.Key, host, h.user))
	}
	files, err := c.cfg.GetAll(t.Address, "IdentityFile")
	if err != nil {
		return h, fmt.Errorf("read SSH configuration %q: %w", c.file, err)
	}
	for _, f := range files {
		h.keys = append(h.keys, expandKey(f, host, h.user))
	}
	return h, nil
}

func expandKey(f, host, user string) string {
	if rest, ok := strings.CutPrefix(f, "~/"); ok {
		return inHome(rest)
	}
	home := strings.TrimSuffix(inHome(""), "/")
	return strings.NewReplacer("%d", home, "%h", host, "%r", user, "%%", "%").Replace(f)
}

const maxHops = 8 // deeper chains are loops of the configuration

// route lists the SSH servers from here to the target, the target last.
func (c clientConfig) route(t Target) ([]hop, error) {
	return c.routeTo(t, maxHops)
}

func (c clientConfig) routeTo(t Target, left int) ([]hop, error) {
	if left == 0 {
		return nil, fmt.Errorf("find the way to %q: more than %d jump hosts; ProxyJump runs in a circle", t, maxHops)
	}
	last, err := c.resolve(t)
	if err != nil || last.jump == "" {
		return []hop{last}, err
	}
	var hops []hop
	for i, part := range strings.Split(last.jump, ",") {
		jt, err := ParseTarget(strings.TrimSpace(part))
		if err != nil {
			return nil, fmt.Errorf("read jump host of %q: %w", t, err)
		}
		if i > 0 {
			jt.Jump = "none" // it is reached through the one before it
		}
		jt.Key = t.Key
		more, err := c.routeTo(jt, left-1)
		if err != nil {
			return nil, err
		}
		hops = append(hops, more...)
	}
	return append(hops, last), nil
}
