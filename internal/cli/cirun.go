package cli

import (
	"cmp"
	"encoding/json"
	"os"
	"slices"
	"strings"
)

// startedOutside says why a CI run may build code of somebody who may not write to the repository: a pull request
// from a fork, or an event that anybody can cause. "" means that it does not, or that this is no CI. What later builds
// look for must not come from such a run. If the origin is unknown, it is outside.
func startedOutside(getenv func(string) string) string {
	if event := getenv("GITHUB_EVENT_NAME"); event != "" { // also Gitea and Forgejo
		return githubOutside(event, getenv)
	}
	const fork, request = "this is a pull request from another repository", "this is a pull request"
	other := func(from, to string) bool { return getenv(from) == "" || getenv(from) != getenv(to) }
	is := func(name string, values ...string) bool { return slices.Contains(values, getenv(name)) }
	switch {
	case getenv("CI_MERGE_REQUEST_IID") != "" && // GitLab
		other("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", "CI_MERGE_REQUEST_PROJECT_ID"),
		getenv("CHANGE_ID") != "" && getenv("CHANGE_FORK") != "", // Jenkins
		!is("BUILDKITE_PULL_REQUEST", "", "false") && other("BUILDKITE_PULL_REQUEST_REPO", "BUILDKITE_REPO"),
		!is("TRAVIS_PULL_REQUEST", "", "false") && other("TRAVIS_PULL_REQUEST_SLUG", "TRAVIS_REPO_SLUG"),
		strings.EqualFold(getenv("SYSTEM_PULLREQUEST_ISFORK"), "true"), // Azure Pipelines
		getenv("CIRCLE_PR_NUMBER") != "",                               // only of forks
		getenv("APPVEYOR_PULL_REQUEST_NUMBER") != "" &&
			other("APPVEYOR_PULL_REQUEST_HEAD_REPO_NAME", "APPVEYOR_REPO_NAME"):
		return fork
	case strings.HasPrefix(getenv("DRONE_BUILD_EVENT"), "pull_request"), // neither says whether it is a fork's
		strings.HasPrefix(getenv("CI_PIPELINE_EVENT"), "pull_request"), // Woodpecker
		getenv("CIRRUS_PR") != "", is("JOB_TYPE", "presubmit"):         // Prow
		return request + ", and this CI does not say from where"
	}
	return ""
}

// githubOutside is startedOutside for GitHub Actions. Events of the list run what is in the repository. Others, such as
// issue_comment and workflow_run, run in the default branch's name and often build what a pull request has.
func githubOutside(event string, getenv func(string) string) string {
	if slices.Contains([]string{"push", "schedule", "workflow_dispatch", "workflow_call", "release", "merge_group",
		"create", "deployment", "registry_package"}, event) {
		return ""
	}
	if !strings.HasPrefix(event, "pull_request") {
		return "the event " + event + " may build code of a pull request"
	}
	var told struct {
		PullRequest struct {
			Head struct {
				Repo struct {
					Name string `json:"full_name"`
				} `json:"repo"`
			} `json:"head"`
		} `json:"pull_request"`
	}
	data, err := os.ReadFile(getenv("GITHUB_EVENT_PATH"))
	if err == nil {
		err = json.Unmarshal(data, &told)
	}
	from := cmp.Or(told.PullRequest.Head.Repo.Name, "?")
	if err != nil || !strings.EqualFold(from, getenv("GITHUB_REPOSITORY")) {
		return "this is a pull request from another repository"
	}
	return ""
}
