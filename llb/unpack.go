package llb

import (
	"context"
	"slices"

	"github.com/moby/buildkit/client"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// unpackedAtOnce is how many given layers a builder unpacks at once, beside its steps.
const unpackedAtOnce = 2

// unpackAhead lets the builder unpack the given layers that the checks read, each as soon as it is made. Else a check
// would begin to unpack only after the last layer is made and all other steps have run. It reports no error: the
// check reads the layers again.
func (k *checking) unpackAhead(ctx context.Context, all []Check) {
	var stages []Stage
	for _, one := range all {
		stages = append(stages, one.Stage, one.Here)
	}
	givens := givenNodes(stages...)
	if len(givens) == 0 || k.c.sess.Layers == nil || k.c.b.store {
		return
	}
	c := k.apart()
	c.internal = true
	c.shown = func(*client.SolveStatus) *client.SolveStatus { return &client.SolveStatus{} }
	_, _ = c.solve(ctx, nil, func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
		caps := gw.BuildOpts().LLBCaps
		if oci := caps.Supports(pb.CapSourceOCILayout) == nil; !oci || !canMerge(caps) {
			return gateway.NewResult(), nil // a layer is a step there, which runs when it is needed
		}
		made := make(chan *node, len(givens))
		var waits, unpacks errgroup.Group
		for _, n := range givens {
			waits.Go(func() error {
				if _, err := c.sess.Layers.Layer(ctx, n.given, true); err == nil {
					made <- n
				}
				return nil
			})
		}
		for range unpackedAtOnce {
			unpacks.Go(func() error {
				for n := range made {
					if c.tree(ctx, n) == "" {
						_ = c.unpack(ctx, gw, n)
					}
				}
				return nil
			})
		}
		_ = waits.Wait() // no function returns an error
		close(made)
		_ = unpacks.Wait()
		return gateway.NewResult(), nil
	}, false)
}

// unpack lets the builder unpack a given layer, by looking into it.
func (c *call) unpack(ctx context.Context, gw gateway.Client, n *node) error {
	// Of whatever platform: the builder makes the same of the layer.
	some := Platform{OS: "linux", Architecture: "amd64"}
	def, err := marshalStage(ctx, Stage{n: n}, some, c.layout(ctx, gw, false, false))
	if err != nil {
		return err
	}
	ref, err := c.evaluate(ctx, gw, def)
	if err != nil {
		return err
	}
	_, err = ref.StatFile(ctx, gateway.StatRequest{Path: "/"})
	return err
}

// givenNodes are the given layers in stages, each once.
func givenNodes(all ...Stage) []*node {
	var out []*node
	seen, keys := map[*node]bool{}, map[digest.Digest]bool{}
	var walk func(n *node)
	walk = func(n *node) {
		if n == nil || seen[n] {
			return
		}
		seen[n] = true
		if n.given != "" && !keys[n.given] {
			keys[n.given] = true
			out = append(out, n)
		}
		for _, in := range slices.Concat([]*node{n.base, n.lower, n.upper}, n.merge, n.over) {
			walk(in)
		}
	}
	for _, s := range all {
		walk(s.n)
	}
	return out
}
