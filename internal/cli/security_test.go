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

// Each fuzz target is in the page's table of texts, and each target of the table is there.
func TestParsersHaveTheirTargets(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(projectRoot, "docs/security.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "## Texts of others")
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile("`(\\w+\\.Fuzz\\w+)`").FindAllStringSubmatch(table, -1) {
		listed[m[1]] = true
	}
	there := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)
	named := regexp.MustCompile(`(?m)^package (\w+?)(?:_test)?$`)
	err = filepath.WalkDir(projectRoot, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(text, -1) {
			there[string(named.FindSubmatch(text)[1])+"."+string(m[1])] = true
		}
		return err
	})
	if err != nil || len(there) < 60 {
		t.Fatalf("%d fuzz targets: %v", len(there), err)
	}
	for target := range there {
		if !listed[target] {
			t.Errorf("docs/security.md does not list %s: which texts does it read?", target)
		}
	}
	for target := range listed {
		if !there[target] {
			t.Errorf("docs/security.md lists %s, and there is no such target", target)
		}
	}
}
