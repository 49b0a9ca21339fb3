package cluster

import (
	"context"
	"fmt"
)

// Scale converges to the first n workers of the spec: further ones are removed, missing ones
// started. The file stays as it is, so that a later Up, without a number, is back to all of them.
func Scale(ctx context.Context, spec *Spec, n int, o Options) (*Status, error) {
	if n < 0 || n > len(spec.Workers) {
		return nil, fmt.Errorf("scale cluster %q to %d workers: %s names %d; add hosts there for more", spec.Name, n,
			spec.File, len(spec.Workers))
	}
	o.Also = append(o.Also, spec.Hosts()...)
	part := *spec
	part.Workers = spec.Workers[:n]
	part.MinWorkers = min(spec.MinWorkers, n)
	return Up(ctx, &part, o)
}
