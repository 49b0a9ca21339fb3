package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/raybuild/raybuild/internal/docker"
)

// Up makes a cluster what its spec says. It returns when Ray counts every node as alive. A second Up changes nothing.
// Up fails if fewer workers than the spec's MinWorkers joined. Then its error names the cause and the next command for
// each host, and the Status says how far it came.
func Up(ctx context.Context, spec *Spec, o Options) (*Status, error) {
	l := newLaunch(spec, o)
	defer l.close()
	cs, err := l.survey(ctx, true)
	mustPull := errors.Is(err, errNotPulled) // the plan comes after the pull, and the pull under the lock
	if err != nil && !mustPull {
		return nil, err
	}
	p := cs.prefetch
	defer p.end()
	for _, e := range cs.leftOut {
		l.logf("left out: %v", e)
	}
	done := 0
	failed := map[string]error{}
	k := l.lockInfo(ctx, cs)
	work := mustPull || cs.changes() > 0
	if work && k != nil { // the first survey found it: no need to try
		return nil, &LockedError{Cluster: spec.Name, LockInfo: *k}
	}
	if work || k == nil && len(cs.strays()) > 0 {
		p.end()
		done, failed, cs, err = l.converge(ctx)
		if err != nil {
			return nil, err
		}
	}
	r := cs.prefetch.nodes()
	if r == nil {
		if r, err = l.ray(ctx, cs); err != nil {
			return nil, err
		}
	}
	defer r.close()
	s, err := l.gate(ctx, cs, r, failed, done > 0)
	if s == nil {
		return nil, err
	}
	s.Changed, s.Seconds = done, time.Since(l.start).Seconds()
	if err == nil {
		err = l.probe(ctx, cs)
	}
	if err != nil {
		return s, err
	}
	l.logf("%s", s.outcome())
	return s, nil
}

// outcome is up's verdict in a line.
func (s *Status) outcome() string {
	alive, changes := plural(s.Alive, "node", "nodes")+" alive", plural(s.Changed, "change", "changes")
	state := "is up"
	if s.Changed == 0 {
		state, changes = "is up to date", "nothing changed"
	}
	if s.Enough {
		state = fmt.Sprintf("is up without %s", plural(s.Wanted-s.Alive, "node", "nodes"))
	}
	return fmt.Sprintf("cluster %s %s: %s, %s", s.Cluster, state, alive, changes)
}

// converge does what the cluster lacks, under the cluster's lock. Once it has the lock, it surveys the
// hosts again: another launcher may have finished in between. failed are hosts on which something went
// wrong.
func (l *launch) converge(ctx context.Context) (done int, failed map[string]error, cs *clusterState, err error) {
	ctx, k, err := acquire(ctx, l.head(), l.mark(), l.Lease)
	if err != nil {
		return 0, nil, nil, err
	}
	defer func() {
		if rerr := k.release(ctx); rerr != nil && err == nil {
			err = rerr
		}
	}()
	if cs, err = l.surveyAgain(ctx); err != nil {
		return 0, nil, nil, err
	}
	l.sweep(ctx, cs)
	failed = l.preflight(ctx, cs)
	if !l.spec.Filter {
		maps.Copy(failed, l.reach(ctx, cs, failed))
	}
	if err := l.mayGoOn(cs, failed, "preflight"); err != nil {
		return 0, nil, nil, err
	}
	maps.Copy(failed, l.pull(ctx, cs, failed))
	if err := l.mayGoOn(cs, failed, "pull"); err != nil {
		return 0, nil, nil, err
	}
	if err := l.confirmVersion(ctx, cs); err != nil {
		return 0, nil, nil, err
	}
	maps.Copy(failed, l.evict(ctx, cs, failed))
	if err := l.mayGoOn(cs, failed, "take-over"); err != nil {
		return 0, nil, nil, err
	}
	maps.Copy(failed, l.filters(ctx, cs, failed))
	if l.spec.Filter { // a filter that was there lets no new member in
		maps.Copy(failed, l.reach(ctx, cs, failed))
	}
	if err := l.mayGoOn(cs, failed, "packet filter"); err != nil {
		return 0, nil, nil, err
	}
	done, more, err := l.apply(ctx, cs, failed)
	maps.Copy(failed, more)
	if cause := context.Cause(ctx); cause != nil && err != nil {
		err = cause
	}
	return done, failed, cs, err
}

// strays are containers that a launcher which was killed left behind: what it made for a moment, and its lock.
func (cs *clusterState) strays() []containerState {
	var out []containerState
	for _, hs := range cs.hosts {
		for _, c := range hs.containers {
			if role := c.Labels[labelRole]; role == roleLock || role == roleToken || role == roleVersion {
				out = append(out, c)
			}
		}
	}
	return out
}

// sweep removes strays. The lock is ours by now, and goes at the end.
func (l *launch) sweep(ctx context.Context, cs *clusterState) {
	for _, c := range cs.strays() {
		if c.Labels[labelRole] == roleLock {
			continue
		}
		if err := l.fleet.up[c.Host].Remove(ctx, c.ID); err != nil {
			l.logf("%s: %v", c.Host, err) // the next up or down finds it again
		}
	}
}

// mayGoOn stops the work when the head's host failed, or when too few workers are left.
func (l *launch) mayGoOn(cs *clusterState, failed map[string]error, phase string) error {
	if len(failed) == 0 {
		return nil
	}
	var failures []error
	for _, host := range slices.Sorted(maps.Keys(failed)) {
		failures = append(failures, &HostError{Host: host, Err: failed[host], Next: "mend it, then " + l.next()})
	}
	workers := 0
	for _, c := range cs.desired {
		if c.Node.Role == Worker && failed[c.Host] == nil {
			workers++
		}
	}
	if failed[l.spec.Head.Host.ID()] == nil && workers >= l.required() {
		for _, e := range failures {
			l.logf("%s: %v", phase, e)
		}
		return nil
	}
	return fmt.Errorf("%s failed:\n%w", phase, errors.Join(failures...))
}

// pull brings the image to the hosts that will make a container from it.
func (l *launch) pull(ctx context.Context, cs *clusterState, skip map[string]error) map[string]error {
	need := map[string]bool{}
	for _, a := range cs.actions {
		if a.Kind == Create || a.Kind == Recreate {
			need[a.Host] = true
		}
	}
	auth := l.auth(ctx, cs.image.Ref)
	return l.each(func(id string, h *docker.Host) error {
		if !need[id] || skip[id] != nil {
			return nil //nolint:nilerr // what is in skip counts already
		}
		if _, err := h.Image(ctx, cs.image.Ref); err == nil || !docker.IsNotFound(err) {
			return err
		}
		_, err := l.fetchImage(ctx, id, h, cs.image.Ref, auth)
		return err
	})
}

// filters installs the packet filter where it is not the wanted one, with the guard that keeps it. It comes before the
// containers: Ray's ports are never open. It removes one that is no longer wanted.
func (l *launch) filters(ctx context.Context, cs *clusterState, skip map[string]error) map[string]error {
	return l.each(func(id string, h *docker.Host) error {
		hs := cs.hosts[id]
		switch {
		case skip[id] != nil || cs.filterChange(id) == "":
			return nil //nolint:nilerr // what is in skip counts already
		case cs.digests[id] == "":
			l.logf("%s: removing packet filter %s", id, filterTable(l.spec.Name))
			return l.dropFilter(ctx, h)
		case hs.openErr != nil:
			return hs.openErr
		}
		l.logf("%s: installing packet filter %s; others still reach %s, and what allow: names", id,
			filterTable(l.spec.Name), hs.open)
		return l.startGuard(ctx, h, cs.rules[id], cs.digests[id], hs.open)
	})
}

// apply does the actions: removals, then the head, and when that is healthy the workers, in parallel.
func (l *launch) apply(ctx context.Context, cs *clusterState, skip map[string]error) (int, map[string]error, error) {
	var removals, heads, workers []action
	for _, a := range cs.actions {
		switch {
		case a.Kind == Keep || skip[a.Host] != nil:
		case a.Kind == Remove:
			removals = append(removals, a)
		case a.Role == Head:
			heads = append(heads, a)
		default:
			workers = append(workers, a)
		}
	}
	done := len(cs.filterChanges())
	n, failed := l.run(ctx, removals, cs, "")
	done += n
	token := ""
	if f, err := featuresOf(cs.image.RayVersion); err == nil && f.Token {
		var err error
		if token, err = l.token(ctx, cs); err != nil {
			return done, failed, err
		}
	}
	if len(heads) > 0 {
		// Workers of the old head go before it: they would join the new one with an old configuration.
		for _, a := range workers {
			if a.Kind == Recreate && skip[a.Host] == nil {
				l.stopQuietly(ctx, a)
			}
		}
		n, errs := l.run(ctx, heads, cs, token)
		done += n
		if err := errs[l.spec.Head.Host.ID()]; err != nil {
			return done, failed, fmt.Errorf("start the head: %w", &HostError{Host: l.spec.Head.Host.ID(), Err: err,
				Next: "mend it, then " + l.next()})
		}
	}
	if len(workers) > 0 {
		if err := l.awaitHead(ctx, cs); err != nil {
			return done, failed, err
		}
		n, errs := l.run(ctx, workers, cs, token)
		done += n
		maps.Copy(failed, errs)
	}
	return done, failed, nil
}

func (l *launch) stopQuietly(ctx context.Context, a action) {
	if err := l.fleet.up[a.Host].Remove(ctx, a.ID); err != nil {
		l.logf("%s: %v", a.Host, err) // it is removed again, and its error counts, when the worker's turn comes
	}
}

// run does actions in parallel, those of one host one after the other, and counts those that succeeded.
func (l *launch) run(ctx context.Context, actions []action, cs *clusterState, token string) (int, map[string]error) {
	byHost := map[string][]action{}
	for _, a := range actions {
		byHost[a.Host] = append(byHost[a.Host], a)
	}
	var mu sync.Mutex
	done := 0
	errs := l.each(func(id string, h *docker.Host) error {
		delivered := token == ""
		for _, a := range byHost[id] {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			if !delivered && a.Kind != Remove {
				if err := putToken(ctx, h, l.mark(), token); err != nil {
					return err
				}
				delivered = true
			}
			if err := l.act(ctx, h, a, cs); err != nil {
				return fmt.Errorf("%s %s: %w", a.Kind, a.Node, err)
			}
			l.logf("%s: %s", id, a.done())
			mu.Lock()
			done++
			mu.Unlock()
		}
		return nil
	})
	return done, errs
}

// done says what was done, and why. Whoever starts a cluster knows that its nodes were not there.
func (a action) done() string {
	past := map[ActionKind]string{Create: "created", Recreate: "recreated", Remove: "removed", Start: "started"}
	if a.Why == notThere {
		return past[a.Kind] + " " + a.Node
	}
	return fmt.Sprintf("%s %s (%s)", past[a.Kind], a.Node, a.Why)
}

func (l *launch) act(ctx context.Context, h *docker.Host, a action, cs *clusterState) error {
	switch a.Kind {
	case Remove:
		return stopAndRemove(ctx, h, a.ID)
	case Start:
		return h.Start(ctx, a.ID)
	case Recreate:
		if err := stopAndRemove(ctx, h, a.ID); err != nil {
			return err
		}
	}
	labels := maps.Clone(a.Want.Labels)
	labels[labelRay], labels[labelPython] = cs.image.RayVersion, cs.image.Python
	labels[labelRan] = l.ran
	labels[labelHost], labels[labelFilter] = cs.hosts[a.Host].recordLabel(), cs.digests[a.Host]
	if labels[labelOpen] = ""; a.Want.Gated { // in case that the guard is lost
		labels[labelOpen] = cs.hosts[a.Host].open.String()
	}
	c := docker.Create{Name: a.Want.Name, Image: a.Want.Image, Cmd: a.Want.command(), Env: a.Want.Env, Labels: labels,
		Network: a.Want.Network,
		Init:    a.Want.Init, Restart: a.Want.Restart, StopTimeout: a.Want.StopTimeout, Ulimits: a.Want.Ulimits,
		SHM: a.Want.SHM, GPUs: a.Want.GPUs, GPUIDs: a.Want.GPUIDs,
		NoNewPrivileges: a.Want.NoNewPrivileges, DropCaps: droppedCaps(), Pids: maxPids, ReadOnly: a.Want.Node.ReadOnly}
	access := a.Want.Node.Access
	c.Devices, c.CDI = access.devices()
	c.AddCaps, c.Groups, c.Runtime = access.CapAdd, access.Groups, access.Runtime
	for _, m := range a.Want.Mounts {
		c.Mounts = append(c.Mounts, docker.Mount{Volume: m.Volume, Source: m.Source, Target: m.Target,
			ReadOnly: m.ReadOnly})
	}
	fresh, err := freshVolumes(ctx, h, a.Want.Mounts)
	if err != nil {
		return err
	}
	id, err := h.Create(ctx, c)
	if docker.IsConflict(err) {
		return fmt.Errorf("a container named %s exists and does not belong to this cluster; remove or rename it (%w)",
			a.Want.Name, err)
	}
	if err == nil {
		err = l.ownVolumes(ctx, h, id, cs.image.User, fresh)
	}
	if err == nil {
		err = h.Start(ctx, id)
	}
	return explainGPUs(a.Want, err)
}

// stopAndRemove gives Ray the time to end by itself.
func stopAndRemove(ctx context.Context, h *docker.Host, id string) error {
	if err := h.Stop(ctx, id); err != nil {
		return err
	}
	return h.Remove(ctx, id)
}

// token is the cluster's: the one that the head has, else a new one.
func (l *launch) token(ctx context.Context, cs *clusterState) (string, error) {
	for _, c := range cs.hosts[l.spec.Head.Host.ID()].containers {
		if Role(c.Labels[labelRole]) == Head && !l.foreign(c.Labels) {
			if t, err := readToken(ctx, l.head(), c.ID); err == nil && t != "" {
				return t, nil
			}
		}
	}
	var found string
	err := carrier(ctx, l.head(), l.mark(), func(id string) error {
		t, err := readToken(ctx, l.head(), id)
		if docker.IsNotFound(err) {
			return nil
		}
		found = t
		return err
	})
	if err == nil && found == "" {
		found = newToken()
	}
	return found, err
}
