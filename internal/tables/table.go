package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// release is one row of the table: what the index has of a release of Ray.
type release struct {
	version  string
	uploaded string // day of the first wheel
	wheels   map[string][]string
	yanked   string // why it was withdrawn; empty: it was not
}

// platforms are the columns of the table, and how their wheels' names end.
func platforms() []struct{ name, suffix string } {
	return []struct{ name, suffix string }{{"linux/amd64", "_x86_64"}, {"linux/arm64", "_aarch64"}}
}

// page is what the table needs of a project's page in the JSON form of PEP 691.
type page struct {
	Name  string `json:"name"`
	Files []struct {
		Filename   string `json:"filename"`
		UploadTime string `json:"upload-time"` // PEP 700; empty where the index does not tell
		Yanked     any    `json:"yanked"`      // false, true, or the reason
	} `json:"files"`
}

// releases makes the table of a project's page: its final releases that have a wheel for Linux, in
// their order. A release counts as withdrawn when all of its wheels are.
func releases(data []byte) ([]release, error) {
	var p page
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, fmt.Errorf("read index page: %w", err)
	}
	found := map[string]*release{}
	kept := map[string]bool{}
	for _, f := range p.Files {
		version, python, platform, ok := wheel(p.Name, f.Filename)
		if !ok {
			continue
		}
		r := found[version]
		if r == nil {
			r = &release{version: version, wheels: map[string][]string{}}
			found[version] = r
		}
		if day, _, _ := strings.Cut(f.UploadTime, "T"); r.uploaded == "" || day != "" && day < r.uploaded {
			r.uploaded = oneWord(day)
		}
		if !slices.Contains(r.wheels[platform], python) {
			r.wheels[platform] = append(r.wheels[platform], python)
		}
		switch why := f.Yanked.(type) {
		case string:
			r.yanked = oneWord(cmp.Or(why, "yanked"))
		case bool:
			if why {
				r.yanked = "yanked"
			} else {
				kept[version] = true
			}
		default:
			kept[version] = true
		}
	}
	if len(found) == 0 {
		return nil, errors.New("read index page: no wheel for Linux on it")
	}
	var out []release
	for _, v := range slices.SortedFunc(maps.Keys(found), compareVersions) {
		r := found[v]
		if kept[v] {
			r.yanked = ""
		}
		for _, pythons := range r.wheels {
			slices.SortFunc(pythons, compareVersions)
		}
		out = append(out, *r)
	}
	return out, nil
}

// wheel reads the name of a wheel (PEP 427) for CPython 3 on Linux:
// "ray-2.60.0-cp314-cp314-manylinux2014_x86_64.whl". Builds without the interpreter's lock (cp314t)
// are not what conda brings, and pre-releases are not what anyone gets who does not name them.
func wheel(project, name string) (version, python, platform string, ok bool) {
	stem, ok := strings.CutSuffix(name, ".whl")
	parts := strings.Split(stem, "-")
	if !ok || len(parts) < 5 || len(parts) > 6 || parts[0] != project || !final(parts[1]) {
		return "", "", "", false
	}
	tags := parts[len(parts)-3:]
	minor, ok := strings.CutPrefix(tags[0], "cp3")
	if _, err := strconv.Atoi(minor); !ok || err != nil || strings.HasSuffix(tags[1], "t") ||
		!strings.Contains(tags[2], "linux") {
		return "", "", "", false
	}
	for _, p := range platforms() {
		if strings.HasSuffix(tags[2], p.suffix) {
			return parts[1], "3." + minor, p.name, true
		}
	}
	return "", "", "", false
}

// final tells a final release of Ray: three numbers.
func final(version string) bool {
	numbers := strings.Split(version, ".")
	return len(numbers) == 3 && !slices.ContainsFunc(numbers,
		func(n string) bool { _, err := strconv.Atoi(n); return err != nil })
}

// compareVersions orders dotted numbers.
func compareVersions(a, b string) int {
	return slices.CompareFunc(strings.Split(a, "."), strings.Split(b, "."), func(x, y string) int {
		m, _ := strconv.Atoi(x)
		n, _ := strconv.Atoi(y)
		return cmp.Compare(m, n)
	})
}

// oneWord makes a text of the index a field of the table: printable, without tabs and line ends, and short.
func oneWord(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if r := []rune(s); len(r) > 200 {
		s = string(r[:200])
	}
	return s
}

// table writes releases in the form that package layers reads.
func table(from string, rows []release) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Ray's wheels for Linux, made by scripts/refresh-tables from %s (PEP 691); do not edit.\n", from)
	b.WriteString("# version\tuploaded")
	for _, p := range platforms() {
		b.WriteString("\t" + p.name)
	}
	b.WriteString("\tyanked\n")
	for _, r := range rows {
		b.WriteString(r.version + "\t" + cmp.Or(r.uploaded, "-"))
		for _, p := range platforms() {
			b.WriteString("\t" + cmp.Or(strings.Join(r.wheels[p.name], ","), "-"))
		}
		b.WriteString("\t" + cmp.Or(r.yanked, "-") + "\n")
	}
	return b.String()
}

// rowsOf are the rows of a written table by version.
func rowsOf(table string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(table) {
		if version, rest, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok && !strings.HasPrefix(line, "#") {
			out[version] = rest
		}
	}
	return out
}

// difference lists what changed from one table to another, a line for each release: "+ 2.61.0 …".
func difference(before, after string) []string {
	have, want := rowsOf(before), rowsOf(after)
	var out []string
	for _, v := range slices.SortedFunc(maps.Keys(have), compareVersions) {
		switch rest, ok := want[v]; {
		case !ok:
			out = append(out, "- "+v+"\t"+have[v])
		case rest != have[v]:
			out = append(out, "- "+v+"\t"+have[v], "+ "+v+"\t"+rest)
		}
	}
	for _, v := range slices.SortedFunc(maps.Keys(want), compareVersions) {
		if _, ok := have[v]; !ok {
			out = append(out, "+ "+v+"\t"+want[v])
		}
	}
	return out
}

// newest is the newest release that was not withdrawn; "" of an empty table.
func newest(table string) string {
	rows := rowsOf(table)
	versions := slices.SortedFunc(maps.Keys(rows), compareVersions)
	for _, v := range slices.Backward(versions) {
		if strings.HasSuffix(rows[v], "\t-") {
			return v
		}
	}
	return ""
}
