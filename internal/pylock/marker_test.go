package pylock

import (
	"os"
	"strings"
	"testing"
)

// tableLines are the lines of a table that testdata/facts.py wrote.
func tableLines(t *testing.T, file string) []string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		if !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out
}

func TestSpecifiersAreThoseOfPackaging(t *testing.T) {
	for _, line := range tableLines(t, "testdata/versions.txt") {
		f := strings.Fields(line)
		if has, ok := Specifier(f[1]).Has(f[0]); !ok || has != (f[2] == "true") {
			t.Errorf("%s: got %v, %v", line, has, ok)
		}
	}
}

func TestMarkersAreThoseOfPackaging(t *testing.T) {
	values, err := Target{Python: "3.11.9", Platform: "linux/amd64"}.Markers()
	if err != nil {
		t.Fatal(err)
	}
	e := Environment{Values: values, Extras: []string{"a"}, Groups: []string{"dev"}}
	lines := append(tableLines(t, "testdata/markers.txt"), "true 'a' in extras", "false 'b' in extras",
		"true 'b' not in extras", "true 'Dev' in dependency_groups and 'docs' not in dependency_groups")
	for _, line := range lines {
		want, text, _ := strings.Cut(line, " ")
		m, err := ParseMarker(text)
		if err != nil || m.Holds(e) != (want == "true") {
			t.Errorf("%s: got %v, %v", line, m.Holds(e), err)
		}
		again, err := ParseMarker(m.String())
		if err != nil || again.String() != m.String() || again.Holds(e) != m.Holds(e) {
			t.Errorf("%s is written as %s, and read as %s (%v)", text, m, again, err)
		}
	}
	if !(Marker{}).Holds(e) || (Marker{}).String() != "" {
		t.Error("no marker does not hold")
	}
}

func TestParseMarkerRefuses(t *testing.T) {
	for _, text := range []string{"", "x", "python_version", "python_version <", "'a' == 'b'",
		"python_version < '3' and",
		"(python_version < '3'", "python_version < '3')", "python_version is '3'", "python_version not '3'",
		"a.b == 'c'",
		"python_version < '3", "python_version < 3", strings.Repeat("(", 1<<16) + "os_name == ''",
		strings.Repeat("(", 99) + "os_name == ''" + strings.Repeat(")", 99)} {
		if m, err := ParseMarker(text); err == nil {
			t.Errorf("%.40s: read as %s", text, m)
		}
	}
}

func TestSpecifiersThatAreNone(t *testing.T) {
	for _, text := range []string{"3", "=>3", ">=", "==x", "~=3", ">=1.*", "===", "^3.8", ">=3 || <2",
		">=99999999999999999999999"} {
		if has, ok := Specifier(text).Has("3.11"); ok && has {
			t.Errorf("%s has 3.11", text)
		}
	}
	if _, ok := Specifier(">=1").Has("no-version"); ok {
		t.Error("a version that is none was compared")
	}
}

func FuzzMarker(f *testing.F) {
	f.Add("python_version < '3.12' and ('a' in extras or extra == \"b\")", ">=1.0,<2", "2.0a1.dev3+x.1")
	f.Add("sys_platform not in 'win32'", "~=1.4.2", "1!1.0.post1")
	values, err := Target{Python: "3.11.9", Platform: "linux/amd64"}.Markers()
	if err != nil {
		f.Fatal(err)
	}
	e := Environment{Values: values}
	f.Fuzz(func(t *testing.T, text, specifier, version string) {
		Specifier(specifier).Has(version)
		if v, ok := parseVersion(version); ok && v.compare(v) != 0 {
			t.Errorf("%s differs from itself", version)
		}
		m, err := ParseMarker(text)
		if err != nil {
			return
		}
		again, err := ParseMarker(m.String())
		if err != nil || again.String() != m.String() || again.Holds(e) != m.Holds(e) {
			t.Errorf("%q is written as %q, and read as %q (%v)", text, m, again, err)
		}
	})
}
