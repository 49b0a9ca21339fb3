package uv

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// NoSolutionError says that no versions satisfy the requirements.
type NoSolutionError struct {
	// Requirements that uv names in its explanation.
	Requirements []string
	// Text is uv's explanation.
	Text string
	// requests that the run has made.
	requests int
}

// Error names the requirements, and has uv's explanation below them.
func (e *NoSolutionError) Error() string {
	return fmt.Sprintf("no versions satisfy %s:\n%s", strings.Join(e.Requirements, ", "), e.Text)
}

// NeedsBuildError says that the requirements of a package are not known before it is built. That is never done on
// this machine.
type NeedsBuildError struct {
	// Name is normalised. Version may be "".
	Name, Version string
	requests      int
}

// Error names the package.
func (e *NeedsBuildError) Error() string {
	return fmt.Sprintf("read the requirements of %s %s: it is a source distribution that must be built for that",
		e.Name, e.Version)
}

func nameOf(e *NeedsBuildError) string {
	if e == nil {
		return ""
	}
	return e.Name
}

// NetworkError says that an index or a file server did not answer as it should.
type NetworkError struct {
	// Text is what the gateway said of it.
	Text     string
	requests int
}

// Error is the gateway's text.
func (e *NetworkError) Error() string { return "ask the Python index: " + e.Text }

// HashError says that a version has no file with an allowed hash.
type HashError struct {
	// Name and Version that the requirements lead to.
	Name, Version string
	// Files of the version, for the target.
	Files []string
}

// Error names the package.
func (e *HashError) Error() string {
	return fmt.Sprintf("check the hashes of %s %s: none of its files has one of the hashes that the requirements "+
		"give: %s", e.Name, e.Version, strings.Join(e.Files, ", "))
}

// failedError is any other failure of uv.
type failedError struct {
	text     string
	cause    error
	requests int
}

func (e *failedError) Error() string {
	return fmt.Sprintf("run uv %s: %v\n%s", Version, e.cause, e.text)
}
func (e *failedError) Unwrap() error { return e.cause }

// requestsOf is how many requests a failed run has made.
func requestsOf(err error) int {
	if e, ok := errors.AsType[*NoSolutionError](err); ok {
		return e.requests
	}
	if e, ok := errors.AsType[*NeedsBuildError](err); ok {
		return e.requests
	}
	if e, ok := errors.AsType[*NetworkError](err); ok {
		return e.requests
	}
	if e, ok := errors.AsType[*failedError](err); ok {
		return e.requests
	}
	return 0
}

// maxLines of an error's text.
const maxLines = 11

//nolint:gochecknoglobals // compiled once, when it is used
var (
	ansi = lazy("\x1b\\[[0-9;]*[A-Za-z]")
	// built is the package that uv wanted to build: Failed to build `name==version`.
	built = lazy("(?:build|metadata for):? `([A-Za-z0-9._-]+)(?:==([^` ]+))?[^`]*`")
	// required are the requirements that uv's explanation ends with.
	required = lazy(`you require ([A-Za-z0-9._-]+(?:\[[^\]]*\])?(?:[<>=!~]\S*)?)`)
)

// text is what uv said, and what in it is of this machine alone.
type text struct {
	said     string
	run, dir string               // directories of the run, and of all runs
	stubs    map[string]Installed // by path
}

// plain is a text without colours and other control characters: it may quote what an index says.
func plain(said string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, ansi().ReplaceAllString(said, ""))
}

// clean is uv's text without colours, with canonical URLs, and without names that mean nothing to others.
func (t text) clean(q Question) string {
	s := plain(t.said)
	for path, p := range t.stubs {
		s = strings.ReplaceAll(s, " @ "+strings.TrimPrefix(directLine("", path), " @ "), "=="+p.Version)
		s = strings.ReplaceAll(s, path, p.Name)
	}
	s = strings.ReplaceAll(s, q.index(), "https://pypi.org/simple")
	s = strings.ReplaceAll(s, t.run+string(filepath.Separator), "")
	s = strings.ReplaceAll(s, t.dir+string(filepath.Separator), "")
	s = strings.ReplaceAll(s, "http://", "https://")
	var lines []string
	for line := range strings.Lines(s) {
		line = strings.TrimSpace(line)
		line = strings.TrimPrefix(strings.TrimPrefix(line, "error: "), "cause: ")
		if line != "" && !strings.HasPrefix(line, "No solution found when") && !strings.HasPrefix(line, "Resolved ") {
			lines = append(lines, line)
		}
	}
	if len(lines) > maxLines {
		lines = append(lines[:maxLines-1], fmt.Sprintf("(and %d lines more)", len(lines)-maxLines+1))
	}
	return strings.Join(lines, "\n")
}

// explain makes a failure of uv an error of its kind.
func (r *Resolver) explain(ctx context.Context, q Question, p *proxy, t text, failed error) error {
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("run uv %s: %w", Version, err)
	}
	requests, trouble := p.seen()
	clean := t.clean(q)
	if strings.Contains(t.said, refusedText) || strings.Contains(t.said, "Git executable not found") {
		e := &NeedsBuildError{Name: "a package", requests: requests}
		if m := built().FindStringSubmatch(t.said); m != nil {
			e.Name, e.Version = normal(m[1]), m[2]
		}
		return e
	}
	if len(trouble) > 0 {
		return &NetworkError{Text: strings.Join(firstLines(trouble), "\n"), requests: requests}
	}
	if strings.Contains(t.said, "No solution found") {
		return &NoSolutionError{Requirements: q.named(clean), Text: clean + q.environment(clean), requests: requests}
	}
	return &failedError{text: clean, cause: failed, requests: requests}
}

func firstLines(all []string) []string {
	slices.Sort(all)
	all = slices.Compact(all)
	return all[:min(len(all), 3)]
}

// named are the requirements of the question that an explanation names; all that it names, where there is none of
// the question's, and else all of the question's.
func (q Question) named(explained string) []string {
	var own, all []string
	for _, m := range required().FindAllStringSubmatch(explained, -1) {
		r := strings.TrimRight(m[1], ",.")
		all = append(all, r)
		for _, line := range q.requirements() {
			n, _, _ := strings.Cut(line, " ")
			if strings.ReplaceAll(line, " ", "") == r || n == r {
				own = append(own, r)
			}
		}
	}
	if len(all) == 0 {
		for _, line := range q.requirements() {
			n, _, _ := strings.Cut(line, " @ ")
			all = append(all, n)
		}
	}
	if len(own) == 0 {
		own = all
	}
	slices.Sort(own)
	own = slices.Compact(own)
	return own[:min(len(own), 5)]
}

// environment says which of the packages that an explanation names are installed already.
func (q Question) environment(explained string) string {
	var out []string
	for _, p := range q.Installed {
		if mentions(explained, normal(p.Name)) {
			out = append(out, p.Name+" "+p.Version)
		}
	}
	if len(out) == 0 {
		return ""
	}
	return "\nthe environment has " + strings.Join(out, ", ")
}

// mentions tells whether a text has the name of a package.
func mentions(text, name string) bool {
	return regexp.MustCompile(`(?:^|[^A-Za-z0-9-])` + regexp.QuoteMeta(name) + `(?:$|[^A-Za-z0-9-])`).MatchString(text)
}

// warnings are those of uv that a user should know.
func warnings(said string) []string {
	var out []string
	for line := range strings.Lines(plain(said)) {
		if w, ok := strings.CutPrefix(strings.TrimSpace(line), "warning: "); ok {
			out = append(out, strings.ReplaceAll(w, "http://", "https://"))
		}
	}
	return out
}
