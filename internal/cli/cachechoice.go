package cli

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/distribution/reference"

	"github.com/raybuild/raybuild/llb"
)

// chooseCache completes the caches of a build. It adds the caches of a bare --cache and the
// settings of GitHub's cache. A CI run that builds somebody else's code writes nothing that later builds look for.
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
	if outside := startedOutside(a.getenv); outside != "" && !o.trustedRun {
		if len(p.cacheTo) > 0 || o.push && o.graphTag {
			a.say("note: %s: no cache is written, and no tag of the graph (with --trusted-run they are)", outside)
		}
		p.cacheTo, o.outside = nil, true
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

// cacheTag returns the tag of a branch's cache: no two branches have the same. A tag has at most 128 characters.
func cacheTag(branch string) string {
	name := noTag.ReplaceAllString(branch, "-")
	if tag := "cache-" + name; len(tag) <= 128 && name == branch {
		return tag
	}
	sum := sha256.Sum256([]byte(branch))
	return "cache." + name[:min(len(name), 100)] + "-" + hex.EncodeToString(sum[:8])
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
