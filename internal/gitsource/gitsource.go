// Package gitsource gets one commit of a git repository over http or https, as an archive that is the same wherever and
// whenever it is made. The commit's digest names the content; go-git checks each object against it.
package gitsource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// Repository is a git repository on an http or https server.
type Repository struct {
	// URL without a login.
	URL string
	// Client sends the requests: it knows proxies, certificates and logins.
	Client *http.Client
}

// Revision is what a branch, a tag or a commit is.
type Revision struct {
	// Commit in hex.
	Commit string
	// Tag is one that the commit has; "" for none. Of several it is the one that was asked for, or the last by name.
	Tag string
}

var fullCommit = regexp.MustCompile(`^[0-9a-f]{40}$`)

// IsCommit tells whether a revision is the whole name of a commit.
func IsCommit(rev string) bool { return fullCommit.MatchString(rev) }

// Revision finds what a revision is: a branch, else a tag, else a commit by its whole name, as pip reads it. "" is the
// repository's default branch.
func (r Repository) Revision(ctx context.Context, rev string) (Revision, error) {
	_, refs, err := r.open(ctx)
	if err != nil {
		return Revision{}, err
	}
	tags := tagsOf(refs)
	var hash plumbing.Hash
	switch branch, named := refs.References["refs/heads/"+rev], tags[rev]; {
	case rev == "" && refs.Head != nil:
		hash = *refs.Head
	case rev != "" && !branch.IsZero():
		hash = branch
	case rev != "" && !named.IsZero():
		hash = named
	case strings.HasPrefix(rev, "refs/"):
		hash = refs.References[rev]
	case IsCommit(rev):
		hash = plumbing.NewHash(rev)
	}
	if hash.IsZero() {
		return Revision{}, fmt.Errorf("find %q in repository %q: it has no such branch or tag; name one of them, or a "+
			"commit by all its 40 digits", rev, r.URL)
	}
	out := Revision{Commit: hash.String()}
	for name, commit := range tags {
		if commit == hash {
			out.Tag = max(out.Tag, name)
		}
	}
	if tags[rev] == hash {
		out.Tag = rev
	}
	return out, nil
}

// tagsOf are the commits of the tags, by their names.
func tagsOf(refs *packp.AdvRefs) map[string]plumbing.Hash {
	out := map[string]plumbing.Hash{}
	for ref, hash := range refs.References {
		if name, ok := strings.CutPrefix(ref, "refs/tags/"); ok {
			out[name] = hash
			if commit, annotated := refs.Peeled[ref]; annotated {
				out[name] = commit
			}
		}
	}
	return out
}

// open asks for what the repository has.
func (r Repository) open(ctx context.Context) (transport.UploadPackSession, *packp.AdvRefs, error) {
	u, err := url.Parse(r.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return nil, nil, fmt.Errorf("open repository: %q is no http or https URL without a login", r.URL)
	}
	at, err := transport.NewEndpoint(r.URL)
	if err != nil {
		return nil, nil, fmt.Errorf("open repository %q: %w", r.URL, err)
	}
	session, err := githttp.NewClient(r.Client).NewUploadPackSession(at, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("open repository %q: %w", r.URL, err)
	}
	refs, err := session.AdvertisedReferencesContext(ctx)
	switch {
	case errors.Is(err, transport.ErrAuthenticationRequired), errors.Is(err, transport.ErrAuthorizationFailed),
		errors.Is(err, transport.ErrRepositoryNotFound):
		return nil, nil, fmt.Errorf("open repository %q: %w; if it wants a login, put it into ~/.netrc or the file "+
			"that NETRC names: machine %s login USER password TOKEN", r.URL, err, u.Hostname())
	case err != nil:
		return nil, nil, fmt.Errorf("open repository %q: %w", r.URL, err)
	}
	return session, refs, nil
}

// fetch gets a commit into a store in dir.
func (r Repository) fetch(ctx context.Context, commit, dir string) (*object.Commit, error) {
	session, refs, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	hash := plumbing.NewHash(commit)
	ask := packp.NewUploadPackRequestFromCapabilities(refs.Capabilities)
	ask.Wants = []plumbing.Hash{hash}
	if !mayWant(refs, hash) {
		ask.Wants = tips(refs) // the commit is somewhere below them
	} else if refs.Capabilities.Supports(capability.Shallow) {
		if err := ask.Capabilities.Set(capability.Shallow); err != nil {
			return nil, fmt.Errorf("ask repository %q: %w", r.URL, err)
		}
		ask.Depth = packp.DepthCommits(1)
	}
	answer, err := session.UploadPack(ctx, ask)
	if err != nil {
		return nil, fmt.Errorf("fetch commit %s of repository %q: %w", commit, r.URL, err)
	}
	defer func() { _ = answer.Close() }() // it was only read
	store := filesystem.NewStorage(osfs.New(dir), cache.NewObjectLRUDefault())
	if err := packfile.UpdateObjectStorage(store, demuxed(ask.Capabilities, answer)); err != nil {
		return nil, fmt.Errorf("fetch commit %s of repository %q: %w", commit, r.URL, err)
	}
	found, err := object.GetCommit(store, hash)
	if err != nil {
		return nil, fmt.Errorf("find commit %s in repository %q: %w: no branch or tag leads to it, or it is no commit",
			commit, r.URL, err)
	}
	return found, nil
}

// mayWant tells whether the server gives a commit by its name.
func mayWant(refs *packp.AdvRefs, commit plumbing.Hash) bool {
	if refs.Capabilities.Supports(capability.AllowReachableSHA1InWant) || refs.Head != nil && *refs.Head == commit {
		return true
	}
	return slices.Contains(tips(refs), commit)
}

// tips are the commits and tags that the server names.
func tips(refs *packp.AdvRefs) []plumbing.Hash {
	var out []plumbing.Hash
	for name, hash := range refs.References {
		if strings.HasPrefix(name, "refs/heads/") || strings.HasPrefix(name, "refs/tags/") {
			out = append(out, hash)
		}
	}
	for _, hash := range refs.Peeled {
		out = append(out, hash)
	}
	slices.SortFunc(out, func(a, b plumbing.Hash) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(out)
}

// demuxed is the pack in an answer.
func demuxed(c *capability.List, answer io.Reader) io.Reader {
	switch {
	case c.Supports(capability.Sideband64k):
		return sideband.NewDemuxer(sideband.Sideband64k, answer)
	case c.Supports(capability.Sideband):
		return sideband.NewDemuxer(sideband.Sideband, answer)
	}
	return answer
}

// within calls do with the commit of a repository, whose objects are in a directory of their own meanwhile.
func (r Repository) within(ctx context.Context, commit string, do func(*object.Commit) error) error {
	dir, err := os.MkdirTemp("", "raybuild-git-")
	if err != nil {
		return fmt.Errorf("make directory for a repository: %w", err)
	}
	found, err := r.fetch(ctx, commit, dir)
	if err == nil {
		err = do(found)
	}
	return errors.Join(err, os.RemoveAll(dir))
}
