package layers

import (
	"fmt"
	"strings"
)

const gitScheme = "git+"

// Facts of artifacts that are commits of git repositories.
const (
	forRev = "rev" // the branch, tag or commit that the recipe names
	forTag = "tag" // that the commit has
)

// Commit is a commit of a git repository.
type Commit struct {
	// Repository is its URL, and Hash the commit's whole name.
	Repository, Hash string
	// Tag is one that the commit has; "" for none.
	Tag string
}

// Commit tells which commit the artifact is an archive of; ok is false if it is none of a git repository.
func (a Artifact) Commit() (c Commit, ok bool) {
	repository, ok := strings.CutPrefix(a.Origin, gitScheme)
	hash, file, below := strings.Cut(a.Path, "/")
	if !ok || !below || !isCommit().MatchString(hash) || strings.Contains(file, "/") {
		return Commit{}, false
	}
	return Commit{Repository: repository, Hash: hash, Tag: a.For[forTag]}, true
}

var (
	isCommit = lazy(`^[0-9a-f]{40}$`)
	gitRev   = lazy(`^[A-Za-z0-9][A-Za-z0-9._/+-]*$`)
)

// gitForm is how a requirement from git is written.
const gitForm = "write git+https://HOST/REPOSITORY@COMMIT; a login goes into ~/.netrc or the file that NETRC names"

// readGit reads what a requirement takes from git: git+https://HOST/REPOSITORY@REV, where REV may be missing.
func (r *Requirement) readGit(text string) (message, fix string) {
	scheme, rest, _ := strings.Cut(text[len(gitScheme):], "://")
	switch scheme = strings.ToLower(scheme); scheme {
	case "https", "http":
	case "ssh":
		return "a repository by ssh", gitForm
	default:
		return "a repository that is not at an http or https URL", gitForm
	}
	host, way, _ := strings.Cut(rest, "/")
	way, rev, _ := strings.Cut(way, "@")
	at := scheme + "://" + host + "/" + strings.TrimRight(way, "/")
	if m, f := plainURL(at); m != "" {
		return m, f
	}
	switch {
	case strings.Trim(way, "/") == "":
		return "a repository without a path", gitForm
	case rev != "" && (!gitRev().MatchString(rev) || len(rev) > 250 || strings.Contains(rev, "..")):
		return fmt.Sprintf("%s is not a branch, a tag or a commit", quoteShort(rev)), gitForm
	case scheme == "http" && !isCommit().MatchString(rev):
		return "a repository without TLS, whose branches anybody on the way may replace",
			"write git+https://, or name the commit by all its 40 digits"
	case len(r.Hashes) > 0:
		return hashOfGit, hashOfGitFix
	}
	if r.URL = gitScheme + at; rev != "" {
		r.URL += "@" + rev
	}
	return "", ""
}

const (
	hashOfGit    = "a hash of a repository"
	hashOfGitFix = "leave it out, and name the commit by all its 40 digits"
)

// git is what a requirement takes from git: repository and revision.
func (r Requirement) git() (repository, rev string, ok bool) {
	at, ok := strings.CutPrefix(r.URL, gitScheme)
	repository, rev, _ = strings.Cut(at, "@")
	return repository, rev, ok
}
