package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/raybuild/raybuild/internal/docker"
)

const reachLimit = 5 * time.Second

// reach checks for hosts that get new nodes that they and the head's host get through to each
// other, on the ports that Ray's nodes use among themselves. Errors are by host.
func (l *launch) reach(ctx context.Context, cs *clusterState, skip map[string]error) map[string]error {
	head := cs.desired[0]
	fresh := map[string][]container{}
	for _, a := range cs.actions {
		if a.Kind == Create && a.Host != head.Host && skip[a.Host] == nil {
			fresh[a.Host] = append(fresh[a.Host], *a.Want)
		}
	}
	return l.each(func(id string, h *docker.Host) error { return l.apart(ctx, h, head, fresh[id], cs.image) })
}

// apart says why the nodes of a host and the head do not get through to each other, nil where they do.
func (l *launch) apart(ctx context.Context, h *docker.Host, head container, nodes []container, image ImageFacts) error {
	if len(nodes) == 0 {
		return nil
	}
	var ports []string
	for _, c := range nodes {
		ports = append(ports, peerPorts(c, image)...)
	}
	var there, back error
	var wg sync.WaitGroup
	wg.Go(func() { there = reaches(ctx, h, head.Address, peerPorts(head, image), "it does not reach the head") })
	if from := l.head(); from != nil {
		wg.Go(func() { back = reaches(ctx, from, nodes[0].Address, ports, "the head's host does not reach it") })
	}
	wg.Wait()
	return errors.Join(there, back)
}

// peerPorts are the ports of a node that other nodes connect to; of a range the first one.
func peerPorts(c container, image ImageFacts) []string {
	needs, err := portsNeeded(c.Node, image.RayVersion, image.Client)
	if err != nil {
		return nil // planContainers has refused it before
	}
	var out []string
	for _, p := range needs {
		if p.Peers {
			out = append(out, strconv.Itoa(p.First))
		}
	}
	return out
}

// reaches checks that a host gets through to an address. Before Ray listens there, "refused" is as good as an answer.
func reaches(ctx context.Context, h *docker.Host, at netip.Addr, ports []string, otherwise string) error {
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	slices.Sort(ports)
	ports = slices.Compact(ports)
	errs := make([]error, len(ports))
	var wg sync.WaitGroup
	for i, port := range ports {
		wg.Go(func() {
			c, err := h.Dial(ctx, net.JoinHostPort(at.String(), port))
			if err == nil {
				err = c.Close()
			} else if strings.Contains(err.Error(), "refused") {
				err = nil
			}
			errs[i] = err
		})
	}
	wg.Wait()
	var shut []string
	var why error
	for i, err := range errs {
		if err != nil {
			shut, why = append(shut, ports[i]), err
		}
	}
	switch {
	case why == nil:
		return nil
	case h.Err() != nil:
		return h.Err()
	case strings.Contains(why.Error(), "prohibited"):
		return fmt.Errorf("sshd of %s forbids TCP forwarding, but raybuild needs it to ask Ray; set "+
			"AllowTcpForwarding yes (%w)", h.Target(), why)
	}
	return fmt.Errorf("%s at %s, port %s: a firewall, or the wrong address; open TCP between the hosts, or set "+
		"private_address (%w)",
		otherwise, at, strings.Join(shut, ", "), why)
}
