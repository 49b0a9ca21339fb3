package llb

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	bkllb "github.com/moby/buildkit/client/llb"
	digest "github.com/opencontainers/go-digest"
)

// Epoch is the time of every file that this package's own operations make: 1980-01-01T00:00:00Z, the earliest time
// that zip archives (and so wheels) can hold.
func Epoch() time.Time { return time.Unix(315532800, 0).UTC() }

// node is one operation of the graph before it is laid out. Nodes are never changed once made, so stages share them.
type node struct {
	title string
	// base is what the operation changes; nil: nothing, it starts from scratch or is a source.
	base *node
	// apply lays the operation out on base. It is nil for merges and diffs, which depend on the layout.
	apply func(l *layout, base bkllb.State) bkllb.State

	merge        []*node
	isDiff       bool
	lower, upper *node

	// contentAddressed: its content follows from the operations themselves, which are files and
	// artifacts by their digests. A step that reads it needs no look into it to know whether it has
	// changed.
	contentAddressed bool

	// over are stages that lie over the filesystem of a step, see [Exec.Over].
	over []*node

	// given is the key of a layer that the session gives.
	given digest.Digest

	// layers is how many filesystem layers the operation adds to its base; unknown for an image, whose layers only
	// the registry knows.
	layers int
}

// unknown marks a number of layers that the graph alone cannot tell.
const unknown = -1

// layout turns nodes into BuildKit states. One layout makes each node once, so that shared stages stay shared.
type layout struct {
	// line: write merges as copies and rerun steps on what is below them, for builders that cannot merge.
	line bool
	// noCache: run every step and file operation again. It is metadata and changes no operation's bytes.
	noCache bool
	limits  Limits // of commands without their own; metadata, too
	proxy   Proxy  // of commands with a network: only a solve has one
	memo    map[*node]bkllb.State
	// rebased holds the steps of a line that were moved onto another base.
	rebased map[rebase]bkllb.State

	over      string                   // see [Builder.overDir]
	tree      func(given *node) string // see [call.tree]
	give      giving
	givenUsed bool  // a given layer was laid out
	err       error // of given layers
}

type rebase struct {
	n    *node
	onto bkllb.Output
}

func newLayout(line, noCache bool) *layout {
	return &layout{line: line, noCache: noCache, memo: map[*node]bkllb.State{}, rebased: map[rebase]bkllb.State{}}
}

func (l *layout) state(n *node) bkllb.State {
	if n == nil {
		return bkllb.Scratch()
	}
	if st, ok := l.memo[n]; ok {
		return st
	}
	var st bkllb.State
	switch {
	case n.isDiff && l.line:
		st = l.state(n.upper)
	case n.isDiff:
		st = bkllb.Diff(l.state(n.lower), l.state(n.upper), named(n.title))
	case n.merge != nil && l.line:
		st = l.mergeLine(n)
	case n.merge != nil:
		ins := make([]bkllb.State, len(n.merge))
		for i, in := range n.merge {
			ins[i] = l.state(in)
		}
		st = bkllb.Merge(ins, named(n.title))
	case n.given != "":
		st = l.given(n)
	default:
		st = n.apply(l, l.state(n.base))
	}
	l.memo[n] = st
	return st
}

// mergeLine lays a merge out as one line: steps that a diff took from an image's root run again on what lies below,
// anything else is copied over.
func (l *layout) mergeLine(n *node) bkllb.State {
	st := l.state(n.merge[0])
	for _, in := range n.merge[1:] {
		if in.isDiff && in.lower.layerCount() == unknown && in.upper.standsOn(in.lower) {
			st = l.rebase(in.upper, in.lower, st)
			continue
		}
		from := in
		if in.isDiff {
			from = in.upper
		}
		st = st.File(bkllb.Copy(l.state(from), "/", "/", &bkllb.CopyInfo{CopyDirContentsOnly: true}),
			l.opts(from.title+" (copy)")...)
	}
	return st
}

// areContentAddressed tells whether all of nodes are, as the empty filesystem is.
func areContentAddressed(nodes ...*node) bool {
	return !slices.ContainsFunc(nodes, func(n *node) bool { return n != nil && !n.contentAddressed })
}

// standsOn tells whether n is base or a chain of operations on it.
func (n *node) standsOn(base *node) bool {
	for ; n != nil; n = n.base {
		if n == base {
			return true
		}
	}
	return false
}

func (l *layout) rebase(n, base *node, onto bkllb.State) bkllb.State {
	if n == base {
		return onto
	}
	key := rebase{n: n, onto: onto.Output()}
	if st, ok := l.rebased[key]; ok {
		return st
	}
	st := n.apply(l, l.rebase(n.base, base, onto))
	l.rebased[key] = st
	return st
}

// opts are the constraints of a step or file operation.
func (l *layout) opts(title string) []bkllb.ConstraintsOpt {
	if l.noCache {
		return []bkllb.ConstraintsOpt{named(title), bkllb.IgnoreCache}
	}
	return []bkllb.ConstraintsOpt{named(title)}
}

func named(title string) bkllb.ConstraintsOpt { return bkllb.WithCustomName(title) }

// layerCount is how many filesystem layers n has from scratch up, or unknown.
func (n *node) layerCount() int {
	switch {
	case n == nil:
		return 0
	case n.isDiff:
		if n.upper.standsOn(n.lower) {
			return n.upper.layersOver(n.lower)
		}
		return 1
	case n.merge != nil:
		sum := 0
		for _, in := range n.merge {
			c := in.layerCount()
			if c == unknown {
				return unknown
			}
			sum += c
		}
		return sum
	case n.layers == unknown:
		return unknown
	}
	below := n.base.layerCount()
	if below == unknown {
		return unknown
	}
	return below + n.layers
}

// layersOver is how many layers the chain from base up to n adds.
func (n *node) layersOver(base *node) int {
	sum := 0
	for ; n != base; n = n.base {
		sum += n.layers
	}
	return sum
}

var titleForm = regexp.MustCompile(`^\[([^\]]+)\] (.+)$`)

// LayerOf is the layer that a title names: "ray" of "[ray] install ray 2.60.0", "" of a title without one.
func LayerOf(title string) string {
	layer, _ := splitTitle(title)
	return layer
}

// splitTitle takes "[layer] step" apart; a title without a layer is all step.
func splitTitle(title string) (layer, step string) {
	if m := titleForm.FindStringSubmatch(title); m != nil {
		return m[1], m[2]
	}
	return "", title
}

// wrapStep says in which layer and step err arose.
func wrapStep(title string, err error) error {
	layer, step := splitTitle(title)
	if layer == "" {
		return fmt.Errorf("step %q: %w", step, err)
	}
	return fmt.Errorf("layer %s: step %q: %w", layer, step, err)
}
