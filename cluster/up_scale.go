package cluster

import (
	"context"
	"fmt"
)

// Scale brings a cluster to the first n workers of its spec: it starts those that are missing and removes the others.
// The file does not change, so a later Up starts all workers again.
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
