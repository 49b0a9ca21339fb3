// Package publish tests what the project is published with: GitHub's workflows and forms, and the release's
// settings. It needs no privileges.
package publish

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/rhysd/actionlint"
)

const root = "../../"

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func workflows(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(root + ".github/workflows/*.yml")
	if err != nil || len(files) < 3 {
		t.Fatalf("workflows: %v, %v; want test, lint and release", files, err)
	}
	return files
}

func TestWorkflowsAreSuchAsGitHubTakes(t *testing.T) {
	for _, file := range workflows(t) {
		linter, err := actionlint.NewLinter(io.Discard, &actionlint.LinterOptions{})
		if err != nil {
			t.Fatal(err)
		}
		found, err := linter.LintFile(file, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range found {
			t.Error(e)
		}
	}
}

// Other people's actions are named by their commits, which nobody can move, and a job may do no more than it says.
func TestWorkflowsArePinnedAndMayDoLittle(t *testing.T) {
	uses := regexp.MustCompile(`(?m)^\s*-?\s*uses:\s*(\S+)(.*)$`)
	pinned := regexp.MustCompile(`^[\w.-]+/[\w./-]+@[0-9a-f]{40}$`)
	for _, file := range workflows(t) {
		text := read(t, file)
		if !strings.Contains(text, "\npermissions: {contents: read}\n") {
			t.Errorf("%s: its permissions are not {contents: read}", file)
		}
		found := uses.FindAllStringSubmatch(text, -1)
		if len(found) == 0 {
			t.Errorf("%s uses no action", file)
		}
		for _, use := range found {
			if !pinned.MatchString(use[1]) || !strings.Contains(use[2], "# v") {
				t.Errorf("%s: %q: want OWNER/NAME@COMMIT # vVERSION", file, use[0])
			}
		}
	}
}

// What make release-check tries here is what the release on a tag runs.
func TestReleaseRunsTheGoreleaserThatIsChecked(t *testing.T) {
	version := regexp.MustCompile(`(?m)^GORELEASER_VERSION := (v\S+)$`).FindStringSubmatch(read(t, root+"Makefile"))
	if version == nil {
		t.Fatal("the Makefile names no version of goreleaser")
	}
	if !strings.Contains(read(t, root+".github/workflows/release.yml"), "version: "+version[1]+",") {
		t.Errorf("release.yml runs another goreleaser than %s, which make release-check runs", version[1])
	}
}

// A form that GitHub does not understand is left out of the list without a word.
func TestIssueFormsAreSuchAsGitHubTakes(t *testing.T) {
	kinds := []string{"markdown", "input", "textarea", "dropdown", "checkboxes"}
	files, err := filepath.Glob(root + ".github/ISSUE_TEMPLATE/*.yml")
	if err != nil || len(files) < 3 {
		t.Fatalf("forms: %v, %v", files, err)
	}
	for _, file := range files {
		if filepath.Base(file) == "config.yml" {
			continue
		}
		var form struct {
			Name, Description string
			Labels            []string
			Body              []struct {
				Type, ID    string
				Attributes  struct{ Label, Description, Value, Placeholder, Render string }
				Validations struct{ Required bool }
			}
		}
		if err := yaml.UnmarshalWithOptions([]byte(read(t, file)), &form, yaml.Strict()); err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		ids := map[string]bool{}
		asks := false
		for i, field := range form.Body {
			text := field.Attributes.Label
			if field.Type == "markdown" {
				text = field.Attributes.Value
			} else {
				asks = true
				if field.ID == "" || ids[field.ID] {
					t.Errorf("%s: field %d: the id %q is empty or not the only one", file, i, field.ID)
				}
				ids[field.ID] = true
			}
			if !slices.Contains(kinds, field.Type) || text == "" {
				t.Errorf("%s: field %d: type %q, text %q", file, i, field.Type, text)
			}
		}
		if form.Name == "" || form.Description == "" || !asks {
			t.Errorf("%s: name %q, description %q, asks for something: %v", file, form.Name, form.Description, asks)
		}
	}
	bug := read(t, root+".github/ISSUE_TEMPLATE/bug.yml")
	for _, command := range []string{"raybuild doctor", "raybuild version --json"} {
		if !strings.Contains(bug, command) {
			t.Errorf("the bug form does not ask for %s", command)
		}
	}
}
