package build

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/rhysd/actionlint"
)

// runner is one run of a CI job: an empty builder, the commands of an example, and the variables that the CI would set.
type runner struct {
	*home
	image  string // without a tag
	writes *atomic.Int64
}

// The examples for CI do what they say, on empty runners and the offline world's stand-ins: a
// branch runs what its edit changed, the merge of it is tagged, and somebody else's patch reads the
// cache and writes nothing. What they install is there already; GitHub's and GitLab's expressions
// are evaluated by the test.
func TestCIExamples(t *testing.T) {
	h := warmHome(t)
	writes := &atomic.Int64{}
	host := refusingRegistry(t, func(r *http.Request) int {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			writes.Add(1)
		}
		return 0
	})
	first := runner{h, host + "/team/app/ray", writes}
	if out := first.sh("BRANCH=main IMAGE="+first.image, example(t, "shell/build")); out.code != 0 {
		t.Fatalf("the first push: exit %d\n%s", out.code, tail(out.stderr, 40))
	}
	for name, run := range map[string]func(r runner, event string) outcome{"shell": shellRun, "github": githubRun,
		"gitlab": gitlabRun} {
		t.Run(name, func(t *testing.T) {
			again := func(event, text string) outcome {
				r := runner{coldHome(t), first.image, writes}
				r.write("raybuild.yaml", shortRecipe("files: [{from: app, to: /home/ray/app}]"))
				r.write("app/main.py", text)
				writes.Store(0)
				out := run(r, event)
				if out.code != 0 {
					t.Fatalf("%s: exit %d\n%s", event, out.code, tail(out.stderr, 40))
				}
				if _, err := os.Stat(filepath.Join(r.dir, "engine")); (err != nil) != (event == "merge") {
					t.Errorf("%s: an engine was started: %v", event, err == nil)
				}
				return out
			}
			edit := "print('" + name + "')\n"
			branch := again("branch", edit)
			onlyFiles(t, "a branch", branch)
			if merged := again("merge", edit); !strings.Contains(merged.stderr, "retagged") ||
				digestOf(merged) != digestOf(branch) {
				t.Errorf("the merge of a branch is not its image, tagged: %q, the branch's is %q\n%s", merged.stdout,
					branch.stdout, tail(merged.stderr, 20))
			}
			onlyFiles(t, "a fork", again("fork", edit+"#\n"))
			if n := writes.Load(); n != 0 {
				t.Errorf("the run of a fork's patch made %d requests that write", n)
			}
		})
	}
}

func digestOf(o outcome) string {
	_, digest, _ := strings.Cut(strings.TrimSpace(o.stdout), "@")
	return digest
}

// onlyFiles checks that of all steps only that of the edited files ran, and the one that writes the
// file for login shells: BuildKit exports no result of an operation without inputs. Nothing but the
// edited files may be fetched.
func onlyFiles(t *testing.T, what string, out outcome) {
	t.Helper()
	if !regexp.MustCompile(`\n2 of \d+ steps run, 0 B fetched`).MatchString(out.stderr) {
		t.Errorf("%s: more than the edit's step ran, or the cache was not read:\n%s", what, tail(out.stderr, 30))
	}
}

func example(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../../examples/ci", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// sh runs commands with the CI's variables. What a CI machine would install is replaced by stubs.
func (r runner) sh(env, commands string) outcome {
	r.t.Helper()
	bin := r.t.TempDir()
	for name, script := range map[string]string{
		"apt-get": "", "docker": "cat > /dev/null", "go": `[ "$1" != env ] || echo ` + bin,
		"sudo": `[ "$1" = --preserve-env ] && shift; exec "$@"`,
	} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(bin, "bin"), 0o755); err != nil {
		r.t.Fatal(err)
	}
	for _, link := range []string{"raybuild", "bin/raybuild"} {
		if err := os.Symlink(program, filepath.Join(bin, link)); err != nil {
			r.t.Fatal(err)
		}
	}
	cmd := exec.Command("bash", "-e", "-c", commands)
	cmd.Dir = r.cwd
	cmd.Env = append([]string{"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + r.cwd, "RAYBUILD_HOME=" + r.dir,
		"CI=true"}, strings.Fields(env)...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); cmd.ProcessState == nil {
		r.t.Fatal(err)
	}
	return outcome{code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
}

func shellRun(r runner, event string) outcome {
	env := map[string]string{"branch": "BRANCH=feature/shell", "merge": "BRANCH=main",
		"fork": "BRANCH=theirs UNTRUSTED=1"}[event]
	return r.sh(env+" IMAGE="+r.image, example(r.t, "shell/build"))
}

// githubRun does the steps of the workflow's job.
func githubRun(r runner, event string) outcome {
	r.t.Helper()
	data, err := os.ReadFile(example(r.t, "github/image.yml"))
	if err != nil {
		r.t.Fatal(err)
	}
	var workflow struct {
		Jobs map[string]struct {
			Env   map[string]string
			Steps []struct {
				Run, If string
				Env     map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(data, &workflow); err != nil {
		r.t.Fatal(err)
	}
	from, name := map[string]string{"branch": "team/app", "fork": "somebody/app"}[event], "pull_request"
	if event == "merge" {
		name = "push"
	}
	payload, err := json.Marshal(map[string]any{
		"pull_request": map[string]any{"head": map[string]any{"repo": map[string]any{"full_name": from}}},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.write("event.json", string(payload))
	values := map[string]string{
		"github.repository": "team/app", "github.token": "token",
		"github.event.number && format('pr-{0}', " +
			"github.event.number) || 'main'": map[string]string{"branch": "pr-7", "fork": "pr-8",
			"merge": "main"}[event],
		"(github.event_name == 'push' || github.event.pull_request.head.repo.full_name == github.repository) && " +
			"'--push' || ''": map[string]string{"branch": "--push", "merge": "--push"}[event],
	}
	job := workflow.Jobs["image"]
	env := "GITHUB_ACTIONS=true GITHUB_ACTOR=me GITHUB_REPOSITORY=team/app GITHUB_EVENT_NAME=" +
		name + " GITHUB_EVENT_PATH=" + filepath.Join(r.cwd, "event.json") +
		" GITHUB_STEP_SUMMARY=" + filepath.Join(r.cwd, "summary.md") + " GITHUB_REF_NAME=main"
	if name != "push" {
		env += " GITHUB_HEAD_REF=feature/" + event
	}
	for k, v := range job.Env {
		env += " " + k + "=" + strings.Replace(evaluate(r.t, v, values), "ghcr.io/team/app/ray", r.image, 1)
	}
	last := outcome{}
	for _, s := range job.Steps {
		if s.If != "" && s.If != "env.PUSH" {
			r.t.Fatalf("the test cannot evaluate %q", s.If)
		}
		if s.Run == "" || s.If == "env.PUSH" && strings.Contains(env+" ", " PUSH= ") {
			continue
		}
		own := env
		for k, v := range s.Env {
			own += " " + k + "=" + evaluate(r.t, v, values)
		}
		if last = r.sh(own, s.Run); last.code != 0 {
			return last
		}
	}
	if summary := r.read("summary.md"); !strings.Contains(summary, "raybuild") {
		r.t.Errorf("the job's summary is %q", summary)
	}
	return last
}

// evaluate replaces expressions by what GitHub would make of them.
func evaluate(t *testing.T, text string, values map[string]string) string {
	return regexp.MustCompile(`\$\{\{ (.*?) \}\}`).ReplaceAllStringFunc(text, func(e string) string {
		e = strings.TrimSuffix(strings.TrimPrefix(e, "${{ "), " }}")
		v, ok := values[e]
		if !ok {
			t.Fatalf("the test cannot evaluate %q", e)
		}
		return v
	})
}

// gitlabRun does the job's scripts, with the variables of the first rule that the event fits.
func gitlabRun(r runner, event string) outcome {
	r.t.Helper()
	data, err := os.ReadFile(example(r.t, "gitlab/.gitlab-ci.yml"))
	if err != nil {
		r.t.Fatal(err)
	}
	var jobs map[string]struct {
		Rules []struct {
			If        string
			Variables map[string]string
		}
		BeforeScript []string `yaml:"before_script"`
		Script       []string
	}
	if err := yaml.Unmarshal(data, &jobs); err != nil {
		r.t.Fatal(err)
	}
	job := jobs["image"]
	const fork = "$CI_MERGE_REQUEST_IID && $CI_MERGE_REQUEST_SOURCE_PROJECT_ID != $CI_MERGE_REQUEST_PROJECT_ID"
	if len(job.Rules) != 2 || job.Rules[0].If != fork ||
		job.Rules[1].If != "$CI_MERGE_REQUEST_IID || $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH" {
		r.t.Fatalf("the test does not know these rules: %+v", job.Rules)
	}
	host, _, _ := strings.Cut(r.image, "/")
	env := "CI_DEFAULT_BRANCH=main CI_REGISTRY=" + host +
		" CI_REGISTRY_USER=ci CI_REGISTRY_PASSWORD=token CI_REGISTRY_IMAGE=" + strings.TrimSuffix(r.image, "/ray")
	rule := job.Rules[1]
	switch event {
	case "fork":
		rule = job.Rules[0]
		env += " CI_MERGE_REQUEST_IID=8 CI_MERGE_REQUEST_PROJECT_ID=1 CI_MERGE_REQUEST_SOURCE_PROJECT_ID=2 " +
			"CI_COMMIT_REF_NAME=theirs CI_COMMIT_REF_SLUG=theirs"
	case "branch":
		env += " CI_MERGE_REQUEST_IID=7 CI_MERGE_REQUEST_PROJECT_ID=1 CI_MERGE_REQUEST_SOURCE_PROJECT_ID=1 " +
			"CI_COMMIT_REF_NAME=feature/gitlab CI_COMMIT_REF_SLUG=feature-gitlab"
	default:
		env += " CI_COMMIT_BRANCH=main CI_COMMIT_REF_NAME=main CI_COMMIT_REF_SLUG=main"
	}
	for k, v := range rule.Variables {
		env += " " + k + "=" + v
	}
	return r.sh(env, strings.Join(append(job.BeforeScript, job.Script...), "\n"))
}

// The workflow is one that GitHub would take.
func TestGitHubExampleIsAWorkflow(t *testing.T) {
	linter, err := actionlint.NewLinter(io.Discard, &actionlint.LinterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	found, err := linter.LintFile(example(t, "github/image.yml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range found {
		t.Error(e)
	}
}
