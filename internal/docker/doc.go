// Package docker reaches the Docker Engine of a host.
//
// A host is this machine, or a machine that SSH reaches. One SSH connection to a host carries everything: the Engine's
// API, tunnels to ports of the host, and a few fixed commands for which the API has no call. Each phase of the
// connection has its own time limit. A keepalive ends the connection if the host does not answer any more; then all
// running calls fail with this cause. The API goes over direct-streamlocal channels (OpenSSH PROTOCOL, section 2.4) to
// the Engine's socket. So the host needs no docker program, and sshd's MaxStartups and MaxSessions do not limit the
// calls. Host keys are always checked.
package docker
