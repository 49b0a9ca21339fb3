package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/raybuild/raybuild/internal/docker"
)

// Labels that say whose a thing is. They are in no digest, so a container is not made again because of them.
const (
	labelID    = "raybuild.id"    // identity of the cluster
	labelMaker = "raybuild.owner" // user@machine of the launcher that made it
)

// NewID makes the identity of a cluster: 128 random bits as 32 hexadecimal digits.
func NewID() string {
	b := make([]byte, 16)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// ValidID says whether a text has the form of an identity that NewID makes.
func ValidID(s string) bool { return idGrammar.MatchString(s) }

// Claim says that something with a cluster's name belongs to somebody else.
type Claim struct {
	Host  string    `json:"host"`            // Host.ID
	What  string    `json:"what"`            // such as: container demo-head
	ID    string    `json:"id"`              // identity of its cluster; empty: an earlier version of raybuild made it
	Owner string    `json:"owner,omitempty"` // user@machine; empty: it is not known
	Since time.Time `json:"since"`           // when it was made, by the host's clock; zero: it is not known
	Why   string    `json:"why,omitempty"`   // of a thing without an identity: what does not fit the file
}

// ForeignError is the error of a launcher that finds something of another cluster with the same name. Nothing was
// changed. With Options.TakeOver the launcher goes on.
type ForeignError struct {
	Cluster string
	Claims  []Claim // by host
}

func (e *ForeignError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "cluster %q is another's, and raybuild changed nothing:", e.Cluster)
	for _, c := range e.Claims {
		fmt.Fprintf(&b, "\n  %s", c)
	}
	b.WriteString("\nnext: give this cluster another name, or, if that one is yours, ")
	if e.earlier() {
		b.WriteString("say --take-over: its nodes start again")
	} else {
		b.WriteString("bring the .id file that lies beside its cluster.yaml (it has the id above); `up` and `down` " +
			"with --take-over remove that cluster")
	}
	return b.String()
}

// foreignBrief is the error of a plan for a status, which lists claims itself. Of another's cluster there is no plan.
func (l *launch) foreignBrief(cs *clusterState, err error) string {
	var other *ForeignError
	switch {
	case !errors.As(err, &other):
		return err.Error()
	case other.earlier():
		return "an earlier raybuild has made it, without an id, and it is not as the file says: up and down need " +
			"--take-over"
	}
	cs.actions, cs.digests = nil, nil
	return "it is another's: up and down change nothing of it without --take-over"
}

// earlier says that all claims are of clusters of an earlier version.
func (e *ForeignError) earlier() bool {
	return !slices.ContainsFunc(e.Claims, func(c Claim) bool { return c.ID != "" })
}

// String is the claim in one line.
func (c Claim) String() string {
	s := fmt.Sprintf("host %s: %s", c.Host, textOf(c.What))
	if c.ID == "" {
		s += " was made by a raybuild that knew no ids"
	} else {
		s += " belongs to id " + textOf(c.ID)
	}
	if c.Owner != "" {
		s += " of " + textOf(c.Owner)
	}
	if !c.Since.IsZero() {
		s += ", since " + c.Since.UTC().Format("2006-01-02 15:04:05 UTC")
	}
	if c.Why != "" {
		s += "; it does not fit this file: " + c.Why
	}
	return s
}

// mark is what raybuild writes on everything that it makes for a cluster.
type mark struct{ cluster, id, owner string }

func (l *launch) mark() mark { return mark{cluster: l.spec.Name, id: l.ID, owner: l.Owner} }

// labels of a thing that has a role. All are there, also empty ones: else an image's label would take their place.
func (m mark) labels(role string) map[string]string {
	return map[string]string{labelCluster: m.cluster, labelRole: role, labelMaker: m.owner, labelID: m.id}
}

// foreign says that a thing with these labels has the identity of another cluster.
func (m mark) foreign(labels map[string]string) bool {
	return labels[labelID] != "" && labels[labelID] != m.id
}

func (l *launch) foreign(labels map[string]string) bool { return l.mark().foreign(labels) }

// unmarked says that a thing is of a raybuild that knew no identities, and this launcher has one.
func (l *launch) unmarked(labels map[string]string) bool { return labels[labelID] == "" && l.ID != "" }

func claimOf(c containerState) Claim {
	return Claim{Host: c.Host, What: "container " + c.Name, ID: c.Labels[labelID], Owner: c.Labels[labelMaker],
		Since: c.Made}
}

// claims are what others have of the cluster's name on the hosts that were observed.
func (l *launch) claims(hosts map[string]hostState) []Claim {
	var out []Claim
	for _, h := range l.fleet.order {
		hs := hosts[h.ID()]
		for _, c := range hs.containers {
			if l.foreign(c.Labels) {
				out = append(out, claimOf(c))
			}
		}
		if l.foreign(map[string]string{labelID: hs.filter.id}) {
			out = append(out, Claim{Host: h.ID(), What: "packet filter " + filterTable(l.spec.Name), ID: hs.filter.id})
		}
	}
	return out
}

// mayChange refuses a plan that touches what is another's: of another identity, or, without one, not as the plan wants
// it. A container without an identity that fits the plan is this cluster's.
func (l *launch) mayChange(cs *clusterState) error {
	if l.TakeOver {
		return nil
	}
	out := l.claims(cs.hosts)
	for _, a := range cs.actions {
		if a.Kind == Keep || a.Kind == Start || a.ID == "" {
			continue
		}
		for _, c := range cs.hosts[a.Host].containers {
			if c.ID == a.ID && l.unmarked(c.Labels) {
				claim := claimOf(c)
				claim.Why = a.Why
				out = append(out, claim)
			}
		}
	}
	if len(out) > 0 {
		return &ForeignError{Cluster: l.spec.Name, Claims: out}
	}
	return nil
}

// madeHere keeps the containers that raybuild made: an Engine adds an image's labels to those of a container, so labels
// alone prove nothing. What raybuild makes has the name that its labels say.
func madeHere(ctx context.Context, h *docker.Host, list []docker.Container) []docker.Container {
	return slices.DeleteFunc(list, func(c docker.Container) bool {
		if c.Name == madeName(c.Labels) {
			return false
		}
		if c.Labels[labelID] == "" || c.Labels[labelRole] == roleLock {
			return true
		}
		img, err := h.Image(ctx, c.ImageID) // of a container that somebody has renamed
		return err != nil || img.Labels[labelID] != ""
	})
}

// madeName is the name of the container to which raybuild gives these labels; "!": none, no container has such a name.
func madeName(labels map[string]string) string {
	cluster := labels[labelCluster]
	switch role := labels[labelRole]; role {
	case string(Head), string(Worker):
		return labels[labelNode]
	case roleLock:
		return lockName(cluster)
	case roleToken:
		return "raybuild-token-" + cluster
	case roleVersion:
		return "raybuild-version-" + cluster
	case roleGuard:
		return guardName(cluster)
	}
	return "!"
}

// owned checks a node's container before a command uses it.
func (l *launch) owned(labels map[string]string, node, host string) error {
	if labels[labelCluster] != l.spec.Name {
		return fmt.Errorf("use node %q: the container of that name on %s is not of cluster %q; start the cluster: %s",
			node, host, l.spec.Name, l.next())
	}
	if !l.foreign(labels) {
		return nil
	}
	return &ForeignError{Cluster: l.spec.Name, Claims: []Claim{{Host: host, What: "container " + node,
		ID: labels[labelID], Owner: labels[labelMaker]}}}
}

// evict removes a cluster that is taken over: its containers and volumes, so that the new one has a token of its own.
// Its packet filter stays until filters replaces or removes it.
func (l *launch) evict(ctx context.Context, cs *clusterState, skip map[string]error) map[string]error {
	if !l.TakeOver {
		return nil
	}
	return l.each(func(id string, h *docker.Host) error {
		if skip[id] != nil {
			return nil //nolint:nilerr // what is in skip counts already
		}
		for _, c := range cs.hosts[id].containers {
			if l.foreign(c.Labels) && c.Labels[labelRole] != roleLock {
				if err := stopAndRemove(ctx, h, c.ID); err != nil {
					return err
				}
			}
		}
		volumes, err := h.Volumes(ctx, labelCluster+"="+l.spec.Name)
		for _, v := range volumes {
			if l.foreign(v.Labels) {
				err = errors.Join(err, h.RemoveVolume(ctx, v.Name))
			}
		}
		return err
	})
}
