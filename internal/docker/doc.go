// Package docker reaches the Docker Engine of a host.
//
// A host is this machine or one behind SSH. For a host behind SSH one connection carries
// everything: the Engine's API, tunnels to ports of the host, and the few fixed commands that the
// API has no call for. The connection has time limits of its own at each phase, and a keepalive
// that ends it when the host falls silent; every call under way then fails with that cause. The
// Engine's API is spoken over direct-streamlocal channels (OpenSSH PROTOCOL, section 2.4) to the
// Engine's socket, so that no docker program is needed on the host and sshd's MaxStartups and
// MaxSessions do not limit the calls. Host keys are always checked.
package docker
