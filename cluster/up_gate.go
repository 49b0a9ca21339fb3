package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	defaultWait = 2 * time.Minute
	pollFirst   = 100 * time.Millisecond
	pollLast    = time.Second
	askLimit    = 10 * time.Second // of one question to Ray
	giveUp      = 3                // restarts after which a container will not mend itself
)

func (l *launch) wait() time.Duration {
	if l.spec.Wait > 0 {
		return l.spec.Wait
	}
	return defaultWait
}

// poll calls f until it says done or returns an error, less and less often, for as long as nodes may take.
func (l *launch) poll(ctx context.Context, f func(ctx context.Context) (done bool, err error)) error {
	end := time.Now().Add(l.wait())
	for pause := pollFirst; ; pause = min(pause*3/2, pollLast) {
		ask, cancel := context.WithTimeout(ctx, askLimit)
		done, err := f(ask)
		cancel()
		if done || err != nil {
			return err
		}
		if time.Now().After(end) {
			return errTooLong
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

var errTooLong = errors.New("it takes too long")

// awaitHead waits until the head answers, and no longer than its container can still come up.
func (l *launch) awaitHead(ctx context.Context, cs *clusterState) error {
	var last error
	r, err := l.ray(ctx, cs)
	if err != nil {
		return err
	}
	defer r.close()
	start := time.Now()
	err = l.poll(ctx, func(ctx context.Context) (bool, error) {
		if last = r.healthy(ctx); last == nil {
			return true, nil
		}
		d, err := r.host.Inspect(ctx, r.container)
		if err == nil && (d.Restarts >= giveUp || !d.Running && d.State == "exited") {
			return false, fmt.Errorf("its container is %s after %s, %s%s", d.State,
				plural(d.Restarts, "restart", "restarts"), exitOf(d.ExitCode),
				saying(lastWords(ctx, r.host, r.container)))
		}
		if err := l.noDashboard(ctx, r, start, last); err != nil {
			return false, err
		}
		return false, r.host.Err()
	})
	host := l.spec.Head.Host.ID()
	if errors.Is(err, errTooLong) {
		err = fmt.Errorf("ray does not answer within %s: %w%s", l.wait(), last,
			saying(lastWords(ctx, r.host, r.container)))
	}
	if err != nil {
		return fmt.Errorf("wait for the head: %w",
			&HostError{Host: host, Err: err, Next: "raybuild cluster logs --node " + l.spec.Head.ID})
	}
	l.logf("%s: head answers after %.1f s", host, time.Since(start).Seconds())
	return nil
}

const dashboardLag = 30 * time.Second // after GCS; Ray's own start takes a few seconds

// noDashboard explains a head that is up and has no HTTP answers: without ray[default] there is no dashboard.
func (l *launch) noDashboard(ctx context.Context, r *ray, start time.Time, last error) error {
	if time.Since(start) < dashboardLag || !strings.Contains(last.Error(), "refused") {
		return nil
	}
	c, err := r.host.Dial(ctx, net.JoinHostPort("127.0.0.1", strconv.Itoa(l.spec.Head.Ports.GCS)))
	if err != nil {
		return nil //nolint:nilerr // GCS is not there either: it is not the dashboard that is amiss
	}
	c.Close() // it was a trial
	return errors.New("ray runs, but its dashboard, which answers for it, does not run: the image lacks " +
		"ray[default]; add the extra `default` to ray in raybuild.yaml")
}

// gate waits until Ray says that exactly the wanted nodes are alive with the resources asked for.
// failed are hosts that are out already. The Status says how far it came, also beside an error.
func (l *launch) gate(ctx context.Context, cs *clusterState, r *ray, failed map[string]error,
	changed bool) (*Status, error) {
	var nodes []rayNode
	var lastErr error
	want := slices.DeleteFunc(slices.Clone(cs.desired), func(c container) bool { return failed[c.Host] != nil })
	err := l.poll(ctx, func(ctx context.Context) (bool, error) {
		nodes, lastErr = r.asked, nil
		if r.asked = nil; nodes == nil {
			nodes, lastErr = r.nodes(ctx)
		}
		if lastErr != nil {
			var refused *statusError
			if errors.As(lastErr, &refused) && (refused.code == 401 || refused.code == 403) {
				return false, lastErr
			}
			return false, r.host.Err()
		}
		found, foreign := match(want, nodes, r.features.NodeName)
		complete := len(l.strangers(foreign, r.features.NodeName)) == 0
		for _, c := range want {
			n, ok := found[c.Node.ID]
			complete = complete && ok && c.Resources.lacks(n.Resources) == ""
		}
		if complete {
			return true, nil
		}
		return l.hopeless(ctx, want, found), nil
	})
	if err != nil && !errors.Is(err, errTooLong) {
		return nil, fmt.Errorf("wait for the nodes: %w", err)
	}
	s := &Status{Cluster: l.spec.Name, Wanted: len(l.spec.Nodes())}
	if lastErr != nil {
		s.Problem = lastErr.Error()
	}
	now := &clusterState{hosts: cs.hosts, image: cs.image, desired: cs.desired, digests: cs.digests}
	if err != nil || changed {
		now.hosts = l.observe(ctx, l.observing(false))
	}
	l.fill(ctx, s, now, nodes, r.features.NodeName, lastErr == nil)
	return s, l.verdict(s, failed)
}

// hopeless ends the wait early when every node that is missing has a container that restarts over and over.
func (l *launch) hopeless(ctx context.Context, want []container, found map[string]rayNode) bool {
	for _, c := range want {
		if _, ok := found[c.Node.ID]; ok {
			continue
		}
		h := l.fleet.up[c.Host]
		if h == nil || h.Err() != nil {
			continue // lost: it will not come back through this connection
		}
		d, err := h.Inspect(ctx, c.Name)
		if err != nil || d.Restarts < giveUp {
			return false
		}
	}
	return len(want) > len(found)
}

// verdict turns a status into up's result: enough nodes, or which are missing and why.
func (l *launch) verdict(s *Status, failed map[string]error) error {
	var failures []error
	workers := 0
	head := false
	for _, n := range s.Nodes {
		if n.Ray == rayAlive {
			if n.Role == Head {
				head = true
			} else {
				workers++
			}
			continue
		}
		if err := failed[n.Host]; err != nil {
			failures = append(failures, &HostError{Host: n.Host, Err: fmt.Errorf("node %s: %w", n.ID, err),
				Next: "mend it, then " + l.next()})
			continue
		}
		failures = append(failures, &HostError{Host: n.Host, Err: fmt.Errorf("node %s: %s", n.ID, n.Why), Next: n.Next})
	}
	for _, f := range s.Foreign {
		failures = append(failures, fmt.Errorf("ray counts a node that is not in %s: %s; remove it there: "+
			"raybuild cluster down --name %s --host HOST", l.spec.File, f, l.spec.Name))
	}
	if head && workers >= l.required() && len(s.Foreign) == 0 {
		for _, e := range failures {
			l.logf("without: %v", e)
		}
		s.Enough = len(failures) > 0
		return nil
	}
	if s.Problem != "" {
		failures = append(failures, errors.New(s.Problem))
	}
	return fmt.Errorf("cluster %s is not complete: %d of %s alive after %s:\n%w", l.spec.Name, s.Alive,
		plural(s.Wanted, "node", "nodes"), l.wait(), errors.Join(failures...))
}

// probe connects from here to Ray's ports at the addresses that are not for everyone: public ones
// always, and all of them when a packet filter is on and this machine is no member. An answer is a
// failure: code runs for whoever gets through.
func (l *launch) probe(ctx context.Context, cs *clusterState) error {
	targets := map[string]string{}
	for host, hs := range cs.hosts {
		if host == "local" || strings.HasPrefix(host, "unix://") {
			continue
		}
		addresses := l.addressesOf(host, hs.facts)
		if len(addresses) == 0 {
			l.logf("%s: warning: it does not show its addresses, so raybuild cannot try whether its ports are closed",
				host)
		}
		for _, a := range addresses {
			kind := classify(a)
			if kind == addrPublic || l.spec.Filter && !l.member() && !dockerBridge(a) && kind == addrPrivate {
				for _, c := range cs.desired {
					if c.Host == host {
						l.probePorts(targets, a, c, cs)
					}
				}
			}
		}
	}
	var mu sync.Mutex
	var open []string
	g := l.group()
	for _, addr := range slices.Sorted(maps.Keys(targets)) {
		g.Go(func() error {
			c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", addr)
			if err != nil {
				return nil //nolint:nilerr // closed, as it should be
			}
			mu.Lock()
			open = append(open, addr+" ("+targets[addr]+")")
			mu.Unlock()
			return c.Close()
		})
	}
	g.Wait() //nolint:errcheck // what is open is in open
	if len(open) > 0 {
		slices.Sort(open)
		return fmt.Errorf("EXPOSED: this machine is no member, but these ports of Ray answer it: %s; everybody who "+
			"reaches them can run code on the cluster; set `filter: true`, or close them in the hosts' firewall",
			strings.Join(open, ", "))
	}
	return nil
}

// addressesOf are a host's addresses and that by which SSH reaches it, which may be mapped to it from outside.
func (l *launch) addressesOf(host string, f hostFacts) []netip.Addr {
	out := slices.Clone(f.Addresses)
	for _, h := range l.spec.Hosts() {
		a, err := netip.ParseAddr(h.Address)
		if a = a.Unmap(); err == nil && h.ID() == host && classify(a) == addrPublic && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// probePorts adds a node's ports at an address. Of a range the first ones are tried: a filter treats them alike.
func (l *launch) probePorts(targets map[string]string, a netip.Addr, c container, cs *clusterState) {
	needs, err := portsOpen(c.Node, cs.image)
	if err != nil {
		return // planContainers has refused it before
	}
	for _, n := range needs {
		for p := n.First; p <= min(n.Last, n.First+3); p++ {
			targets[net.JoinHostPort(a.String(), strconv.Itoa(p))] = c.Node.ID + " " + n.Use
		}
	}
}

// member says whether this machine is one of the cluster's hosts.
func (l *launch) member() bool {
	return slices.ContainsFunc(l.spec.Hosts(), func(h Host) bool { return h.Local })
}
