package layers

import "strings"

var constraintLine = lazy(`(?m)The user requested \(constraint\) ([A-Za-z0-9._-]+)`)

// pipConflict names the constraints in pip's account of a conflict (pip 20.3 to
// 25); it is empty and not nil where pip found the conflict but names none.
func pipConflict(text string) []string {
	if !strings.Contains(text, "ResolutionImpossible") && !strings.Contains(text, "conflicting dependencies") &&
		!strings.Contains(text, "(constraint)") {
		return nil
	}
	out := []string{}
	for _, m := range constraintLine().FindAllStringSubmatch(text, -1) {
		out = append(out, NormalName(m[1]))
	}
	return out
}

var unmatchedLine = lazy(`(?m)No matching distribution found for ([A-Za-z0-9._-]+)`)

// pipUnmatched names the package of which pip found no version that fits; "" where that is not what
// went wrong. Of a package that is held this is a conflict, too: where another package requires an
// exact version of it with extras, as torch does of cuda-toolkit, pip leaves the held version out
// of those that it has, and names no constraint.
func pipUnmatched(text string) string {
	m := unmatchedLine().FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	return NormalName(m[1])
}

// pipReason is the part of pip's complaint that says what is wrong.
func pipReason(stderr string) string {
	var lines []string
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "WARNING: Retrying") && !strings.HasPrefix(line, "[notice]") {
			lines = append(lines, strings.TrimPrefix(line, "ERROR: "))
		}
	}
	return strings.Join(lines[max(0, len(lines)-12):], "\n  ")
}
