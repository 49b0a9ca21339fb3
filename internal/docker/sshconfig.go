package docker

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
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

	certs []string // certificates of keys (CertificateFile)
	hosts []string // further files of host keys (UserKnownHostsFile, GlobalKnownHostsFile)

	known    string // host:port that its host keys are recorded under, as HostKeyAlias says; "": addr
	only     bool   // of the agent's keys only those of named files are shown (IdentitiesOnly)
	proxy    string // the command that connects to it (ProxyCommand); "": there is none
	original string // as the configuration knows it
}

// keyAddr is the address that the hop's keys are recorded under.
func (h hop) keyAddr() string { return cmp.Or(h.known, h.addr) }

// clientConfig is the part of ssh_config(5) that is understood: Host, Match, HostName, User, Port, IdentityFile,
// CertificateFile, IdentitiesOnly, HostKeyAlias, UserKnownHostsFile, GlobalKnownHostsFile, ProxyJump, ProxyCommand,
// Include. A file with Match or Include lines is read by ssh(1), where it is there: the library knows few conditions.
type clientConfig struct {
	file    string
	cfg     *ssh_config.Config
	openssh string // ssh(1), which must read the file; "": cfg is what the file says
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
	some, beyond := conditions(string(data))
	if err == nil && some {
		c.openssh, _ = exec.LookPath("ssh") // without it the library must do
	}
	if c.openssh != "" {
		return c, nil
	}
	hint := ""
	if err == nil && beyond != "" {
		err, hint = fmt.Errorf("only ssh understands %q", beyond), "install OpenSSH's client, or "
	}
	if err == nil {
		c.cfg, err = ssh_config.DecodeBytes(bytes.TrimPrefix(data, []byte("\ufeff")))
	}
	if err != nil {
		return c, fmt.Errorf("read SSH configuration %q: %w; %sname another file with --ssh-config, or none", file, err,
			hint)
	}
	return c, nil
}

// conditions tells whether a file has lines whose meaning ssh(1) knows best, and gives the first of those that the
// library does not understand: it takes further words of "Match host" for patterns.
func conditions(text string) (some bool, beyond string) {
	for line := range strings.Lines(text) {
		words := strings.Fields(strings.ToLower(strings.Replace(line, "=", " ", 1)))
		if len(words) == 0 || words[0] != "match" && words[0] != "include" {
			continue
		}
		some = true
		known := words[0] == "include" || len(words) == 2 && words[1] == "all" || len(words) == 3 && words[1] == "host"
		if !known && beyond == "" {
			beyond = strings.TrimSpace(line)
		}
	}
	return some, beyond
}

// hostSettings are what the file says of an alias, as the library reads it.
type hostSettings struct {
	clientConfig
	alias string
}

// get implements settings. The library's errors are those of conditional includes, which count as no value.
func (s hostSettings) get(key string) string {
	v, err := s.cfg.Get(s.alias, key)
	if err != nil {
		return ""
	}
	return v
}

// all implements settings.
func (s hostSettings) all(key string) ([]string, error) {
	all, err := s.cfg.GetAll(s.alias, key)
	if err != nil {
		return nil, fmt.Errorf("read SSH configuration %q: %w", s.file, err)
	}
	return all, nil
}

func (c clientConfig) settings(ctx context.Context, t Target) (settings, error) {
	if c.openssh != "" {
		return askOpenSSH(ctx, c.openssh, c.file, t)
	}
	return hostSettings{c, t.Address}, nil
}

// resolve applies the configuration to a target. What the target says goes first.
func (c clientConfig) resolve(ctx context.Context, t Target) (hop, error) {
	h := hop{name: t.String(), user: t.User, jump: t.Jump, original: t.Address}
	s, err := c.settings(ctx, t)
	if err != nil {
		return h, err
	}
	h.only = strings.EqualFold(s.get("IdentitiesOnly"), "yes")
	if alias := s.get("HostKeyAlias"); alias != "" {
		h.known = net.JoinHostPort(alias, "22") // ssh(1) records an alias without a port
	}
	host, port := t.Address, t.Port
	if v := s.get("HostName"); v != "" {
		host = strings.ReplaceAll(v, "%h", t.Address)
	}
	if port == 0 {
		port = 22
		if v := s.get("Port"); v != "" {
			n, err := strconv.ParseUint(v, 10, 16)
			if err != nil || n == 0 {
				return h, fmt.Errorf("read SSH configuration %q: Port %q of %q is not a port", c.file, v, t.Address)
			}
			port = int(n)
		}
	}
	h.addr = net.JoinHostPort(host, strconv.Itoa(port))
	if h.user == "" {
		h.user = s.get("User")
	}
	if h.user == "" {
		u, err := user.Current()
		if err != nil {
			return h, fmt.Errorf("find the user for %q: %w; write user@host", t.Address, err)
		}
		h.user = u.Username
	}
	if h.jump == "" {
		h.jump = s.get("ProxyJump")
	}
	if h.jump == "" && !strings.EqualFold(s.get("ProxyCommand"), "none") {
		h.proxy = s.get("ProxyCommand")
	}
	if h.jump == "none" {
		h.jump = ""
	}
	if t.Key != "" {
		h.keys = append(h.keys, expandFile(t.Key, host, h.user))
	}
	for key, to := range map[string]*[]string{"IdentityFile": &h.keys, "CertificateFile": &h.certs} {
		files, err := s.all(key)
		if err != nil {
			return h, err
		}
		for _, f := range files {
			*to = append(*to, expandFile(f, host, h.user))
		}
	}
	for _, f := range knownFiles(s) {
		if f = expandFile(f, host, h.user); !usualHosts(f) { // those are in Options.KnownHosts
			h.hosts = append(h.hosts, f)
		}
	}
	return h, nil
}

// expandFile is the path of a file as ssh_config(5) writes it, with ~ and some tokens.
func expandFile(f, host, user string) string {
	if rest, ok := strings.CutPrefix(f, "~/"); ok {
		f = inHome(rest)
	}
	home := strings.TrimSuffix(inHome(""), "/")
	return strings.NewReplacer("%d", home, "%h", host, "%r", user, "%%", "%").Replace(f)
}

const maxHops = 8 // deeper chains are loops of the configuration

// route lists the SSH servers from here to the target, the target last.
func (c clientConfig) route(ctx context.Context, t Target) ([]hop, error) {
	return c.routeTo(ctx, t, maxHops)
}

func (c clientConfig) routeTo(ctx context.Context, t Target, left int) ([]hop, error) {
	if left == 0 {
		return nil, fmt.Errorf("find the way to %q: more than %d jump hosts; ProxyJump runs in a circle", t, maxHops)
	}
	last, err := c.resolve(ctx, t)
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
		more, err := c.routeTo(ctx, jt, left-1)
		if err != nil {
			return nil, err
		}
		hops = append(hops, more...)
	}
	return append(hops, last), nil
}
