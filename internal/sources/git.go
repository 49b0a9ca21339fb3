package sources

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/raybuild/raybuild/internal/fetch"
	"github.com/raybuild/raybuild/internal/gitsource"
	"github.com/raybuild/raybuild/layers"
)

// repository is a git repository, which becomes a source of the recipe.
func (s *Sources) repository(at string) (gitsource.Repository, error) {
	u, err := url.Parse(at)
	if err != nil {
		return gitsource.Repository{}, fmt.Errorf("read url of repository: %w", err)
	}
	s.Allow(u)
	return gitsource.Repository{URL: at, Client: s.fetcher.Client()}, nil
}

// Revision implements layers.Repositories.
func (s *Sources) Revision(ctx context.Context, repository, rev string) (commit, tag string, err error) {
	r, err := s.repository(repository)
	if err != nil {
		return "", "", err
	}
	found, err := r.Revision(ctx, rev)
	return found.Commit, found.Tag, err
}

// Pack implements layers.Repositories.
func (s *Sources) Pack(ctx context.Context, a *layers.Artifact) error {
	made, ok, err := s.made(*a)
	if err == nil && !ok {
		err = fmt.Errorf("pack %s: it is no commit of a repository", a.URL())
	}
	if err != nil {
		return err
	}
	d, size, err := s.fetcher.Keep(ctx, made)
	if err != nil {
		return err
	}
	a.SHA256, a.Size = d.Encoded(), size
	return nil
}

// made makes the archive of an artifact that is a commit of a git repository; ok is false for any other.
func (s *Sources) made(a layers.Artifact) (_ fetch.Make, ok bool, err error) {
	c, ok := a.Commit()
	if !ok {
		return nil, false, nil
	}
	r, err := s.repository(c.Repository)
	if err != nil {
		return nil, false, err
	}
	archive := gitsource.Archive{Commit: c.Hash, Tag: c.Tag, Top: strings.TrimSuffix(a.Filename(), ".tar")}
	return func(ctx context.Context, to io.Writer) error { return r.Archive(ctx, archive, to) }, true, nil
}

var _ layers.Repositories = (*Sources)(nil)
