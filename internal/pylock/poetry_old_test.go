package pylock

import (
	"strings"
	"testing"
)

func TestConstraintsOfPoetry(t *testing.T) {
	for _, tc := range []struct {
		constraint, version string
		want                bool
	}{
		{"", "1", true}, {"*", "1", true}, {"^1.2", "1.9", true}, {"^1.2", "2.0", false}, {"^1.2", "1.1", false},
		{"^0.2.3", "0.2.9", true}, {"^0.2.3", "0.3", false}, {"^0.0.3", "0.0.4", false}, {"^0", "0.9", true},
		{"~1.2.3", "1.2.9", true}, {"~1.2.3", "1.3", false}, {"~1", "1.9", true}, {"~1", "2", false},
		{"~=1.2", "1.9", true}, {"1.*", "1.5", true}, {"1.2", "1.2.0", true}, {"==1.*", "2", false},
		{">=1,<2", "1.5", true}, {">= 1, < 2", "2", false}, {">=1 <2", "1.5", true}, {"<1 || >=2", "2", true},
		{"<1 || >=2", "1", false}, {"^1 | ^3", "3.1", true}, {"!=3.0.*,!=3.1.*,>=2.7", "3.12", true},
		{"^x", "1", false}, {"~x", "1", false}, {"what", "1", false},
	} {
		if got := poetryHas(tc.constraint, tc.version); got != tc.want {
			t.Errorf("%q has %s: %v", tc.constraint, tc.version, got)
		}
	}
}

// A lock of Poetry 1 is walked from what the project needs.
func TestLocksOfPoetry1ThatCannotBeTaken(t *testing.T) {
	pkg := "[[package]]\nname = 'a'\nversion = '1'\npython-versions = '*'\n[package.dependencies]\n%s\n"
	project := "[tool.poetry.dependencies]\npython = '^3.9'\n"
	for _, tc := range []struct{ name, lock, project, want string }{
		{"no TOML", pkg, "[", "read pyproject.toml"},
		{"another tool's", pkg, "[project]\nname = 'x'\n", "no tool.poetry.dependencies"},
		{"another version", pkg, project + "a = '^2'\n",
			`what "the project" needs: package "a" ^2: the lock does not have it`},
		{"a need that is not there", strings.Replace(pkg, "%s", "b = '*'", 1), project + "a = '*'\n",
			`what "a" needs: package "b"`},
		{"two of a name", pkg + strings.Replace(pkg, "'1'", "'2'", 1), project + "a = '*'\n", "as 1 and 2"},
		{"a number", pkg, project + "a = 1\n", "neither a text nor a table"},
		{"a marker", pkg, project + "a = {version = '*', markers = 'x'}\n", "read marker"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			lock := poetryText("2.0", strings.ReplaceAll(tc.lock, "%s", ""))
			s, err := Open("poetry.lock", []byte(lock), func(string) ([]byte, error) { return []byte(tc.project), nil })
			if err == nil {
				_, err = s.Select(request())
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}
