package cluster

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/raybuild/raybuild/internal/docker"
)

// Status is the state of a cluster, beside what its spec says.
type Status struct {
	Cluster string `json:"cluster"`
	Image   string `json:"image,omitempty"`
	Ray     string `json:"ray_version,omitempty"`
	Healthy bool   `json:"healthy"` // Ray counts every wanted node alive, and nothing has drifted
	Alive   int    `json:"alive"`   // wanted nodes that Ray counts alive, on hosts that can be reached
	Wanted  int    `json:"wanted"`
	// of up: not all, and as many as min_workers and skip_unreachable ask for
	Enough    bool         `json:"enough,omitempty"`
	Dashboard string       `json:"dashboard,omitempty"` // on the head's loopback
	Nodes     []NodeStatus `json:"nodes"`
	Drift     []PlanAction `json:"drift,omitempty"` // what up would do
	Foreign   []string     `json:"foreign,omitempty"`
	Lock      *LockInfo    `json:"lock,omitempty"`
	Others    []Claim      `json:"others,omitempty"` // what has the cluster's name and is another's
	Warnings  []string     `json:"warnings,omitempty"`
	Problem   string       `json:"problem,omitempty"` // why less is known than could be
	Changed   int          `json:"changed"`           // by up
	Seconds   float64      `json:"seconds"`
}

// NodeStatus is the state of one node.
type NodeStatus struct {
	ID      string `json:"id"`
	Role    Role   `json:"role"`
	Host    string `json:"host"`
	Address string `json:"address,omitempty"`
	// state of its container; missing; unknown when its host cannot be reached
	Container string             `json:"container"`
	Ray       string             `json:"ray"` // alive, missing, unknown
	Why       string             `json:"why,omitempty"`
	Next      string             `json:"next,omitempty"`
	Restarts  int                `json:"restarts,omitempty"`
	Resources map[string]float64 `json:"resources,omitempty"` // as Ray has them
	Load      *NodeLoad          `json:"load,omitempty"`
}

// NodeLoad is the load of a node's host, as Ray measures it.
type NodeLoad struct {
	CPU    float64 `json:"cpu_percent"`
	Memory float64 `json:"memory_percent"`
}

const (
	rayAlive   = "alive"
	rayMissing = "missing"
	rayUnknown = "unknown"
)

// Inspect finds out the state of a cluster. It changes nothing. If it cannot find out something, the Status says so.
// It returns an error only if ctx ends.
func Inspect(ctx context.Context, spec *Spec, o Options) (*Status, error) {
	l := newLaunch(spec, o)
	defer l.close()
	cs := &clusterState{hosts: l.connectAndObserve(ctx, append(spec.Hosts(), l.Also...),
		observeOptions{cluster: spec.Name, filter: spec.Filter}, nil)}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	s := &Status{Cluster: spec.Name, Wanted: len(spec.Nodes())}
	s.Lock, s.Others = l.lockInfo(ctx, cs), l.claims(cs.hosts)
	if l.head() == nil {
		s.Problem = fmt.Sprintf("the head's host cannot be reached: %v", l.fleet.down[spec.Head.Host.ID()])
	} else if err := l.findImage(ctx, cs, false); err != nil {
		s.Problem = err.Error()
	} else if err := l.compare(ctx, cs); err != nil {
		s.Problem = l.foreignBrief(cs, err)
	}
	nodes, load, named, problem := l.askRay(ctx, cs)
	if problem != nil && s.Problem == "" {
		s.Problem = problem.Error()
	}
	l.fill(ctx, s, cs, nodes, named, problem == nil)
	for i, n := range s.Nodes {
		if has, ok := load[n.Address]; ok && n.Ray == rayAlive {
			s.Nodes[i].Load = &has
		}
	}
	if err := context.Cause(ctx); err != nil { // what was cut short does not tell how the cluster is
		return nil, err
	}
	s.Seconds = time.Since(l.start).Seconds()
	return s, nil
}

// askRay asks the head's Ray for its nodes and what they do, whatever the plan says.
func (l *launch) askRay(ctx context.Context,
	cs *clusterState) (nodes []rayNode, load map[string]NodeLoad, named bool, err error) {
	r, err := l.ray(ctx, cs)
	if err != nil {
		return nil, nil, false, err
	}
	defer r.close()
	ctx, cancel := context.WithTimeout(ctx, engineLimit)
	defer cancel()
	if nodes, err = r.nodes(ctx); err == nil && r.features.JobsAPI {
		load = r.load(ctx)
	}
	return nodes, load, r.features.NodeName, err
}

// ray returns the way to ask the cluster's head. The version is that of the head's container as it
// runs, which may not be the wanted one.
func (l *launch) ray(ctx context.Context, cs *clusterState) (*ray, error) {
	h := l.head()
	if h == nil {
		return nil, fmt.Errorf("the head's host cannot be reached: %w", l.fleet.down[l.spec.Head.Host.ID()])
	}
	c, err := h.Inspect(ctx, l.spec.Head.ID) // a node's ID is its container's name
	if docker.IsNotFound(err) || err == nil && c.Labels[labelCluster] != l.spec.Name {
		return nil, fmt.Errorf("cluster %q has no head: it is not up; start it: %s", l.spec.Name, l.next())
	}
	if err == nil {
		err = l.owned(c.Labels, l.spec.Head.ID, l.spec.Head.Host.ID())
	}
	if err != nil {
		return nil, err
	}
	f, err := featuresOf(cmp.Or(c.Labels[labelRay], cs.image.RayVersion))
	if err != nil {
		return nil, err
	}
	token := ""
	if f.Token {
		if token, err = readToken(ctx, h, c.ID); err != nil {
			return nil, err
		}
	}
	return newRay(h, c.ID, l.spec.Head.Ports.Dashboard, f, token), nil
}

func (l *launch) lockInfo(ctx context.Context, cs *clusterState) *LockInfo {
	hs, ok := cs.hosts[l.spec.Head.Host.ID()]
	if !ok || hs.lock == nil {
		return nil
	}
	deadline := leaseOf(ctx, l.head(), hs.lock.ID, hs.lock.Labels)
	left := deadline.Sub(hs.info.Time).Seconds()
	if left <= 0 || processIsDead(hs.lock.Labels[labelProcess]) {
		return nil
	}
	return &LockInfo{Owner: hs.lock.Labels[labelOwner], Deadline: deadline, Left: left}
}

// fill completes a status from a cluster's state and Ray's nodes. known says that Ray did answer.
func (l *launch) fill(ctx context.Context, s *Status, cs *clusterState, nodes []rayNode, named, known bool) {
	s.Image, s.Ray, s.Warnings = cs.image.Ref, cs.image.RayVersion, cs.warnings()
	if s.Image == "" {
		s.Image = l.spec.Image
	}
	for _, a := range cs.actions {
		if a.Kind != Keep {
			s.Drift = append(s.Drift, PlanAction{Kind: a.Kind, Node: a.Node, Host: a.Host, Role: a.Role, Why: a.Why})
		}
	}
	for _, h := range cs.filterChanges() {
		s.Drift = append(s.Drift, PlanAction{Kind: Create, Node: "packet filter", Host: h, Why: cs.filterChange(h)})
	}
	wanted := cs.desired
	if len(wanted) == 0 { // what is wanted is not known, such as an image that no registry has
		wanted, s.Ray = l.asTheyAre(cs)
	}
	found, foreign := match(wanted, nodes, named)
	if len(cs.desired) > 0 {
		for _, n := range l.strangers(foreign, named) {
			s.Foreign = append(s.Foreign, fmt.Sprintf("%s at %s", n.Name, n.IP))
		}
	}
	s.Nodes = make([]NodeStatus, len(l.spec.Nodes()))
	var wg sync.WaitGroup
	for i, n := range l.spec.Nodes() {
		wg.Go(func() {
			s.Nodes[i] = l.nodeStatus(ctx, n, cs, found, known)
			if at := slices.IndexFunc(foreign, func(r rayNode) bool { return l.isDown(n, r, named) }); at >= 0 {
				s.Nodes[i].Address, s.Nodes[i].Ray = foreign[at].IP, rayUnknown
				s.Nodes[i].Why += untilTimeOut
			}
		})
	}
	wg.Wait()
	s.Alive = 0
	for _, n := range s.Nodes {
		if n.Ray == rayAlive {
			s.Alive++
		}
	}
	s.Healthy = known && s.Problem == "" && s.Alive == s.Wanted && len(s.Drift) == 0 && len(s.Foreign) == 0
	if known {
		s.Dashboard = fmt.Sprintf("http://127.0.0.1:%d on %s", l.spec.Head.Ports.Dashboard, l.spec.Head.Host.ID())
	}
}

// asTheyAre are the file's nodes where their containers say that they are, and the Ray that the head runs.
func (l *launch) asTheyAre(cs *clusterState) (nodes []container, ray string) {
	for _, n := range l.spec.Nodes() {
		for _, c := range cs.hosts[n.Host.ID()].containers {
			addr, err := netip.ParseAddr(c.Labels[labelAddress])
			if c.Labels[labelNode] != n.ID || err != nil {
				continue
			}
			if nodes = append(nodes, container{Node: n, Address: addr}); n.Role == Head {
				ray = c.Labels[labelRay]
			}
		}
	}
	return nodes, cmp.Or(cs.image.RayVersion, ray)
}

// untilTimeOut: Ray notices by health checks of its own that a node is gone, after a while.
const untilTimeOut = "; Ray counts it alive until its time-out"

// isDown says whether a node that Ray still counts is this one, of a host that cannot be reached.
func (l *launch) isDown(n Node, r rayNode, named bool) bool {
	if l.fleet.down[n.Host.ID()] == nil {
		return false
	}
	if named && r.Name != "" && r.Name != r.IP {
		return r.Name == n.ID
	}
	return r.IP == n.Host.Address || n.Host.Private.IsValid() && r.IP == n.Host.Private.String()
}

// strangers are those of the nodes without a container that we see which are not of hosts that
// cannot be reached either.
func (l *launch) strangers(foreign []rayNode, named bool) []rayNode {
	return slices.DeleteFunc(slices.Clone(foreign), func(r rayNode) bool {
		return slices.ContainsFunc(l.spec.Nodes(), func(n Node) bool { return l.isDown(n, r, named) })
	})
}

func (l *launch) nodeStatus(ctx context.Context, n Node, cs *clusterState, found map[string]rayNode,
	known bool) NodeStatus {
	s := NodeStatus{ID: n.ID, Role: n.Role, Host: n.Host.ID(), Container: "missing", Ray: rayMissing, Next: l.next()}
	if !known {
		s.Ray = rayUnknown
	}
	if err := l.fleet.down[s.Host]; err != nil {
		s.Container, s.Why, s.Next = rayUnknown, "host unreachable: "+textOf(err.Error()), "mend it, then "+l.next()
	}
	var have *containerState
	for _, c := range cs.hosts[s.Host].containers {
		if c.Labels[labelNode] == n.ID {
			have = &c
			s.Container, s.Address = c.State, c.Labels[labelAddress]
		}
	}
	r, alive := found[n.ID]
	stale := alive && have != nil && slices.Contains([]string{"created", "exited", "dead"}, have.State)
	before := ""
	if alive && have != nil {
		before = l.before(ctx, have, r)
	}
	switch {
	case before != "":
		s.Ray, s.Why, s.Next = rayUnknown, before, ""
		return s
	case alive && !stale:
		s.Ray, s.Resources, s.Address, s.Why, s.Next = rayAlive, r.Resources, r.IP, "", ""
		for _, c := range cs.desired {
			if lacks := c.Resources.lacks(r.Resources); c.Node.ID == n.ID && lacks != "" {
				s.Ray, s.Why = rayMissing, "it joined with "+lacks
			}
		}
		return s
	case s.Container == rayUnknown:
		return s
	case have == nil:
		s.Why = "it has no container"
		return s
	case l.foreign(have.Labels):
		s.Ray, s.Why, s.Next = rayUnknown, "it is another cluster's", ""
		return s
	}
	s.Why, s.Next, s.Restarts = l.whyMissing(ctx, n, have, cs)
	if stale {
		s.Ray, s.Why = rayUnknown, s.Why+untilTimeOut
	}
	return s
}

// before says that the node that Ray counts was there before its container has started, and so is
// gone; "": it was not. Both times are of the host's clock. Ray learns it by a health check; after
// a minute it is believed.
func (l *launch) before(ctx context.Context, have *containerState, r rayNode) string {
	h := l.fleet.up[have.Host]
	if !have.Young || r.Started.IsZero() || h == nil {
		return ""
	}
	d, err := h.Inspect(ctx, have.ID)
	// Not d.Started: an Engine that has much to do notes it after the program has begun.
	if err != nil || !r.Started.Before(d.Before) {
		return ""
	}
	return fmt.Sprintf("its container started again at %s, and Ray still counts the old node",
		d.Started.Format(time.TimeOnly))
}

// whyMissing finds out why a node that has a container is not alive.
func (l *launch) whyMissing(ctx context.Context, n Node, have *containerState,
	cs *clusterState) (why, next string, restarts int) {
	h := l.fleet.up[n.Host.ID()]
	logs := fmt.Sprintf("raybuild cluster logs --node %s", n.ID)
	d, err := h.Inspect(ctx, have.ID)
	if err != nil {
		return err.Error(), l.next(), 0
	}
	switch {
	case d.Error != "":
		return "Docker could not start it: " + textOf(d.Error), l.next(), d.Restarts
	case d.OOM:
		return fmt.Sprintf("the kernel ended it because memory ran out (OOM kill, exit code %d)", d.ExitCode),
			"lower memory or shm_size, then " + l.next(), d.Restarts
	case !d.Running || d.State == "restarting":
		return fmt.Sprintf("its container is %s, %s%s", d.State, exitOf(d.ExitCode),
			saying(lastWords(ctx, h, have.ID))), logs, d.Restarts
	case n.Role == Worker && len(cs.desired) > 0:
		here := slices.DeleteFunc(slices.Clone(cs.desired), func(c container) bool { return c.Node.ID != n.ID })
		if err := l.apart(ctx, h, cs.desired[0], here, cs.image); err != nil {
			return err.Error(), l.next(), d.Restarts
		}
	}
	why = "it runs, and Ray does not count it"
	if !d.Started.IsZero() {
		why = fmt.Sprintf("it runs since %s, and Ray does not count it yet", d.Started.Format(time.TimeOnly))
	}
	return why + saying(complaintOf(logEnd(ctx, h, have.ID))), logs, d.Restarts
}

// saying joins what a container said to what is known of it.
func saying(words string) string {
	if words == "" {
		return ""
	}
	return "; it says: " + words
}

// lastWords is what tells why a container ended: what went wrong by its log, else the log's last line.
func lastWords(ctx context.Context, h *docker.Host, id string) string {
	log := logEnd(ctx, h, id)
	return cmp.Or(complaintOf(log), clipLine(lastLine(log)))
}

const wordsLimit = "40" // lines of a log in which the cause is looked for

// logEnd is the end of a container's log, as text; empty where there is none to be had.
func logEnd(ctx context.Context, h *docker.Host, id string) string {
	var out lineBuffer
	if err := h.Logs(ctx, id, docker.LogOptions{Tail: wordsLimit}, &out, &out); err != nil {
		return ""
	}
	return textOf(out.String())
}

// lineBuffer gathers both streams of a container.
type lineBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lineBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lineBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
