package cli

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
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
	o.compression, o.fetch, o.progress = "gzip", "session", "quiet"
	if err := o.check(a); err != nil {
		t.Fatal(err)
	}
	return o.parsed.cacheFrom, o.parsed.cacheTo
}

func TestBareCacheIsBesideTheImage(t *testing.T) {
	t.Parallel()
	const beside = "registry.example/team/ray:cache-"
	tests := []struct {
		name string
		env  map[string]string
		from []string
		to   string
	}{
		{"no branch is known", nil, []string{"main"}, "main"},
		{"git's branch", map[string]string{"branch": "topic/a b"}, []string{"topic-a-b", "main"}, "topic-a-b"},
		{"GitHub's branch", map[string]string{"GITHUB_REF_NAME": "main"}, []string{"main"}, "main"},
		{"GitHub's pull request", map[string]string{"GITHUB_REF_NAME": "7/merge", "GITHUB_HEAD_REF": "fix"},
			[]string{"fix", "main"}, "fix"},
		{"GitLab's branch", map[string]string{"CI_COMMIT_REF_NAME": "fix", "CI_DEFAULT_BRANCH": "trunk"},
			[]string{"fix", "trunk"}, "fix"},
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
		{"a merge request of the project", gitlab("5"), true},
		{"a merge request from a fork", gitlab("6"), false},
	}
	for _, tt := range tests {
		for _, o := range []*buildOptions{
			{cache: true, names: []string{"registry.example/ray:1"}},
			{cacheFrom: []string{"registry.example/ray:c"}, cacheTo: []string{"registry.example/ray:c"}},
		} {
			from, to := chosen(t, o, tt.env)
			if len(from) == 0 || (len(to) > 0) != tt.writes {
				t.Errorf("%s: reads %v and writes %v, want writing: %v", tt.name, from, to, tt.writes)
			}
		}
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
