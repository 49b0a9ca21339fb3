package cluster

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Diff compares what should run with what does. Actions come in the order to do them: removals,
// head, workers as desired. When the head has to be created or recreated, every worker is recreated
// with it: a new head does not know the old one's workers. Wanted containers carry the generation
// that they start in. Containers on hosts that desired does not name are removed, too: the caller
// hands over the containers of hosts that it may touch.
func Diff(desired []Container, observed []Observed) []Action {
	byNode := map[string][]Observed{}
	for _, o := range observed {
		if role := Role(o.Labels[LabelRole]); role == Head || role == Worker { // a launcher's lock is no node
			byNode[o.Labels[LabelNode]] = append(byNode[o.Labels[LabelNode]], o)
		}
	}
	var removals, actions []Action
	generation, newHead := 0, false
	for _, o := range observed {
		generation = max(generation, o.generation())
	}
	for i := range desired {
		want := desired[i]
		want.Labels = maps.Clone(want.Labels)
		found := byNode[want.Node.ID]
		delete(byNode, want.Node.ID)
		a, others := compare(&want, found)
		removals = append(removals, others...)
		if want.Node.Role == Head {
			if newHead = a.Kind == Create || a.Kind == Recreate; newHead {
				generation++
			}
		}
		if want.Node.Role == Worker && a.ID != "" {
			a = follow(a, found, generation, newHead)
		}
		first, _ := strconv.Atoi(want.Labels[LabelGeneration])
		want.Labels[LabelGeneration] = strconv.Itoa(max(generation, first, 1))
		actions = append(actions, a)
	}
	for _, node := range slices.Sorted(maps.Keys(byNode)) {
		for _, o := range byNode[node] {
			removals = append(removals, o.remove("no longer in cluster.yaml"))
		}
	}
	return append(removals, actions...)
}

func (o Observed) generation() int {
	n, err := strconv.Atoi(o.Labels[LabelGeneration])
	if err != nil {
		return 0 // a label that somebody else wrote: older than every generation
	}
	return n
}

func (o Observed) remove(why string) Action {
	return Action{Kind: Remove, Node: o.Labels[LabelNode], Host: o.Host, Role: Role(o.Labels[LabelRole]),
		Why: why, ID: o.ID}
}

// compare finds what has to happen for one node, and which containers with its label are too many.
func compare(want *Container, found []Observed) (Action, []Action) {
	a := Action{Kind: Create, Node: want.Node.ID, Host: want.Host, Role: want.Node.Role, Why: "not there", Want: want}
	var others []Action
	for _, o := range found {
		switch {
		case o.Host != want.Host:
			others = append(others, o.remove("moves to host "+want.Host))
			a.Why = "moves from host " + o.Host
		case a.ID != "" || o.Name != want.Name:
			others = append(others, o.remove("a second container of the node"))
		default:
			a.ID = o.ID
			a.Kind, a.Why = change(want, o)
		}
	}
	return a, others
}

// change says what a node's container needs.
func change(want *Container, o Observed) (ActionKind, string) {
	if was, is := o.Labels[LabelImage], want.Labels[LabelImage]; was != is {
		return Recreate, fmt.Sprintf("image changed %s → %s", shortDigest(was), shortDigest(is))
	}
	if o.Labels[LabelConfig] != want.Labels[LabelConfig] {
		return Recreate, changedParts(o.Labels[LabelParts], want.Labels[LabelParts])
	}
	switch o.State {
	case "running", "restarting":
		return Keep, "as wanted"
	case "created", "exited":
		return Start, "is " + o.State
	}
	return Recreate, "is " + o.State // paused, dead, removing
}

// follow makes a worker follow its head.
func follow(a Action, found []Observed, generation int, newHead bool) Action {
	if a.Kind == Recreate {
		return a
	}
	if newHead {
		a.Kind, a.Why = Recreate, "the head starts again"
		return a
	}
	for _, o := range found {
		if o.ID == a.ID && o.generation() != generation {
			a.Kind, a.Why = Recreate, "it joined an earlier head"
		}
	}
	return a
}

func changedParts(was, is string) string {
	old := map[string]bool{}
	for _, p := range strings.Split(was, ",") {
		old[p] = true
	}
	var names []string
	for _, p := range strings.Split(is, ",") {
		if !old[p] {
			name, _, _ := strings.Cut(p, "=")
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "configuration changed"
	}
	return strings.Join(names, ", ") + " changed"
}

func shortDigest(s string) string {
	if s == "" {
		return "none"
	}
	if i := strings.IndexByte(s, ':'); i > 0 && len(s) > i+13 {
		return s[:i+13]
	}
	return clip(s)
}
