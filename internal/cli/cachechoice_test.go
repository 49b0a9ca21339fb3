package cli

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raybuild/raybuild/llb"
)

func chosen(t *testing.T, o *buildOptions, env map[string]string) (from, to []llb.CacheEntry) {
	t.Helper()
	a := &app{stderr: &bytes.Buffer{}, getenv: func(k string) string { return env[k] }, dir: t.TempDir()}
	if env["branch"] != "" {
		if err := os.MkdirAll(filepath.Join(a.dir, ".git"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(a.dir, ".git", "HEAD"), []byte("ref: refs/heads/"+env["branch"]+"\n"),
			0o644); err != nil {
			t.Fatal(err)
		}
	}
	o.compression, o.progress = "gzip", "quiet"
	if err := o.check(a); err != nil {
		t.Fatal(err)
	}
	return o.parsed.cacheFrom, o.parsed.cacheTo
}

func TestBareCacheIsBesideTheImage(t *testing.T) {
	t.Parallel()
	const beside = "registry.example/team/ray:cache"
	tests := []struct {
		name string
		env  map[string]string
		from []string
		to   string
	}{
		{"no branch is known", nil, []string{"-main"}, "-main"},
		{"git's branch", map[string]string{"branch": "topic/a b"}, []string{".topic-a-b-ef6d868f9a9b4f7d", "-main"},
			".topic-a-b-ef6d868f9a9b4f7d"},
		{"GitHub's branch", map[string]string{"GITHUB_REF_NAME": "main"}, []string{"-main"}, "-main"},
		{"GitHub's pull request", map[string]string{"GITHUB_REF_NAME": "7/merge", "GITHUB_HEAD_REF": "fix"},
			[]string{"-fix", "-main"}, "-fix"},
		{"GitLab's branch", map[string]string{"CI_COMMIT_REF_NAME": "fix", "CI_DEFAULT_BRANCH": "trunk"},
			[]string{"-fix", "-trunk"}, "-fix"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			from, to := chosen(t, &buildOptions{cache: true, names: []string{"registry.example/team/ray:2.52"}}, tt.env)
			if len(from) != len(tt.from) || len(to) != 1 {
				t.Fatalf("reads %v and writes %v, want %v and %s", from, to, tt.from, tt.to)
			}
			for i, want := range tt.from {
				if got := from[i].Attrs["ref"]; got != beside+want {
					t.Errorf("cache %d is read from %s, want %s", i, got, beside+want)
				}
			}
			if got := to[0].Attrs["ref"]; got != beside+tt.to {
				t.Errorf("the cache is written to %s, want %s", got, beside+tt.to)
			}
		})
	}
}

func TestBareCacheInGitHubActionsIsItsOwn(t *testing.T) {
	t.Parallel()
	env := map[string]string{"ACTIONS_RESULTS_URL": "https://results.example/", "ACTIONS_RUNTIME_TOKEN": "secret",
		"GITHUB_REF_NAME": "main"}
	from, to := chosen(t, &buildOptions{cache: true}, env)
	want := map[string]string{"scope": "raybuild", "url_v2": "https://results.example/", "token": "secret",
		"version": "2"}
	if len(from) != 1 || from[0].Type != "gha" || !maps.Equal(from[0].Attrs, want) {
		t.Errorf("reads %v, want gha with %v", from, want)
	}
	if len(to) != 1 || to[0].Type != "gha" || !maps.Equal(to[0].Attrs, want) {
		t.Errorf("writes %v, want gha with %v", to, want)
	}
}

func TestUntrustedPullRequestsWriteNoCache(t *testing.T) {
	t.Parallel()
	event := func(repo string) string {
		file := filepath.Join(t.TempDir(), "event.json")
		if err := os.WriteFile(file, []byte(`{"pull_request":{"head":{"repo":{"full_name":"`+repo+`"}}}}`),
			0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	github := func(name, file string) map[string]string {
		return map[string]string{"GITHUB_EVENT_NAME": name, "GITHUB_REPOSITORY": "team/ray", "GITHUB_EVENT_PATH": file}
	}
	gitlab := func(source string) map[string]string {
		return map[string]string{"CI_MERGE_REQUEST_IID": "1", "CI_MERGE_REQUEST_PROJECT_ID": "5",
			"CI_MERGE_REQUEST_SOURCE_PROJECT_ID": source}
	}
	tests := []struct {
		name   string
		env    map[string]string
		writes bool
	}{
		{"a push", github("push", ""), true},
		{"a pull request of the repository", github("pull_request", event("team/ray")), true},
		{"a pull request from a fork", github("pull_request", event("other/ray")), false},
		{"a fork's pull request with the target's rights", github("pull_request_target", event("other/ray")), false},
		{"a pull request whose event cannot be read", github("pull_request", "/nowhere"), false},
		{"a run after a pull request's", github("workflow_run", ""), false},
		{"a comment", github("issue_comment", ""), false},
		{"a call from outside", github("repository_dispatch", ""), false},
		{"an event that is not known", github("new_thing", ""), false},
		{"a schedule", github("schedule", ""), true},
		{"a person", github("workflow_dispatch", ""), true},
		{"a release", github("release", ""), true},
		{"Jenkins, a branch", map[string]string{"JENKINS_URL": "x", "BRANCH_NAME": "main"}, true},
		{"Jenkins, a fork", map[string]string{"CHANGE_ID": "1", "CHANGE_FORK": "other"}, false},
		{"Buildkite, a push", map[string]string{"BUILDKITE_PULL_REQUEST": "false", "BUILDKITE_REPO": "a"}, true},
		{"Buildkite, a fork", map[string]string{"BUILDKITE_PULL_REQUEST": "7", "BUILDKITE_REPO": "a",
			"BUILDKITE_PULL_REQUEST_REPO": "b"}, false},
		{"Travis, a fork", map[string]string{"TRAVIS_PULL_REQUEST": "7", "TRAVIS_REPO_SLUG": "a/r",
			"TRAVIS_PULL_REQUEST_SLUG": "b/r"}, false},
		{"Azure, a fork", map[string]string{"SYSTEM_PULLREQUEST_ISFORK": "True"}, false},
		{"CircleCI, a fork", map[string]string{"CIRCLE_PR_NUMBER": "7"}, false},
		{"AppVeyor, a fork", map[string]string{"APPVEYOR_PULL_REQUEST_NUMBER": "7", "APPVEYOR_REPO_NAME": "a/r",
			"APPVEYOR_PULL_REQUEST_HEAD_REPO_NAME": "b/r"}, false},
		{"Drone, a pull request", map[string]string{"DRONE_BUILD_EVENT": "pull_request"}, false},
		{"Drone, a push", map[string]string{"DRONE_BUILD_EVENT": "push"}, true},
		{"Woodpecker, a pull request", map[string]string{"CI_PIPELINE_EVENT": "pull_request"}, false},
		{"Prow, a pull request", map[string]string{"JOB_TYPE": "presubmit"}, false},
		{"a merge request of the project", gitlab("5"), true},
		{"a merge request from a fork", gitlab("6"), false},
	}
	for _, tt := range tests {
		for _, o := range []*buildOptions{
			{cache: true, names: []string{"registry.example/ray:1"}},
			{cacheFrom: []string{"registry.example/ray:c"}, cacheTo: []string{"registry.example/ray:c"}},
		} {
			trusted := *o
			trusted.trustedRun = true
			from, to := chosen(t, o, tt.env)
			if len(from) == 0 || (len(to) > 0) != tt.writes || o.outside == tt.writes {
				t.Errorf("%s: reads %v, writes %v and tags the graph %v, want: %v", tt.name, from, to, !o.outside,
					tt.writes)
			}
			if _, to := chosen(t, &trusted, tt.env); len(to) == 0 || trusted.outside {
				t.Errorf("%s with --trusted-run: writes %v", tt.name, to)
			}
		}
	}
}

// Branches that differ have caches that differ.
func TestEachBranchHasItsCache(t *testing.T) {
	t.Parallel()
	tags := map[string]string{}
	long := strings.Repeat("a", 200)
	for _, branch := range []string{"main", "release-1", "release/1", "release 1", "release--1", long + "1",
		long + "2"} {
		tag := cacheTag(branch)
		if len(tag) > 128 || noTag.MatchString(tag) {
			t.Errorf("%q is no tag", tag)
		}
		if other, twice := tags[tag]; twice {
			t.Errorf("%s and %s share %s", other, branch, tag)
		}
		tags[tag] = branch
	}
	if tags["cache-main"] != "main" {
		t.Errorf("tags are %v", tags)
	}
}

// The branch is that of a checkout, also of a worktree and from a directory in it; a commit that is
// checked out by itself has none.
func TestGitBranch(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	git := func(at string, args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", at, "-c", "user.name=t", "-c", "user.email=t@example.com"},
			args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	main, tree := filepath.Join(dir, "main"), filepath.Join(dir, "tree")
	git(dir, "init", "-q", "-b", "trunk", main)
	git(main, "commit", "-q", "--allow-empty", "-m", "first")
	git(main, "worktree", "add", "-q", "-b", "feature/x", tree)
	below := filepath.Join(tree, "a", "b")
	if err := os.MkdirAll(below, 0o755); err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string]string{main: "trunk", tree: "feature/x", below: "feature/x", dir: ""} {
		if got := gitBranch(at); got != want {
			t.Errorf("branch at %s is %q, want %q", at, got, want)
		}
	}
	git(tree, "checkout", "-q", "--detach")
	if got := gitBranch(tree); got != "" {
		t.Errorf("a commit without a branch is told as branch %q", got)
	}
}

// TestL9MessagesHaveNoSecrets: a mistake in a flag is told without what the flag holds.
func TestL9MessagesHaveNoSecrets(t *testing.T) {
	t.Parallel()
	for _, o := range []*buildOptions{
		{cacheTo: []string{"type=s3,bucket=b,secret_access_key=hunter2,x"}},
		{cacheTo: []string{"type=s3,secret_access_key=hunter2,secret_access_key=hunter2"}},
		{cacheFrom: []string{`type=s3,"secret_access_key=hunter2`}},
		{secrets: []string{"id=a,value=hunter2"}},
		{secrets: []string{"id=a,hunter2"}},
	} {
		a := &app{stderr: &bytes.Buffer{}, getenv: func(string) string { return "" }, dir: t.TempDir()}
		o.compression, o.progress = "gzip", "quiet"
		if err := o.check(a); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v%v%v: %v", o.cacheTo, o.cacheFrom, o.secrets, err)
		}
	}
}
