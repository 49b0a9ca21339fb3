package docker

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Target names a host.
type Target struct {
	Local bool // this machine's engine: Engine says which; the fields of SSH are then not used
	// unix:///path, tcp://127.0.0.1:port or ssh://…; default: DOCKER_HOST, then the first socket of
	// Docker or podman that is there
	Engine  string
	User    string // default: ~/.ssh/config, then the current user
	Address string // name, address or alias of ~/.ssh/config
	Port    int    // default: ~/.ssh/config, then 22
	Key     string // private key file, tried before all others
	Jump    string // "[user@]host[:port][,…]"; default: ~/.ssh/config; "none": no jump host
	Socket  string // the Engine's socket on the host; default /var/run/docker.sock
}

// String is the target as a user writes it: ssh://user@host:port or local.
func (t Target) String() string {
	if t.Local {
		return "local"
	}
	u := url.URL{Scheme: "ssh", Host: t.Address}
	if strings.Contains(t.Address, ":") {
		u.Host = "[" + t.Address + "]"
	}
	if t.Port != 0 {
		u.Host = net.JoinHostPort(t.Address, strconv.Itoa(t.Port))
	}
	if t.User != "" {
		u.User = url.User(t.User)
	}
	return u.String()
}

// Options are the files and time limits of connections. The zero value is right for a user's machine.
type Options struct {
	SSHConfig string // client configuration; default ~/.ssh/config, which may be missing; "none": not read
	// files of host keys; default ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts; missing files
	// count as empty
	KnownHosts []string
	// the client configuration's files of host keys count as well; always so where KnownHosts is the default
	ConfigHosts bool
	// file of host keys that travels with a cluster's file; it counts for hosts that KnownHosts do not know; default:
	// none
	ProjectHosts string
	// private keys tried after the target's own; default ~/.ssh/id_ed25519, id_ecdsa and id_rsa, as
	// far as they are there
	Identities []string
	Agent      string // socket of the SSH agent; default SSH_AUTH_SOCK; "none": not asked
	MaxKeys    int    // most keys offered to a host; default 5 (sshd's MaxAuthTries is 6)

	ConnectTimeout   time.Duration // TCP connection; default 5 s
	HandshakeTimeout time.Duration // SSH banner, key exchange and authentication together; default 10 s
	EngineTimeout    time.Duration // first answer of the Engine; default 10 s
	DialTimeout      time.Duration // all of that together, jump hosts too; default 14 s
	// silence after which the host is asked for a sign of life, and its Engine during long calls;
	// default 5 s
	KeepaliveEvery time.Duration
	KeepaliveLimit time.Duration // further silence that ends the connection, or the call; default 8 s
}

func (o Options) withDefaults() Options {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.ConnectTimeout, 5*time.Second)
	def(&o.HandshakeTimeout, 10*time.Second)
	def(&o.KeepaliveEvery, 5*time.Second)
	def(&o.KeepaliveLimit, 8*time.Second)
	def(&o.DialTimeout, 14*time.Second)
	def(&o.EngineTimeout, 10*time.Second)
	if o.MaxKeys == 0 {
		o.MaxKeys = 5
	}
	if o.SSHConfig == "" {
		o.SSHConfig = inHome(".ssh/config")
	}
	if o.KnownHosts == nil {
		o.ConfigHosts = true
		o.KnownHosts = []string{inHome(".ssh/known_hosts"), "/etc/ssh/ssh_known_hosts"}
	}
	if o.Identities == nil {
		o.Identities = []string{inHome(".ssh/id_ed25519"), inHome(".ssh/id_ecdsa"), inHome(".ssh/id_rsa")}
	}
	if o.Agent == "" {
		o.Agent = os.Getenv("SSH_AUTH_SOCK")
	}
	return o
}

var (
	userForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._@\\-]*$`)
	hostForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)
)

// ParseTarget reads [ssh://][user@]host[:port], or "local". Brackets go round an IPv6 address.
func ParseTarget(s string) (Target, error) {
	if s == "local" {
		return Target{Local: true}, nil
	}
	fail := func(why string) (Target, error) {
		return Target{}, fmt.Errorf("read host %q: %s; write [user@]host[:port] or local", s, why)
	}
	rest := strings.TrimPrefix(s, "ssh://")
	var t Target
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		t.User, rest = rest[:i], rest[i+1:]
		if !userForm.MatchString(t.User) {
			return fail("the user's name has characters that no name has")
		}
	}
	t.Address = rest
	if inner, ok := strings.CutPrefix(rest, "["); ok && strings.HasSuffix(inner, "]") {
		t.Address = strings.TrimSuffix(inner, "]")
	}
	if net.ParseIP(t.Address) == nil {
		host, port, err := net.SplitHostPort(rest)
		if err == nil {
			n, err := strconv.ParseUint(port, 10, 16)
			if err != nil || n == 0 {
				return fail("the port is not a number from 1 to 65535")
			}
			t.Address, t.Port = host, int(n)
		}
	}
	if net.ParseIP(t.Address) == nil && !hostForm.MatchString(t.Address) {
		return fail("the host is neither a name nor an address")
	}
	return t, nil
}

func inHome(path string) string {
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return home + "/" + path
}
