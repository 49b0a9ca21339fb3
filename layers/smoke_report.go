package layers

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/raybuild/raybuild/llb"
)

// SmokeError says that an image was built and did not pass its test. It matches by errors.As.
type SmokeError struct {
	// Platform of the image.
	Platform string
	// Command tells that the test was a command of the recipe. Then Failures is empty, and Step has all
	// that is known.
	Command bool
	// Failures of imports.
	Failures []SmokeFailure
	// Step that failed.
	Step *llb.StepError
}

// SmokeFailure is one reason why modules cannot be imported.
type SmokeFailure struct {
	// Modules that cannot be imported; none if the failure is not about a module.
	Modules []string `json:"modules"`
	// Packages that they belong to, "NAME VERSION".
	Packages []string `json:"packages"`
	// Error is the last line of the traceback, or how the process ended.
	Error string `json:"error"`
	// In is the package whose code raised the error; "" if it is one of Packages.
	In string `json:"in"`
	// Alone tells that the import also fails without other imports. If not, it fails only after After.
	Alone bool `json:"alone"`
	// After are the modules that must be imported before, so that the import fails.
	After []string `json:"after"`
}

const smokeMark = "raybuild-smoke: "

// parseSmokeReport reads the program's report, which is the last line that has its mark. What else
// an image writes is not trusted to be short or printable.
func parseSmokeReport(log []string) ([]SmokeFailure, error) {
	for _, line := range slices.Backward(log) {
		_, text, ok := strings.Cut(line, smokeMark)
		if !ok {
			continue
		}
		var r struct {
			Failures []SmokeFailure `json:"failures"`
		}
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			return nil, fmt.Errorf("read report of the test: %w", err)
		}
		if len(r.Failures) == 0 {
			return nil, errors.New("read report of the test: it failed, and names no cause")
		}
		return r.Failures, nil
	}
	return nil, errors.New("read report of the test: it ended before it wrote one")
}

// Error names what cannot be imported, why, and what to do next, in ten lines at most.
func (e *SmokeError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "test image of %s: ", e.Platform)
	if e.Command {
		fmt.Fprintf(&b, "the recipe's command (smoke) failed: exit code %d; the image has no name", e.Step.ExitCode)
		const most = 6
		for _, line := range e.Step.Log[max(0, len(e.Step.Log)-most):] {
			b.WriteString("\n  | " + plainLine(line, 160))
		}
		b.WriteString("\nmend the image or the command, or build without it: smoke: false in the recipe, or " +
			"--smoke=false")
		return b.String()
	}
	b.WriteString("it was built, and does not work; it got no name")
	const most = 3
	for i, f := range e.Failures {
		if i == most {
			fmt.Fprintf(&b, "\n  and %d more: see the log of the step", len(e.Failures)-most)
			break
		}
		b.WriteString("\n  " + f.text())
	}
	fmt.Fprintf(&b, "\npin another version of %s in the recipe; or do without the test: smoke: false in the recipe, "+
		"or --smoke=false", e.culprits())
	return b.String()
}

// text is a failure in at most two lines.
func (f SmokeFailure) text() string {
	what := strings.Join(f.Modules, ", ")
	if what != "" {
		what = "import " + plainLine(what, 100)
	}
	if len(f.Packages) > 0 {
		what = strings.TrimSpace(what + " (" + plainLine(strings.Join(f.Packages, ", "), 100) + ")")
	}
	switch {
	case len(f.After) > 0:
		what += ", which can be imported alone, but not after " + plainLine(strings.Join(f.After, ", "), 100)
	case f.Alone && len(f.Modules) > 0:
		what += ", alone as well"
	}
	if what != "" {
		what += ":\n    "
	}
	what += plainLine(f.Error, 300)
	if f.In != "" {
		what += " (raised in " + plainLine(f.In, 60) + ")"
	}
	return what
}

// culprits are the packages that may be at fault.
func (e *SmokeError) culprits() string {
	var names []string
	for _, f := range e.Failures {
		for _, title := range append(slices.Clone(f.Packages), f.In) {
			name, _, _ := strings.Cut(plainLine(title, 60), " ")
			if name != "" && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	if len(names) == 0 {
		return "what fails"
	}
	return strings.Join(names[:min(len(names), 5)], " or ")
}

// plainLine is text from an image as one line that does nothing to a terminal, of at most n characters.
func plainLine(s string, n int) string {
	var b strings.Builder
	for _, r := range s {
		if n--; n < 0 {
			b.WriteRune('…')
			break
		}
		if strconv.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteRune('?')
		}
	}
	return b.String()
}
