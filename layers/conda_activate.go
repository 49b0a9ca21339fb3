package layers

import "slices"

// forActivates is the fact of a conda package that wants variables in an activated environment.
const forActivates = "activates"

// activates tells whether packages of an environment want variables when it is activated. A lock of an earlier version
// does not say so.
func activates(packages []Artifact) bool {
	return slices.ContainsFunc(packages, func(a Artifact) bool { return a.For[forActivates] != "" })
}

// createText is the script that makes the environment, and the arguments of its last part.
func (e env) createText(packages, replaced []Artifact) (text string, more []string) {
	text = envCreateText
	if activates(packages) {
		text += envActivateText
	}
	if len(replaced) > 0 {
		text += envReplacedText
	}
	return text, distNames(replaced)
}

// text is the script of the step, after the prelude.
func (s step) text(on Stack) string {
	if on.activates {
		return stepActivateText + stepText
	}
	return stepText
}
