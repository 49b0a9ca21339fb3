package llb

import (
	"fmt"
	"maps"
	"net/url"
	"slices"

	bkllb "github.com/moby/buildkit/client/llb"
	spb "github.com/moby/buildkit/sourcepolicy/pb"
	digest "github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"
)

// sourcePolicy makes the builder fetch artifacts from URLs instead of asking the session. Cache keys are those of the
// artifacts' digests and names, so it does not matter to the cache which way they came.
func sourcePolicy(urls map[digest.Digest]string) (*spb.Policy, error) {
	if len(urls) == 0 {
		return nil, nil
	}
	policy := &spb.Policy{Version: 1}
	for _, d := range slices.Sorted(maps.Keys(urls)) {
		u, err := url.Parse(urls[d])
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return nil, fmt.Errorf("fetch artifact %s in the builder: %q is no http or https URL", d, urls[d])
		}
		policy.Rules = append(policy.Rules, &spb.Rule{
			Action:   spb.PolicyAction_CONVERT,
			Selector: &spb.Selector{Identifier: artifactURL(d), MatchType: spb.MatchType_EXACT},
			Updates:  &spb.Update{Identifier: u.String()},
		})
	}
	return policy, nil
}

// converted gives the digest that the builder knows each operation by after a source policy changed the sources, and
// with them the names of all that stands on them.
func converted(def *bkllb.Definition, urls map[digest.Digest]string) (map[digest.Digest]digest.Digest, error) {
	byURL := map[string]string{}
	for d, u := range urls {
		byURL[artifactURL(d)] = u
	}
	out := map[digest.Digest]digest.Digest{}
	for _, dt := range def.Def { // inputs come first
		op, err := decodeOp(dt)
		if err != nil {
			return nil, err
		}
		if src := op.GetSource(); src != nil && byURL[src.Identifier] != "" {
			src.Identifier = byURL[src.Identifier]
		}
		for _, in := range op.Inputs {
			in.Digest = out[digest.Digest(in.Digest)].String()
		}
		changed, err := proto.MarshalOptions{Deterministic: true}.Marshal(op)
		if err != nil {
			return nil, fmt.Errorf("marshal operation: %w", err)
		}
		out[digest.FromBytes(dt)] = digest.FromBytes(changed)
	}
	return out, nil
}
