package cli

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Each promise of the page on security has a test, and that test is there.
func TestPromisesHaveTheirTests(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(projectRoot, "docs/security.md"))
	if err != nil {
		t.Fatal(err)
	}
	var tests []string
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err = filepath.WalkDir(projectRoot, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(text, -1) {
			tests = append(tests, string(m[1]))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "## What holds")
	table, _, _ = strings.Cut(table, "\n## ")
	rows := 0
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| against") || strings.HasPrefix(line, "| ---") {
			continue
		}
		rows++
		named := regexp.MustCompile("`(Test\\w*)(…?)`").FindAllStringSubmatch(line, -1)
		if len(named) == 0 {
			t.Errorf("no test is named for: %s", line)
		}
		for _, n := range named {
			if !slices.ContainsFunc(tests, func(test string) bool {
				return test == n[1] || n[2] != "" && strings.HasPrefix(test, n[1])
			}) {
				t.Errorf("there is no %s%s, which is named for: %s", n[1], n[2], line)
			}
		}
	}
	if rows < 15 {
		t.Errorf("the table has %d rows", rows)
	}
}
