package cluster

import (
	"context"

	"github.com/raybuild/raybuild/internal/docker"
)

// SSH names the files that reach the hosts. The zero value takes the user's own files, as ssh does.
type SSH struct {
	// Config is the client configuration. The default is ~/.ssh/config; "none" reads no file.
	Config string
	// KnownHosts are the files of host keys. A file that is not there counts as empty. The default is
	// ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts.
	KnownHosts []string
	// ConfigHosts lets the files of host keys count as well that the client configuration names (UserKnownHostsFile,
	// GlobalKnownHostsFile). It is always so if KnownHosts is the default.
	ConfigHosts bool
	// ProjectHosts is the file of host keys that travels with the cluster's file. It counts for hosts that KnownHosts
	// do not know. It is an error if it has another key for a host, or names an authority. The default is none.
	ProjectHosts string
	// Identities are the private keys that are tried after the host's own key. The default is ~/.ssh/id_ed25519,
	// id_ecdsa and id_rsa.
	Identities []string
	// Agent is the socket of the SSH agent. The default is $SSH_AUTH_SOCK; "none" asks no agent.
	Agent string
}

func (s SSH) options() docker.Options {
	return docker.Options{SSHConfig: s.Config, KnownHosts: s.KnownHosts, ProjectHosts: s.ProjectHosts,
		ConfigHosts: s.ConfigHosts,
		Identities:  s.Identities, Agent: s.Agent}
}

// Login is what a program without an SSH agent uses to log in to a host.
type Login struct {
	User    string
	Key     string // private key file that needs no passphrase; empty: there is none
	Missing string // why Key is empty
}

// LoginOf finds the login of the head's host. It reads the files that o.SSH names and connects to nothing.
func LoginOf(ctx context.Context, spec *Spec, o Options) (Login, error) {
	l, err := docker.LoginOf(ctx, target(spec.Head.Host), o.SSH.options())
	return Login(l), err
}

func target(h Host) docker.Target {
	if h.Local {
		t := docker.Target{Local: true}
		if h.Socket != "" {
			t.Engine = "unix://" + h.Socket
		}
		return t
	}
	return docker.Target{User: h.User, Address: h.Address, Port: h.Port, Key: h.Key, Jump: h.Jump, Socket: h.Socket}
}
