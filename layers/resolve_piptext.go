package layers

import (
	"slices"
	"strings"
)

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

// reasonLines is how many lines of pip's account are shown.
const reasonLines = 12

// pipReason is the part of pip's account that says what is wrong (pip 20.3 to 25).
func pipReason(stdout, stderr, log string) string {
	if reason := conflictReason(stdout, stderr); reason != "" {
		return reason
	}
	if reason := buildReason(stdout, stderr, log); reason != "" {
		return reason
	}
	var lines []string
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "WARNING: Retrying") && !strings.HasPrefix(line, "[notice]") {
			lines = append(lines, strings.TrimPrefix(line, "ERROR: "))
		}
	}
	return strings.Join(lines[max(0, len(lines)-reasonLines):], "\n  ") + whatToDo(afterBuild, stderr)
}

// conflictReason is pip's explanation of a conflict, which it gives beside its errors.
func conflictReason(stdout, stderr string) string {
	_, rest, ok := strings.Cut(stdout, "The conflict is caused by:\n")
	if !ok {
		_, rest, ok = strings.Cut(stderr, "The conflict is caused by:\n")
	}
	if !ok {
		return ""
	}
	block, _, _ := strings.Cut(rest, "\n\n")
	lines := []string{"these are in each other's way:"}
	for line := range strings.Lines(block) {
		if len(lines) == reasonLines {
			lines = append(lines, "...")
			break
		}
		line = strings.TrimSpace(line)
		if held, ok := strings.CutPrefix(line, "The user requested (constraint) "); ok {
			line = held + " (what is there already, or a constraint)"
		}
		lines = append(lines, strings.Replace(line, "The user requested ", "the recipe asks for ", 1))
	}
	return strings.Join(lines, "\n  ")
}

// buildOutput is what the last program of a log said that pip ran. With a log, pip shows it nowhere else.
func buildOutput(log string) []string {
	var lines []string
	for line := range strings.Lines(log) {
		line = strings.TrimRight(logTime().ReplaceAllString(line, ""), " \r\n")
		switch {
		case strings.HasPrefix(line, "Running command "):
			lines = []string{}
		case lines != nil && missingBuildNeed().MatchString(line): // what a pip within pip did not find
			lines = append(lines, strings.TrimPrefix(line, "ERROR: "))
		case strings.HasPrefix(line, "ERROR: "), strings.HasPrefix(line, "error: subprocess-exited"):
			if lines != nil {
				return lines
			}
		case lines != nil && line != "":
			lines = append(lines, line)
		}
	}
	return lines
}

var (
	logTime          = lazy(`^[0-9-]+T[0-9:,]+ +`)
	missingBuildNeed = lazy(`^ERROR: (Could not find a version|No matching distribution)`)

	collectingLine = lazy(`(?m)^\s*Collecting (.+)$`)
	requiredByFile = lazy(`\s*\(from -r \S+ \(line \d+\)\)|->?-r \S+ \(line \d+\)`)
)

// buildReason says of which package the build failed, who asked for it, and how its own program ended.
func buildReason(stdout, stderr, log string) string {
	if !strings.Contains(stderr, "subprocess-exited-with-error") {
		return ""
	}
	lines := buildOutput(log)
	if len(lines) > reasonLines {
		lines = slices.Concat(lines[:3], []string{"..."}, lines[len(lines)-reasonLines+4:])
	}
	which := "a source distribution"
	if all := collectingLine().FindAllStringSubmatch(stdout, -1); len(all) > 0 {
		which = strings.TrimSpace(requiredByFile().ReplaceAllString(all[len(all)-1][1], ""))
	}
	do := whatToDo(afterBuild, strings.Join(buildOutput(log), "\n"))
	if do == "" {
		do = "\nThe build has gcc, g++ and make if it compiles, and the recipe's apt packages: name there what it lacks"
	}
	return "the sources of " + which + " cannot be built:\n  " + strings.Join(lines, "\n  ") + do
}
