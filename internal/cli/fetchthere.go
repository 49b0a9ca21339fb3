package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/raybuild/raybuild/internal/fetch"
	"github.com/raybuild/raybuild/internal/hostconf"
	"github.com/raybuild/raybuild/internal/registry"
	"github.com/raybuild/raybuild/layers"
	"github.com/raybuild/raybuild/llb"
)

// fetchThere is a build whose artifacts the builder fetches by itself, each from its first mirror. A builder tries one place
// only, so where a build fails before any step has, it goes on with everybody's next mirror; what was fetched is kept.
func (j *job) fetchThere(ctx context.Context, b *builder, graph *layers.Graph, s llb.Session, to llb.BuildOptions) (*llb.Result, error) {
	places := j.places(graph)
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
		res, err := b.Build(ctx, graph.Images, s, to)
		var step *llb.StepError
		if err == nil || ctx.Err() != nil || errors.As(err, &step) || errors.Is(err, errCannotReuse) {
			return res, err
		}
		errs = append(errs, err)
		if round+1 < rounds {
			j.app.warn("the builder could not fetch everything: %v; trying the next mirrors", err)
		}
	}
	return nil, errors.Join(errs...)
}

// places lists the URLs of each artifact, best first. One whose place only an index can tell stays with this machine.
func (j *job) places(graph *layers.Graph) map[digest.Digest][]string {
	all := map[digest.Digest][]string{}
	for _, a := range graph.Artifacts {
		canonical, err := url.Parse(a.URL())
		if err != nil {
			continue // it cannot be fetched there; asked for here, it is an error that names it
		}
		for _, c := range layers.Candidates(j.outside.mirrors, canonical, j.outside.resolved) {
			if u, err := url.Parse(c.URL); err == nil && c.URL != "" && !j.outside.secret(u) {
				all[a.Digest()] = append(all[a.Digest()], c.URL)
			}
		}
	}
	return all
}

// secret tells a URL that only this machine may fetch: its user and password, or the token in it, are not for a builder.
func (o *outside) secret(u *url.URL) bool {
	return u.User != nil || o.logins[hostconf.Origin(u)] != nil || fetch.Redacted(u.String()) != u.String()
}

// reachable refuses mirrors on this machine's loopback for a builder that is elsewhere.
func reachable(b *builder, places map[digest.Digest][]string) error {
	if b.engine == "embedded" || strings.HasPrefix(b.engine, "unix:") {
		return nil
	}
	for _, urls := range places {
		for _, text := range urls {
			if u, err := url.Parse(text); err == nil && registry.Loopback(u.Hostname()) {
				return fmt.Errorf("mirror %s is on this machine's loopback, which builder %q does not reach: leave --fetch builder out", u.Host, b.engine)
			}
		}
	}
	return nil
}
