package strictyaml

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
)

// Nearest is the known word that is at most two edits from a word, the first of several, or "". An edit adds, removes
// or replaces one character. A known word is not near to what shares no character with it.
func Nearest(word string, known []string) string {
	if len(word) > 64 {
		return ""
	}
	best, distance := "", 3
	for _, k := range known {
		if d := levenshtein.Distance(strings.ToLower(word), k, nil); d < distance && d < len(k) {
			best, distance = k, d
		}
	}
	return best
}

// DidYouMean names the known word that is nearest to one that is not known, or all that are known.
func DidYouMean(word string, known []string) string {
	if best := Nearest(word, known); best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	if len(known) == 0 {
		return "there is nothing to choose from"
	}
	return "known are " + strings.Join(slices.Sorted(slices.Values(known)), ", ")
}
