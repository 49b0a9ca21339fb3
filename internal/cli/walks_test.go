package cli

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var inBackquotes = regexp.MustCompile("`([^`]+)`")

// TestWalks checks that the files and functions that docs/design.md follows a value through are there.
func TestWalks(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(projectRoot, "docs", "design.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## Two values from file to effect\n")
	section, _, _ = strings.Cut(section, "\n## ")
	steps := 0
	for line := range strings.Lines(section) {
		where, _, isRow := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		if !isRow || !strings.Contains(where, ".go`") {
			continue
		}
		file, code := "", ""
		for _, m := range inBackquotes.FindAllStringSubmatch(where, -1) {
			name := m[1]
			if strings.HasSuffix(name, ".go") {
				if !strings.Contains(name, "/") { // beside the one before
					name = path.Join(path.Dir(file), name)
				}
				data, err := os.ReadFile(filepath.Join(projectRoot, filepath.FromSlash(name)))
				if err != nil {
					t.Error(err)
				}
				file, code = name, string(data)
				continue
			}
			steps++
			if !regexp.MustCompile(`(?m)^func (\([^)]*\) )?` + regexp.QuoteMeta(name) + `\(`).MatchString(code) {
				t.Errorf("%s has no function %s, which docs/design.md names", file, name)
			}
		}
	}
	if steps < 15 {
		t.Errorf("only %d functions are named", steps)
	}
}
