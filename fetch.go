package raybuild

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/builder"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// fetchThere is a build by build whose artifacts the builder fetches by itself, each from its first
// mirror. A builder tries one place only, so where a build fails before any step has, it goes on
// with everybody's next mirror; what was fetched is kept.
func (p *Project) fetchThere(ctx context.Context, b *builder.Builder, graph *layers.Graph, to llb.BuildOptions,
	build func(llb.BuildOptions) (*llb.Result, error)) (*llb.Result, error) {
	places := p.sources.Places(graph.Artifacts)
	rounds := 1
	for _, urls := range places {
		rounds = max(rounds, len(urls))
	}
	if err := reachable(b, places); err != nil {
		return nil, err
	}
	var errs []error
	for round := range rounds {
		to.FetchURLs = map[digest.Digest]string{}
		for d, urls := range places {
			to.FetchURLs[d] = urls[min(round, len(urls)-1)]
		}
		res, err := build(to)
		var step *llb.StepError
		if err == nil || ctx.Err() != nil || errors.As(err, &step) || errors.Is(err, errCannotReuse) {
			return res, err
		}
		errs = append(errs, err)
		if round+1 < rounds {
			p.env.warn("the builder could not fetch everything: %v; trying the next mirrors", err)
		}
	}
	return nil, errors.Join(errs...)
}

// reachable refuses mirrors on this machine's loopback for a builder that is elsewhere.
func reachable(b *builder.Builder, places map[digest.Digest][]string) error {
	if b.Engine == builder.Embedded || strings.HasPrefix(b.Engine, "unix:") {
		return nil
	}
	for _, urls := range places {
		for _, text := range urls {
			if u, err := url.Parse(text); err == nil && registry.Loopback(u.Hostname()) {
				return fmt.Errorf("mirror %s is on this machine's loopback, and builder %q cannot reach that: leave "+
					"--fetch builder out", u.Host, b.Engine)
			}
		}
	}
	return nil
}
