package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/raybuild/raybuild/internal/docker"
)

// connectAndObserve connects to hosts and observes each as soon as it is reached. It calls then, if that is not nil,
// with each host's state at once.
func (l *launch) connectAndObserve(ctx context.Context, hosts []Host, what observeOptions,
	then func(id string, h *docker.Host, hs hostState)) map[string]hostState {
	out := map[string]hostState{}
	var mu sync.Mutex
	l.connect(ctx, hosts, func(id string, h *docker.Host) error {
		hs, err := observeHost(ctx, id, h, what)
		if err != nil {
			return err
		}
		if then != nil {
			then(id, h, hs)
		}
		mu.Lock()
		out[id] = hs
		mu.Unlock()
		return nil
	})
	return out
}

// survey connects to the hosts, observes them and computes the plan. If quick is set, recorded facts are enough as
// long as the plan is empty, and the head's host is asked early for the image and Ray's nodes. With errNotPulled there
// is a state without a plan.
func (l *launch) survey(ctx context.Context, quick bool) (*clusterState, error) {
	cs := &clusterState{quick: quick}
	cs.hosts = l.connectAndObserve(ctx, append(l.spec.Hosts(), l.Also...), l.observing(quick),
		func(id string, h *docker.Host, hs hostState) {
			if quick && id == l.spec.Head.Host.ID() {
				cs.prefetch = l.startPrefetch(ctx, h, hs.containers)
			}
		})
	err := l.reconcile(ctx, cs, false)
	if err != nil {
		cs.prefetch.end()
	}
	if err != nil && !errors.Is(err, errNotPulled) {
		return nil, err
	}
	return cs, err
}

func (l *launch) observing(quick bool) observeOptions {
	return observeOptions{cluster: l.spec.Name, filter: l.spec.Filter, quick: quick}
}

// surveyAgain surveys the hosts that are connected. It takes nothing from records, and pulls the image if that is
// what tells which Ray is in it.
func (l *launch) surveyAgain(ctx context.Context) (*clusterState, error) {
	cs := &clusterState{hosts: l.observe(ctx, l.observing(false))}
	return cs, l.reconcile(ctx, cs, true)
}

// reconcile computes the plan where enough hosts have answered.
func (l *launch) reconcile(ctx context.Context, cs *clusterState, mayPull bool) error {
	err := context.Cause(ctx)
	if err != nil {
		return err
	}
	if cs.leftOut, err = l.unreachable(); err != nil {
		return err
	}
	if err := l.mayChange(cs); err != nil { // before an image is pulled
		return err
	}
	if err := l.findImage(ctx, cs, mayPull); err != nil {
		return err
	}
	if err := l.compare(ctx, cs); err != nil {
		return fmt.Errorf("plan cluster %q, nothing was started:\n%w", l.spec.Name, err)
	}
	return nil
}

func (l *launch) findImage(ctx context.Context, cs *clusterState, mayPull bool) error {
	p, err := cs.prefetch.resolved()
	if errors.Is(err, errNotPrefetched) || errors.Is(err, errNotPulled) && mayPull {
		p, err = l.resolveImage(ctx, l.head(), cs.hosts[l.spec.Head.Host.ID()].containers, mayPull)
	}
	cs.image, cs.imageSize = p.facts, p.size
	return err
}

// compare computes the plan of a state that has its image.
func (l *launch) compare(ctx context.Context, cs *clusterState) error {
	err := l.difference(cs)
	if err != nil && cs.quick { // what was recorded may be out of date
		cs.hosts, cs.quick = l.observe(ctx, l.observing(false)), false
		err = l.difference(cs)
	}
	return err
}

// difference computes the plan, and refuses one that touches what is another's.
func (l *launch) difference(cs *clusterState) error {
	if err := l.desire(cs); err != nil {
		return err
	}
	var observed []containerState
	var evicted []action
	for _, h := range l.fleet.order {
		for _, c := range cs.hosts[h.ID()].containers {
			switch role := Role(c.Labels[labelRole]); {
			case !l.foreign(c.Labels):
				observed = append(observed, c)
			case role == Head || role == Worker:
				evicted = append(evicted, c.remove("taken over from "+cmp.Or(textOf(c.Labels[labelMaker]), "another")))
			}
		}
	}
	cs.actions = append(evicted, planActions(cs.desired, observed)...)
	if l.spec.Filter {
		open := map[string]openPorts{}
		for id, hs := range cs.hosts {
			open[id] = hs.open
		}
		cs.rules, cs.digests = wantedFilters(l.mark(), l.spec.Allow, cs.desired, l.absent(), open)
	}
	return l.mayChange(cs)
}

func (l *launch) desire(cs *clusterState) (err error) {
	facts := map[string]hostFacts{}
	for id, hs := range cs.hosts {
		facts[id] = hs.facts
	}
	cs.desired, err = planContainers(l.spec, facts, cs.image)
	for _, c := range cs.desired {
		c.Labels[labelID], c.Labels[labelMaker] = l.ID, l.Owner
	}
	return err
}

// prefetch holds questions to the head's host that run while other hosts still connect. A nil one has asked nothing.
type prefetch struct {
	stop      context.CancelFunc
	haveImage chan struct{} // closed when image and imageErr are there
	image     pinned
	imageErr  error
	haveRay   chan struct{} // closed when ray is there
	ray       *ray          // with its nodes; nil: they could not be had
}

// errNotPrefetched says that nothing was asked early.
var errNotPrefetched = errors.New("not asked")

// startPrefetch asks for the image, and, where a head runs, for Ray's nodes.
func (l *launch) startPrefetch(ctx context.Context, h *docker.Host, there []containerState) *prefetch {
	ctx, stop := context.WithCancel(ctx)
	p := &prefetch{stop: stop, haveImage: make(chan struct{}), haveRay: make(chan struct{})}
	go func() {
		defer close(p.haveImage)
		p.image, p.imageErr = l.resolveImage(ctx, h, there, false)
	}()
	go func() {
		defer close(p.haveRay)
		for _, c := range there {
			// a node's ID is its container's name
			if c.Name == l.spec.Head.ID && c.State == "running" && !l.foreign(c.Labels) {
				p.ray = l.prefetchNodes(ctx, h, c)
			}
		}
	}()
	return p
}

// prefetchNodes returns nil if it fails: the caller that needs the nodes asks again, and then the error counts.
func (l *launch) prefetchNodes(ctx context.Context, h *docker.Host, head containerState) *ray {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	f, err := featuresOf(head.Labels[labelRay])
	if err != nil {
		return nil
	}
	token := ""
	if f.Token {
		if token, err = keptToken(ctx, h, head); err != nil {
			return nil
		}
	}
	r := newRay(h, head.ID, l.spec.Head.Ports.Dashboard, f, token)
	if r.asked, err = r.nodes(ctx); err != nil {
		r.close()
		return nil
	}
	return r
}

func (p *prefetch) resolved() (pinned, error) {
	if p == nil {
		return pinned{}, errNotPrefetched
	}
	<-p.haveImage
	return p.image, p.imageErr
}

// nodes returns the head's Ray with the answer that it gave; nil: there is none.
func (p *prefetch) nodes() *ray {
	if p == nil {
		return nil
	}
	<-p.haveRay
	return p.ray
}

// end gives up what has not been answered yet.
func (p *prefetch) end() {
	if p != nil {
		p.stop()
		<-p.haveImage
		<-p.haveRay
	}
}
