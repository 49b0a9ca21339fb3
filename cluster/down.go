package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/raybuild/raybuild/internal/docker"
)

// DownResult says what Down removed, and where it failed.
type DownResult struct {
	Cluster    string            `json:"cluster"`
	Containers int               `json:"containers"`
	Volumes    int               `json:"volumes"`
	Filters    int               `json:"filters"`
	Failed     map[string]string `json:"failed,omitempty"` // by Host.ID: why something is left there
	Seconds    float64           `json:"seconds"`
}

// Down removes a cluster from its hosts: containers, token, packet filter and lock. It finds them by their labels, so
// it needs the cluster's name and hosts and no cluster.yaml. Then it checks again. Down fails if something is left or
// if it cannot reach a host. It does not remove images.
func Down(ctx context.Context, name string, hosts []Host, o Options) (*DownResult, error) {
	if !nameGrammar.MatchString(name) {
		return nil, fmt.Errorf("take down cluster %q: no cluster has such a name; raybuild cluster down --name NAME",
			name)
	}
	l := newLaunch(&Spec{Name: name}, o)
	defer l.close()
	states := l.connectAndObserve(ctx, append(slices.Clone(hosts), l.Also...),
		observeOptions{cluster: name, quick: true}, nil)
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if err := l.mayRemove(ctx, states); err != nil {
		return nil, err
	}
	res := &DownResult{Cluster: name, Failed: map[string]string{}}
	work, locks, err := l.lockAll(ctx, states)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	errs := l.each(func(id string, h *docker.Host) error {
		n, err := l.removeAll(work, h, states[id])
		mu.Lock()
		res.Containers += n.Containers
		res.Volumes += n.Volumes
		res.Filters += n.Filters
		mu.Unlock()
		if parts := n.parts(); len(parts) > 0 {
			l.logf("%s: removed %s", id, strings.Join(parts, ", "))
		}
		return err
	})
	for _, k := range locks {
		if err := k.release(ctx); err != nil {
			errs[k.host.Target().String()] = err
		}
	}
	maps.Copy(errs, l.each(func(_ string, h *docker.Host) error { return l.verifyGone(ctx, h) }))
	maps.Copy(errs, l.fleet.down)
	res.Seconds = time.Since(l.start).Seconds()
	if len(errs) == 0 {
		l.logf("cluster %s is down: %s", name, res.outcome())
		return res, nil
	}
	var failures []error
	for _, id := range slices.Sorted(maps.Keys(errs)) {
		res.Failed[id] = errs[id].Error()
		failures = append(failures, &HostError{Host: id, Err: errs[id], Next: "when it is back, run down again"})
	}
	return res, fmt.Errorf("cluster %s is not gone everywhere:\n%w", name, errors.Join(failures...))
}

// parts names what was removed, and leaves out what there was none of.
func (r *DownResult) parts() []string {
	var out []string
	for _, p := range []struct {
		n         int
		one, many string
	}{{r.Containers, "container", "containers"}, {r.Volumes, "volume", "volumes"},
		{r.Filters, "packet filter", "packet filters"}} {
		if p.n > 0 {
			out = append(out, plural(p.n, p.one, p.many))
		}
	}
	return out
}

// outcome says in words what a Down that did not fail has removed.
func (r *DownResult) outcome() string {
	parts := r.parts()
	if len(parts) == 0 {
		return "nothing was there"
	}
	last := len(parts) - 1
	if last == 0 {
		return parts[0] + " removed"
	}
	return strings.Join(parts[:last], ", ") + " and " + parts[last] + " removed"
}

// lockAll takes the lock on the host of the head, or, where that is not known, on every host that
// has something of the cluster.
func (l *launch) lockAll(ctx context.Context, states map[string]hostState) (context.Context, []*lock, error) {
	var with, heads []string
	for _, h := range l.fleet.order {
		hs, ok := states[h.ID()]
		if !ok || len(hs.containers) == 0 {
			continue
		}
		with = append(with, h.ID())
		if slices.ContainsFunc(hs.containers, func(c containerState) bool {
			return Role(c.Labels[labelRole]) == Head || c.Labels[labelRole] == roleLock
		}) {
			heads = append(heads, h.ID())
		}
	}
	if len(heads) > 0 {
		with = heads
	}
	var locks []*lock
	for _, id := range with {
		work, k, err := acquire(ctx, l.fleet.up[id], l.mark(), l.Lease)
		if err != nil {
			for _, k := range locks {
				err = errors.Join(err, k.release(ctx))
			}
			return ctx, nil, err
		}
		ctx, locks = work, append(locks, k)
	}
	return ctx, locks, nil
}

// removeAll removes what a host has of a cluster; the lock goes last, by release.
func (l *launch) removeAll(ctx context.Context, h *docker.Host, hs hostState) (DownResult, error) {
	var n DownResult
	var mu sync.Mutex
	var wg sync.WaitGroup
	var errs []error
	for _, c := range hs.containers {
		if c.Labels[labelRole] == roleLock {
			continue
		}
		wg.Go(func() {
			err := stopAndRemove(ctx, h, c.ID)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
				return
			}
			n.Containers++
		})
	}
	wg.Wait()
	volumes, err := l.volumes(ctx, h)
	errs = append(errs, err)
	for _, v := range volumes {
		if err := h.RemoveVolume(ctx, v); err != nil {
			errs = append(errs, err)
			continue
		}
		n.Volumes++
	}
	filtered := slices.ContainsFunc(hs.containers, func(c containerState) bool { return c.Labels[labelFilter] != "" })
	there, err := l.removeFilter(ctx, h)
	if there {
		n.Filters++
	}
	// without root no filter can be read, and a cluster without filters misses none
	if err != nil && (there || filtered) {
		errs = append(errs, err)
	}
	return n, errors.Join(errs...)
}

// verifyGone looks for what is left of a cluster, and removes the image that locks are made of
// where no other cluster has one.
func (l *launch) verifyGone(ctx context.Context, h *docker.Host) error {
	ctx, cancel := docker.Within(ctx, engineLimit)
	defer cancel()
	containers, err := listContainers(ctx, "", h, l.spec.Name)
	if err != nil {
		return err
	}
	volumes, err := l.volumes(ctx, h)
	if err != nil {
		return err
	}
	if len(containers)+len(volumes) > 0 {
		return fmt.Errorf("%s and %s are still there", plural(len(containers), "container", "containers"),
			plural(len(volumes), "volume", "volumes"))
	}
	if err := h.RemoveImage(ctx, toolImage); err != nil && !docker.IsConflict(err) {
		return err
	}
	return nil
}

// volumes names the volumes of the cluster on a host that down removes.
func (l *launch) volumes(ctx context.Context, h *docker.Host) ([]string, error) {
	all, err := h.Volumes(ctx, labelCluster+"="+l.spec.Name)
	var out []string
	for _, v := range all {
		if l.TakeOver || !l.foreign(v.Labels) {
			out = append(out, v.Name)
		}
	}
	return out, err
}

// mayRemove refuses to remove what is another's. A cluster of an earlier version, without an identity, has to fit the
// file.
func (l *launch) mayRemove(ctx context.Context, states map[string]hostState) error {
	if l.TakeOver {
		return nil
	}
	out := l.claims(states)
	var unmarked []Claim
	for _, h := range l.fleet.order {
		for _, c := range states[h.ID()].containers {
			if role := Role(c.Labels[labelRole]); l.unmarked(c.Labels) && (role == Head || role == Worker) {
				unmarked = append(unmarked, claimOf(c))
			}
		}
	}
	if len(unmarked) > 0 && len(out) == 0 {
		err := l.fits(ctx)
		var other *ForeignError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &other):
			return err
		}
		for i := range unmarked {
			unmarked[i].Why = firstLine(err.Error())
		}
	}
	if out = append(out, unmarked...); len(out) > 0 {
		return &ForeignError{Cluster: l.spec.Name, Claims: out}
	}
	return nil
}

// fits compares the hosts that are connected with the file that the cluster must fit.
func (l *launch) fits(ctx context.Context) error {
	if l.Fits == nil || l.Fits.Name != l.spec.Name {
		return errors.New("there is no file to compare it with")
	}
	q := newLaunch(l.Fits, l.Options)
	q.fleet = l.fleet
	return q.reconcile(ctx, &clusterState{hosts: q.observe(ctx, q.observing(false))}, false)
}
