package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/raybuild/raybuild/internal/docker"
)

// connectAndObserve connects to hosts and looks at each as soon as it is reached. then, where it is
// not nil, gets what was seen at once.
func (l *launch) connectAndObserve(ctx context.Context, hosts []Host, what observeOptions,
	then func(id string, h *docker.Host, k hostState)) map[string]hostState {
	out := map[string]hostState{}
	var mu sync.Mutex
	l.connect(ctx, hosts, func(id string, h *docker.Host) error {
		k, err := observeHost(ctx, id, h, what)
		if err != nil {
			return err
		}
		if then != nil {
			then(id, h, k)
		}
		mu.Lock()
		out[id] = k
		mu.Unlock()
		return nil
	})
	return out
}

// survey connects, looks, and compares. quick: what was recorded is enough as long as there is
// nothing to do, and the head's host is asked ahead for the image and Ray's nodes. mayPull: the
// image may be pulled on the head's host to learn what is in it.
func (l *launch) survey(ctx context.Context, quick, mayPull bool) (*view, error) {
	v := &view{quick: quick}
	v.states = l.connectAndObserve(ctx, append(l.spec.Hosts(), l.Also...), l.observing(quick),
		func(id string, h *docker.Host, k hostState) {
			if quick && id == l.spec.Head.Host.ID() {
				v.ahead = l.askAhead(ctx, h, k.containers)
			}
		})
	if err := l.reconcile(ctx, v, mayPull); err != nil {
		v.ahead.end()
		return nil, err
	}
	return v, nil
}

func (l *launch) observing(quick bool) observeOptions {
	return observeOptions{cluster: l.spec.Name, filter: l.spec.Filter, quick: quick}
}

// lookAgain is a survey over the connections that there are. It takes nothing from records.
func (l *launch) lookAgain(ctx context.Context, mayPull bool) (*view, error) {
	v := &view{states: l.observe(ctx, l.observing(false))}
	return v, l.reconcile(ctx, v, mayPull)
}

// reconcile computes the plan where enough hosts have answered.
func (l *launch) reconcile(ctx context.Context, v *view, mayPull bool) error {
	err := context.Cause(ctx)
	if err != nil {
		return err
	}
	if v.told, err = l.unreachable(); err != nil {
		return err
	}
	if err := l.findImage(ctx, v, mayPull); err != nil {
		return err
	}
	if err := l.compare(ctx, v); err != nil {
		return fmt.Errorf("plan cluster %q, nothing was started:\n%w", l.spec.Name, err)
	}
	return nil
}

func (l *launch) findImage(ctx context.Context, v *view, mayPull bool) error {
	p, err := v.ahead.resolved()
	if errors.Is(err, errNotAsked) || errors.Is(err, errNotPulled) && mayPull {
		p, err = l.resolveImage(ctx, l.head(), v.states[l.spec.Head.Host.ID()].containers, mayPull)
	}
	v.image, v.imageSize = p.facts, p.size
	return err
}

// compare completes a view that has its image.
func (l *launch) compare(ctx context.Context, v *view) error {
	err := l.desire(v)
	if err != nil && v.quick { // what was recorded may be out of date
		v.states, v.quick = l.observe(ctx, l.observing(false)), false
		err = l.desire(v)
	}
	if err != nil {
		return err
	}
	var observed []Observed
	for _, h := range l.fleet.order {
		observed = append(observed, v.states[h.ID()].containers...)
	}
	v.actions = Diff(v.desired, observed)
	if l.spec.Filter {
		v.rules, v.digests, err = wantedFilters(l.spec.Name, v.desired, l.absent(), v.image)
	}
	return err
}

func (l *launch) desire(v *view) (err error) {
	facts := map[string]HostFacts{}
	for id, k := range v.states {
		facts[id] = k.facts
	}
	v.desired, err = Desired(l.spec, facts, v.image, PlanOptions{})
	return err
}

// ahead is what the head's host is asked while other hosts are still on their way. There may be none: a nil one.
type ahead struct {
	stop      context.CancelFunc
	haveImage chan struct{} // closed when image and imageErr are there
	image     pinned
	imageErr  error
	haveRay   chan struct{} // closed when ray is there
	ray       *ray          // with its nodes; nil: they could not be had
}

// errNotAsked says that nothing was asked ahead.
var errNotAsked = errors.New("not asked")

// askAhead asks for the image, and, where a head runs, for Ray's nodes.
func (l *launch) askAhead(ctx context.Context, h *docker.Host, there []Observed) *ahead {
	ctx, stop := context.WithCancel(ctx)
	a := &ahead{stop: stop, haveImage: make(chan struct{}), haveRay: make(chan struct{})}
	go func() {
		defer close(a.haveImage)
		a.image, a.imageErr = l.resolveImage(ctx, h, there, false)
	}()
	go func() {
		defer close(a.haveRay)
		for _, c := range there {
			if c.Name == l.spec.Head.ID && c.State == "running" { // a node's ID is its container's name
				a.ray = l.nodesAhead(ctx, h, c)
			}
		}
	}()
	return a
}

// nodesAhead returns nil where it fails: whoever needs the nodes asks again, and then the error counts.
func (l *launch) nodesAhead(ctx context.Context, h *docker.Host, head Observed) *ray {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	f, err := FeaturesOf(head.Labels[labelRay])
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

func (a *ahead) resolved() (pinned, error) {
	if a == nil {
		return pinned{}, errNotAsked
	}
	<-a.haveImage
	return a.image, a.imageErr
}

// nodes returns the head's Ray with the answer that it gave; nil: there is none.
func (a *ahead) nodes() *ray {
	if a == nil {
		return nil
	}
	<-a.haveRay
	return a.ray
}

// end gives up what has not been answered yet.
func (a *ahead) end() {
	if a != nil {
		a.stop()
		<-a.haveImage
		<-a.haveRay
	}
}
