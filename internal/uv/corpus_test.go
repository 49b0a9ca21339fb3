package uv_test

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raybuild/raybuild/internal/fetch"
	"github.com/raybuild/raybuild/internal/testneeds"
	"github.com/raybuild/raybuild/internal/uv"
	"github.com/raybuild/raybuild/internal/world"
)

//go:embed testdata/corpus.txt
var corpus string

// corpusEnv asks for TestCorpus. Its value is where the page is written, or "-" for nowhere.
const corpusEnv = "RAYBUILD_UV_CORPUS"

// rules say why uv and pip may give different versions. A difference has to be what its rule says: see explained.
var rules = map[string]string{
	"sources": "A version that the set needs has a source distribution and no wheel. uv takes it, if it can read its " +
		"requirements without a build. If not, raybuild asks pip in the sandbox, where building is safe, so the lock " +
		"has pip's versions. In this comparison pip takes wheels alone, because it would run the package's code.",
	"pre-release": "A requirement of a dependency names a pre-release, such as `<2.0dev`. From then on pip takes " +
		"pre-releases of that package. uv takes them only if the recipe itself names one, or if there is nothing else.",
	"choice": "Several answers fulfil all requirements. uv and pip look at packages in another order, and each takes " +
		"the first answer that it finds. The test gives each of them the other's answer, and each says that it is one.",
}

// set is a set of requirements of the corpus.
type set struct {
	name, rule   string
	requirements []string
}

func corpusSets(t *testing.T) (all []set) {
	t.Helper()
	for line := range strings.Lines(corpus) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		head, rest, ok := strings.Cut(line, ": ")
		name, rule, _ := strings.Cut(head, " = ")
		if _, known := rules[rule]; !ok || rule != "" && !known {
			t.Fatalf("line %q: want NAME: REQUIREMENT | …, or NAME = RULE: …", line)
		}
		all = append(all, set{name, rule, strings.Split(rest, " | ")})
	}
	return all
}

// needsBuild is why uv gave no answer where only a build can tell what a package requires.
const needsBuild = "needs a build"

// resolved is what a resolver came to: versions by name, or why there are none.
type resolved struct {
	versions map[string]string
	refused  string
	took     time.Duration
}

// TestCorpus resolves sets of requirements of the real index by uv, as raybuild does, and by the newest pip, and
// compares versions. Both resolve for this machine's Python, whose code alone is asked for markers by pip. pip takes
// wheels alone, because it would run code of a source distribution.
func TestCorpus(t *testing.T) {
	page := os.Getenv(corpusEnv)
	if page == "" {
		t.Skip(corpusEnv + " is not set: make resolving")
	}
	testneeds.Programs(t, "python3")
	index, err := world.RealIndex(t.Context())
	if err != nil {
		t.Skipf("no real packages can be had: %v", err)
	}
	server := httptest.NewServer(index)
	t.Cleanup(server.Close)
	python, version := newestPip(t, server.URL+"/simple")
	target := target()
	target.Python = version
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" || !strings.HasPrefix(target.Python, "3.11.") {
		t.Skipf("the corpus is for Python 3.11 on Linux and amd64, and here is %s on %s and %s", target.Python,
			runtime.GOOS, runtime.GOARCH)
	}
	f, err := fetch.New(fetch.Options{Store: t.TempDir(), HTTPSHosts: []string{"pypi.org", "files.pythonhosted.org"},
		Candidates: func(u *url.URL) []fetch.Candidate { return []fetch.Candidate{{URL: server.URL + u.Path}} }})
	if err != nil {
		t.Fatal(err)
	}
	r, err := uv.New(uv.Options{Program: program(t), Dir: t.TempDir(), Gateway: f})
	if err != nil {
		t.Fatal(err)
	}
	c := &compared{pip: strings.Fields(command(t, python, "-m", "pip", "--version"))[1], python: target.Python}
	t.Run("sets", func(t *testing.T) {
		for _, s := range corpusSets(t) {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				q := uv.Question{Target: target, Requirements: s.requirements}
				pip := func(lines []string) resolved { return byPip(t, python, server.URL+"/simple", lines) }
				uv := func(lines []string) resolved { q.Requirements = lines; return byUV(t, r, q) }
				a, b := uv(s.requirements), pip(s.requirements)
				if s.rule == "choice" {
					for what, again := range map[string]resolved{"pip": pip(pinned(s, a)), "uv": uv(pinned(s, b))} {
						if again.refused != "" {
							t.Errorf("%s does not take the other's answer: %s", what, again.refused)
						}
					}
				}
				c.add(t, s, a, b)
			})
		}
	})
	c.log(t)
	if page != "-" && !t.Failed() {
		if err := os.WriteFile(page, []byte(c.page()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// newestPip is a Python of a virtual environment with the newest pip, and its version.
func newestPip(t *testing.T, index string) (python, version string) {
	t.Helper()
	dir := t.TempDir()
	command(t, "python3", "-m", "venv", dir)
	python = filepath.Join(dir, "bin", "python")
	command(t, python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--index-url", index, "-U", "pip")
	return python, strings.TrimSpace(command(t, python, "-c", "import platform; print(platform.python_version())"))
}

// command runs a program that has to succeed.
func command(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := tried(t, argv...)
	if err != nil {
		t.Fatalf("%q: %v", argv, err)
	}
	return out
}

func tried(t *testing.T, argv ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "PIP_CONFIG_FILE=" + os.DevNull,
		"PYTHONUTF8=1"}
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%w: %s%s", err, out, errs.String())
	}
	return string(out), nil
}

func byUV(t *testing.T, r *uv.Resolver, q uv.Question) resolved {
	t.Helper()
	start := time.Now()
	a, err := r.Resolve(t.Context(), q)
	out := resolved{versions: map[string]string{}, took: time.Since(start)}
	if _, none := errors.AsType[*uv.NoSolutionError](err); none {
		out.refused = "no solution"
		t.Logf("uv: %v", err)
		return out
	}
	if _, build := errors.AsType[*uv.NeedsBuildError](err); build {
		out.refused = needsBuild
		t.Logf("uv: %v", err)
		return out
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range a.Packages {
		if out.versions[p.Name] = p.Version; p.Sdist {
			out.versions[p.Name] += " (source)"
		}
	}
	return out
}

var dashes = regexp.MustCompile(`[-_.]+`)

func byPip(t *testing.T, python, index string, requirements []string) resolved {
	t.Helper()
	dir := t.TempDir()
	file, report := filepath.Join(dir, "requirements.txt"), filepath.Join(dir, "report.json")
	if err := os.WriteFile(file, []byte(strings.Join(requirements, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	_, err := tried(t, python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-cache-dir",
		"--dry-run", "--ignore-installed", "--only-binary", ":all:", "--index-url", index, "--report", report,
		"-r", file)
	out := resolved{versions: map[string]string{}, took: time.Since(start)}
	if err != nil {
		t.Logf("pip: %v", err)
		if said := err.Error(); !strings.Contains(said, "ResolutionImpossible") &&
			!strings.Contains(said, "No matching distribution") {
			t.Fatal("pip failed for another reason than that there is no solution")
		}
		out.refused = "no solution"
		return out
	}
	data, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var saw struct {
		Install []struct {
			Metadata struct{ Name, Version string }
		}
	}
	if err := json.Unmarshal(data, &saw); err != nil {
		t.Fatal(err)
	}
	for _, p := range saw.Install {
		out.versions[strings.ToLower(dashes.ReplaceAllString(p.Metadata.Name, "-"))] = p.Metadata.Version
	}
	return out
}

// pinned are the requirements of a set and the versions of an answer.
func pinned(s set, r resolved) []string {
	lines := slices.Clone(s.requirements)
	for name, version := range r.versions {
		lines = append(lines, name+"=="+version)
	}
	return lines
}

// preRelease matches a version that is one.
var preRelease = regexp.MustCompile(`[0-9](a|b|rc|\.dev)[0-9]`)

// explained tells whether a difference is such as the set's rule says.
func (s set) explained(a, b resolved) bool {
	some := func(r resolved, has func(string) bool) bool {
		return slices.ContainsFunc(slices.Collect(maps.Values(r.versions)), has)
	}
	switch s.rule {
	case "sources":
		return a.refused == needsBuild || some(a, func(v string) bool { return strings.HasSuffix(v, " (source)") })
	case "pre-release":
		return a.refused != "" || some(b, preRelease.MatchString) && !some(a, preRelease.MatchString)
	default:
		return s.rule != "" && a.refused == "" && b.refused == ""
	}
}

// compared is what came of all sets.
type compared struct {
	pip, python string

	mu             sync.Mutex
	sets, packages int
	refused        []string // by both
	rows           []string // of those that differ
	uv, other      time.Duration
}

// add compares what uv and pip found for a set.
func (c *compared) add(t *testing.T, s set, a, b resolved) {
	t.Helper()
	var diff []string
	if a.refused != b.refused {
		diff = append(diff, fmt.Sprintf("uv: %s, pip: %s", count(a), count(b)))
	} else {
		names := maps.Clone(a.versions)
		maps.Copy(names, b.versions)
		for _, name := range slices.Sorted(maps.Keys(names)) {
			if x, y := a.versions[name], b.versions[name]; x != y {
				diff = append(diff, fmt.Sprintf("%s: uv %s, pip %s", name, or(x), or(y)))
			}
		}
	}
	switch {
	case len(diff) > 0 && !s.explained(a, b):
		t.Errorf("uv and pip differ, and rule %q does not say so:\n%s", s.rule, strings.Join(diff, "\n"))
	case len(diff) == 0 && s.rule != "":
		t.Logf("uv and pip agree now, and the corpus says that they differ by rule %q", s.rule)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sets++
	c.uv, c.other = c.uv+a.took, c.other+b.took
	switch {
	case len(diff) > 0:
		c.rows = append(c.rows, fmt.Sprintf("| `%s` | %s | %s |\n", strings.Join(s.requirements, "`, `"),
			strings.Join(diff, "; "), s.rule))
	case a.refused != "":
		c.refused = append(c.refused, s.name)
	default:
		c.packages += len(a.versions)
	}
}

func or(version string) string {
	if version == "" {
		return "none"
	}
	return version
}

func count(r resolved) string {
	if r.refused != "" {
		return r.refused
	}
	return fmt.Sprintf("%d packages", len(r.versions))
}

func (c *compared) log(t *testing.T) {
	t.Helper()
	t.Logf("%d sets, %d packages the same, %d sets differ, both refuse %q; uv %v, pip %v", c.sets, c.packages,
		len(c.rows), c.refused, c.uv.Round(time.Second), c.other.Round(time.Second))
}

const corpusHead = `# Resolving: uv beside pip

Written by §make resolving§; do not edit. raybuild resolves Python packages with uv (%s). The sets of requirements in
§internal/uv/testdata/corpus.txt§ are such as people write: web services, data, machine learning, tools, with extras,
markers, ranges and pre-releases. uv, as raybuild runs it, and pip %s resolve each for Python %s on x86_64,
from PyPI, and all versions are compared.

**%d sets: %d with the same versions (%d packages), %d that both refuse, %d that differ by a rule.** uv took %v for all
sets, and pip %v. A set that differs without a rule makes the test fail. If a rule bites you, §pip: {resolver: pip}§ in
§raybuild.yaml§ takes pip's answer.

## The rules

`

// page is docs/resolving.md.
func (c *compared) page() string {
	slices.Sort(c.rows)
	text := fmt.Sprintf(strings.ReplaceAll(corpusHead, "§", "`"), uv.Version, c.pip, c.python, c.sets,
		c.sets-len(c.refused)-len(c.rows), c.packages, len(c.refused), len(c.rows), c.uv.Round(time.Second),
		c.other.Round(time.Second))
	for _, rule := range slices.Sorted(maps.Keys(rules)) {
		text += "* **" + rule + "**: " + rules[rule] + "\n"
	}
	text += "\n## The sets that differ\n\nVersions change from day to day; these are of " +
		time.Now().UTC().Format("2 January 2006") + ".\n\n| set | difference | rule |\n| --- | --- | --- |\n"
	return text + strings.Join(c.rows, "")
}
