package layers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
)

// Repositories are git repositories on http or https servers. Sources may be them.
type Repositories interface {
	// Revision finds the commit of a branch, a tag or a commit by its whole name; "" is the default branch. tag is one
	// that the commit has, or "".
	Revision(ctx context.Context, repository, rev string) (commit, tag string, err error)
	// Pack makes the archive of the commit that an artifact names, and fills in its digest and size.
	Pack(ctx context.Context, a *Artifact) error
}

// commitOf is the artifact of a requirement from git: an archive of one commit. The old lock's commit stays.
func (r *Resolver) commitOf(ctx context.Context, req Requirement, repository, rev string) (Artifact, error) {
	from, ok := r.in.Sources.(Repositories)
	if !ok {
		return Artifact{}, errors.New("take a project from git: this program's sources have no repositories")
	}
	name := cmp.Or(req.Name, NormalName(strings.TrimSuffix(path.Base(repository), ".git")))
	a := Artifact{Kind: KindSdist, Name: req.Name, Origin: gitScheme + repository,
		For: map[string]string{forDirect: "yes"}}
	for fact, value := range map[string]string{forSubdirectory: req.Subdirectory, forRev: rev} {
		if value != "" {
			a.For[fact] = value
		}
	}
	if message, _ := artifactWord(name); message != "" {
		return a, fmt.Errorf("take %s: %s: write NAME @ %[1]s", req.URL, message)
	}
	end, err := r.in.shown.step(ctx, "ray", "fetch "+shorten([]string{req.URL}, 80))
	if err != nil {
		return a, err
	}
	defer end()
	if r.keepCommit(&a) {
		return a, nil
	}
	commit, tag, err := from.Revision(ctx, repository, rev)
	if err != nil {
		return a, err
	}
	if a.Path = commit + "/" + name + ".tar"; tag != "" {
		a.For[forTag] = tag
	}
	if err := from.Pack(ctx, &a); err != nil {
		return a, err
	}
	r.know([]Artifact{a})
	return a, nil
}

// keepCommit takes the commit that the old lock has for the same revision.
func (r *Resolver) keepCommit(a *Artifact) bool {
	for _, old := range r.old.layer("ray") {
		if old.Origin != a.Origin || old.For[forRev] != a.For[forRev] ||
			old.For[forSubdirectory] != a.For[forSubdirectory] || r.updates("pip", old.Name) ||
			a.Name != "" && a.Name != old.Name {
			continue
		}
		if a.Path, a.SHA256, a.Size = old.Path, old.SHA256, old.Size; old.For[forTag] != "" {
			a.For[forTag] = old.For[forTag]
		}
		r.know([]Artifact{*a})
		return true
	}
	return false
}
