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

// fetchThere builds with build, and lets the builder fetch each artifact itself from the artifact's
// first mirror. A builder tries only one URL. So if a build fails before any step has failed,
// fetchThere tries again with the next mirror of every artifact. The builder keeps what it has fetched.
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

// reachable refuses mirrors on this machine's loopback if the builder is on another machine.
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
