package llb

import (
	"context"
	"errors"
	"fmt"

	bkllb "github.com/moby/buildkit/client/llb"
	digest "github.com/opencontainers/go-digest"
)

// Keys gives for each stage the digest of all operations that make it, on a builder that can merge.
// Equal digests mean equal operations. They do not depend on titles.
func Keys(ctx context.Context, p Platform, stages ...Stage) ([]digest.Digest, error) {
	l, c := newLayout(false, false), bkllb.NewConstraints(constraints(p)...)
	keys := make([]digest.Digest, len(stages))
	for i, s := range stages {
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx) // nobody may want the keys any more
		case s.err != nil:
			return nil, s.err
		case s.n == nil:
			return nil, errors.New("name stage: it is empty")
		}
		// An operation names its inputs by their digests.
		in, err := l.state(s.n).Output().ToInput(ctx, c)
		if err != nil {
			return nil, fmt.Errorf("name stage %q: %w", s.n.title, err)
		}
		keys[i] = digest.FromString(fmt.Sprintf("%s %d", in.Digest, in.Index))
	}
	return keys, nil
}

// constraints keep this machine's properties out of a graph.
func constraints(p Platform) []bkllb.ConstraintsOpt {
	return []bkllb.ConstraintsOpt{bkllb.Platform(p), bkllb.LocalUniqueID("raybuild")}
}
