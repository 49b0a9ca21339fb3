package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// clusterState is what runs on the hosts, and what should run there.
type clusterState struct {
	hosts     map[string]hostState // by Host.ID
	image     ImageFacts
	imageSize int64
	desired   []container
	actions   []action
	rules     map[string]string // packet filter of each host; nil: none wanted
	digests   map[string]string
	leftOut   []error   // hosts that are left out
	quick     bool      // facts may come from records
	prefetch  *prefetch // nil: nothing was asked early
}

// Plan says what Up would do.
type Plan struct {
	Cluster  string       `json:"cluster"`
	Image    string       `json:"image"`
	Ray      string       `json:"ray_version"`
	Actions  []PlanAction `json:"actions"`
	Filters  []PlanFilter `json:"filters,omitempty"`
	Left     []string     `json:"left_out,omitempty"` // hosts that cannot be reached, and why
	Warnings []string     `json:"warnings,omitempty"`
	Changes  int          `json:"changes"` // actions other than keep, and filters
}

// PlanAction is what Up would do to one node.
type PlanAction struct {
	Kind    ActionKind `json:"action"`
	Node    string     `json:"node"`
	Host    string     `json:"host"`
	Role    Role       `json:"role"`
	Why     string     `json:"why"`
	Command []string   `json:"command,omitempty"` // of the new container
}

// PlanFilter is a change of a host's packet filter.
type PlanFilter struct {
	Host  string `json:"host"`
	Why   string `json:"why"`
	Rules string `json:"rules"`
}

// filterChanges lists the hosts whose packet filter is not the wanted one, or has no guard, or is no longer wanted.
func (cs *clusterState) filterChanges() []string {
	var out []string
	for host := range cs.hosts {
		if cs.filterChange(host) != "" {
			out = append(out, host)
		}
	}
	slices.Sort(out)
	return out
}

// filterChange says why a host's packet filter changes; "": it does not.
func (cs *clusterState) filterChange(host string) string {
	hs, want := cs.hosts[host], cs.digests[host]
	switch {
	case want == "" && hs.guard != nil:
		return "no longer in cluster.yaml"
	case want == "":
		return ""
	case hs.filter.digest == "":
		return "not installed"
	case hs.filter.digest != want:
		return "members or ports changed"
	case !hs.guards(want):
		return "nothing keeps it: its guard does not run"
	}
	return ""
}

// changes counts what up has to do.
func (cs *clusterState) changes() int {
	n := len(cs.filterChanges())
	for _, a := range cs.actions {
		if a.Kind != Keep {
			n++
		}
	}
	return n
}

func (cs *clusterState) warnings() []string {
	var out []string
	// If its Ray has tokens, each node that raybuild starts has the token (planContainers).
	for _, c := range vulnerabilities(cs.image.RayVersion, true) {
		out = append(out, fmt.Sprintf("ray %s has %s (%s): %s", cs.image.RayVersion, c.ID, c.cure(), c.Text))
	}
	for host, hs := range cs.hosts {
		if d := hs.facts.Skew; d.Abs() > maxSkew {
			out = append(out, fmt.Sprintf("the clock of %s is %s %s of ours", host, d.Abs(), aheadOrBehind(d)))
		}
		if hs.filterErr != nil {
			out = append(out, fmt.Sprintf("host %s: %v", host, hs.filterErr))
		}
	}
	slices.Sort(out)
	return out
}

func (l *launch) plan(cs *clusterState) *Plan {
	p := &Plan{Cluster: l.spec.Name, Image: cs.image.Ref, Ray: cs.image.RayVersion, Changes: cs.changes(),
		Warnings: cs.warnings()}
	for _, a := range cs.actions {
		pa := PlanAction{Kind: a.Kind, Node: a.Node, Host: a.Host, Role: a.Role, Why: a.Why}
		if a.Want != nil && a.Kind != Keep && a.Kind != Start {
			pa.Command = a.Want.Cmd
		}
		p.Actions = append(p.Actions, pa)
	}
	for _, h := range cs.filterChanges() {
		p.Filters = append(p.Filters, PlanFilter{Host: h, Why: cs.filterChange(h), Rules: cs.rules[h]})
	}
	for _, e := range cs.leftOut {
		p.Left = append(p.Left, e.Error())
	}
	return p
}

// MakePlan finds out what Up would do. It changes nothing on any host.
func MakePlan(ctx context.Context, spec *Spec, o Options) (*Plan, error) {
	l := newLaunch(spec, o)
	defer l.close()
	cs, err := l.survey(ctx, false)
	if err != nil {
		return nil, err
	}
	return l.plan(cs), nil
}

// String formats the plan for people.
func (p *Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "cluster %s: ray %s, %s\n", p.Cluster, p.Ray, p.Image)
	for _, a := range p.Actions {
		fmt.Fprintf(&b, "  %-8s %-24s on %-24s %s\n", a.Kind, a.Node, a.Host, a.Why)
		if len(a.Command) > 0 {
			fmt.Fprintf(&b, "           %s\n", strings.Join(a.Command, " "))
		}
	}
	for _, f := range p.Filters {
		fmt.Fprintf(&b, "  filter   %-24s %s\n           %s\n", f.Host, f.Why,
			strings.ReplaceAll(strings.TrimSpace(f.Rules), "\n", "\n           "))
	}
	for _, s := range p.Left {
		fmt.Fprintf(&b, "  left out: %s\n", s)
	}
	for _, s := range p.Warnings {
		fmt.Fprintf(&b, "  warning: %s\n", s)
	}
	switch p.Changes {
	case 0:
		b.WriteString("nothing to change\n")
	default:
		fmt.Fprintf(&b, "%s\n", plural(p.Changes, "change", "changes"))
	}
	return b.String()
}
