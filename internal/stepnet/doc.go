// Package stepnet gives a build step a network of its own: a network namespace whose only way out is this process. It
// needs no address, no route and no packet filter of the host, and so no right to change them. The step reaches what
// this process can reach, but not this machine's loopback, its link, or where clouds tell a machine its credentials.
//
//	step ── eth0 (in the namespace) ── packets ── a TCP/IP stack in this process ── connections of this process
//
// eth0 is one end of a veth pair, or a TUN device where the kernel has no such pairs.
package stepnet
