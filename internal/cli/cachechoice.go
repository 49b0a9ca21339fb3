package cli

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/distribution/reference"

	"github.com/raybuild/raybuild/llb"
)

// chooseCache completes the caches of a build. It adds the caches of a bare --cache and the
// settings of GitHub's cache, and removes exports from an untrusted pull request.
func (o *buildOptions) chooseCache(a *app) error {
	p := &o.parsed
	if o.cache {
		if err := o.bareCache(a); err != nil {
			return err
		}
	}
	for _, entries := range [][]llb.CacheEntry{p.cacheFrom, p.cacheTo} {
		for _, e := range entries {
			actionsCache(a, e)
		}
	}
	for _, e := range p.cacheTo {
		if e.Type == "inline" {
			a.say("note: an inline cache is a part of the image, so the image's digest depends on what was cached; " +
				"--cache-to type=registry keeps them apart")
		}
	}
	if len(p.cacheTo) > 0 && untrusted(a) {
		a.say("note: this is a pull request from another repository: the cache is read and not written")
		p.cacheTo = nil
	}
	return nil
}

// bareCache adds the caches of a bare --cache. This is GitHub's cache if its service is there.
// Otherwise it is a tag beside the image: the branch's, then the main branch's.
func (o *buildOptions) bareCache(a *app) error {
	p := &o.parsed
	if a.getenv("ACTIONS_RESULTS_URL") != "" && a.getenv("ACTIONS_RUNTIME_TOKEN") != "" {
		both := func() llb.CacheEntry {
			return llb.CacheEntry{Type: "gha", Attrs: map[string]string{"scope": "raybuild"}}
		}
		p.cacheFrom, p.cacheTo = append(p.cacheFrom, both()), append(p.cacheTo, both())
		return nil
	}
	if len(o.names) == 0 {
		return usagef("--cache needs an image name, because it keeps the cache beside the image: raybuild " +
			"--push --cache registry.example/ray:TAG")
	}
	named, err := reference.ParseNormalizedNamed(o.names[0])
	if err != nil {
		return &usageError{err}
	}
	beside := func(branch string) llb.CacheEntry {
		ref := reference.TrimNamed(named).String() + ":" + cacheTag(branch)
		p.besides = append(p.besides, ref)
		return llb.CacheEntry{Type: "registry", Attrs: map[string]string{"ref": ref}}
	}
	standard := cmp.Or(a.getenv("CI_DEFAULT_BRANCH"), "main")
	branch := cmp.Or(a.getenv("GITHUB_HEAD_REF"), a.getenv("GITHUB_REF_NAME"), a.getenv("CI_COMMIT_REF_NAME"),
		gitBranch(a.path(".")), standard)
	p.cacheFrom = append(p.cacheFrom, beside(branch))
	if cacheTag(branch) != cacheTag(standard) {
		p.cacheFrom = append(p.cacheFrom, beside(standard))
	}
	p.cacheTo = append(p.cacheTo, beside(branch))
	return nil
}

var noTag = regexp.MustCompile(`[^A-Za-z0-9_.-]+`)

// cacheTag returns the tag of a branch's cache. A tag has at most 128 characters.
func cacheTag(branch string) string {
	tag := "cache-" + noTag.ReplaceAllString(branch, "-")
	return tag[:min(len(tag), 128)]
}

// gitBranch returns the branch that is checked out in dir or in a directory above it, or "".
func gitBranch(dir string) string {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return ""
	}
	for {
		head, err := os.ReadFile(filepath.Join(gitDir(dir), "HEAD"))
		if err == nil {
			branch, _ := strings.CutPrefix(strings.TrimSpace(string(head)), "ref: refs/heads/")
			if strings.TrimSpace(string(head)) == branch {
				return "" // a commit without a branch
			}
			return branch
		}
		up := filepath.Dir(dir)
		if up == dir {
			return ""
		}
		dir = up
	}
}

// gitDir returns the directory where git keeps HEAD for the checkout at dir. In a worktree or
// submodule, .git is a file that names this directory (gitrepository-layout(5)).
func gitDir(dir string) string {
	git := filepath.Join(dir, ".git")
	link, err := os.ReadFile(git)
	if err != nil {
		return git
	}
	to, ok := strings.CutPrefix(strings.TrimSpace(string(link)), "gitdir: ")
	if !ok {
		return git
	}
	if filepath.IsAbs(to) {
		return to
	}
	return filepath.Join(dir, to)
}

// actionsCache adds the address and token of the GitHub Actions job to a cache of type gha, as buildx does.
func actionsCache(a *app, e llb.CacheEntry) {
	if e.Type != "gha" {
		return
	}
	for key, variable := range map[string]string{"token": "ACTIONS_RUNTIME_TOKEN", "url_v2": "ACTIONS_RESULTS_URL",
		"url": "ACTIONS_CACHE_URL"} {
		if v := a.getenv(variable); v != "" {
			setDefault(e.Attrs, key, v)
		}
	}
	if e.Attrs["url_v2"] != "" {
		setDefault(e.Attrs, "version", "2")
	}
}

func setDefault(attrs map[string]string, key, value string) {
	if _, given := attrs[key]; !given {
		attrs[key] = value
	}
}

// untrusted tells whether this CI run is for a pull or merge request from another repository, whose
// author may not write here. If the origin is unknown, the request is not trusted.
func untrusted(a *app) bool {
	if strings.HasPrefix(a.getenv("GITHUB_EVENT_NAME"), "pull_request") {
		var event struct {
			PullRequest struct {
				Head struct {
					Repo struct {
						Name string `json:"full_name"`
					} `json:"repo"`
				} `json:"head"`
			} `json:"pull_request"`
		}
		data, err := os.ReadFile(a.getenv("GITHUB_EVENT_PATH"))
		if err != nil || json.Unmarshal(data, &event) != nil {
			return true
		}
		from := event.PullRequest.Head.Repo.Name
		return from == "" || !strings.EqualFold(from, a.getenv("GITHUB_REPOSITORY"))
	}
	if a.getenv("CI_MERGE_REQUEST_IID") == "" {
		return false
	}
	source := a.getenv("CI_MERGE_REQUEST_SOURCE_PROJECT_ID")
	return source == "" || source != a.getenv("CI_MERGE_REQUEST_PROJECT_ID")
}
