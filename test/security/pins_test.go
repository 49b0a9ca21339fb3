package security

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What a CI job runs of others is named by a commit or a version, so nobody can change it later: in this repository's
// own workflows, and in those that people copy.
func TestL15CIPinsWhatItRuns(t *testing.T) {
	t.Parallel()
	uses, commit := regexp.MustCompile(`uses:\s*(\S+)`), regexp.MustCompile(`^[\w.-]+/[\w./-]+@[0-9a-f]{40}$`)
	installs := regexp.MustCompile(`go (?:install|run) \S+@(\S+)`)
	version := regexp.MustCompile(`^v\d+\.\d+\.\d+$`)
	seen := 0
	for _, pattern := range []string{"../../.github/workflows/*.yml", "../../examples/ci/*/*.yml",
		"../../examples/ci/*/.*.yml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range uses.FindAllStringSubmatch(string(data), -1) {
				if seen++; !commit.MatchString(m[1]) {
					t.Errorf("%s uses %s, which is no commit", file, m[1])
				}
			}
			for _, m := range installs.FindAllStringSubmatch(string(data), -1) {
				if seen++; !version.MatchString(strings.Trim(m[1], `"'`)) {
					t.Errorf("%s installs version %s, which is none that stays", file, m[1])
				}
			}
		}
	}
	if seen < 8 {
		t.Errorf("only %d actions and programs were found", seen)
	}
}
