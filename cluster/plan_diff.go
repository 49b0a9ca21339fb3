package cluster

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// planActions compares the desired containers with the observed ones. Its actions are in the order to do them:
// removals, the head, then the workers in the order of desired. A new head does not know the workers of the old one.
// So if the head is created or recreated, every worker is recreated, too. A wanted container has the generation in
// which it starts. planActions removes containers on hosts that desired does not name, too: the caller passes only
// containers that it may remove.
func planActions(desired []container, observed []containerState) []action {
	byNode := map[string][]containerState{}
	for _, o := range observed {
		if role := Role(o.Labels[labelRole]); role == Head || role == Worker { // a launcher's lock is no node
			byNode[o.Labels[labelNode]] = append(byNode[o.Labels[labelNode]], o)
		}
	}
	var removals, actions []action
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
		first, _ := strconv.Atoi(want.Labels[labelGeneration])
		want.Labels[labelGeneration] = strconv.Itoa(max(generation, first, 1))
		actions = append(actions, a)
	}
	for _, node := range slices.Sorted(maps.Keys(byNode)) {
		for _, o := range byNode[node] {
			removals = append(removals, o.remove("no longer in cluster.yaml"))
		}
	}
	return append(removals, actions...)
}

func (o containerState) generation() int {
	n, err := strconv.Atoi(o.Labels[labelGeneration])
	if err != nil {
		return 0 // a label that somebody else wrote: older than every generation
	}
	return n
}

func (o containerState) remove(why string) action {
	return action{Kind: Remove, Node: o.Labels[labelNode], Host: o.Host, Role: Role(o.Labels[labelRole]),
		Why: why, ID: o.ID}
}

// notThere is why a node gets its first container.
const notThere = "not there"

// compare finds what has to happen for one node, and which containers with its label are too many.
func compare(want *container, found []containerState) (action, []action) {
	a := action{Kind: Create, Node: want.Node.ID, Host: want.Host, Role: want.Node.Role, Why: notThere, Want: want}
	var others []action
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
func change(want *container, o containerState) (ActionKind, string) {
	if was, is := o.Labels[labelImage], want.Labels[labelImage]; was != is {
		return Recreate, fmt.Sprintf("image changed %s → %s", shortDigest(was), shortDigest(is))
	}
	if o.Labels[labelConfig] != want.Labels[labelConfig] {
		return Recreate, changedParts(o.Labels[labelParts], want.Labels[labelParts])
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
func follow(a action, found []containerState, generation int, newHead bool) action {
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
