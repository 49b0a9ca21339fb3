package strictyaml

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
)

// Grammar says which strings a value may be.
type Grammar struct {
	// What names such a string, as in "a user name".
	What string
	// Check answers "" for a string of this form, else with what is wrong and what would be right.
	// Default nil: every string that a Reader lets through.
	Check func(s string) (message, fix string)
	// Normal writes a string that passed in the one form in which the program keeps it. Default nil: as it is written.
	Normal func(s string) string
	// Pattern is a regular expression that every string of this form matches as a whole, for the JSON Schema. It is of
	// the syntax that Go and ECMA 262 have in common. Default "": not said.
	Pattern string
	// Except are words that Check refuses, for the JSON Schema.
	Except []string
	// Words are all the strings of this form, where they can be listed.
	Words []string
	// Limit is the greatest length, in bytes. 0: not said.
	Limit int
	// Bools takes a plain true or false as the text that it is, too. Default false: it has to be quoted.
	Bools bool
}

// Pattern is a grammar of one regular expression, which a string must match as a whole, and a length limit in bytes.
// fix says what would be right.
func Pattern(what, expr string, limit int, fix string) Grammar {
	re := Regexp(`^(?:` + expr + `)$`)
	return Grammar{What: what, Pattern: expr, Limit: limit, Check: func(s string) (string, string) {
		if len(s) > limit {
			return fmt.Sprintf("%s of %d characters, more than %d", what, len(s), limit), "use a shorter one"
		}
		if !re().MatchString(s) {
			return fmt.Sprintf("%s is not %s", Quote(s), what), fix
		}
		return "", ""
	}}
}

// CommonSyntax writes a regular expression of a library, which may be anchored, for a Grammar's Pattern.
func CommonSyntax(expr string) string {
	expr = strings.TrimSuffix(strings.TrimPrefix(expr, "^"), "$")
	return strings.ReplaceAll(expr, "[[:xdigit:]]", "[0-9a-fA-F]")
}

// OneOf is a grammar of a few words.
func OneOf(what string, words ...string) Grammar {
	return Grammar{What: what, Words: words, Check: func(s string) (string, string) {
		if slices.Contains(words, s) {
			return "", ""
		}
		return Quote(s) + " is not known", DidYouMean(s, words)
	}}
}

// check applies the grammar.
func (g Grammar) check(s string) (message, fix string) {
	if g.Check == nil {
		return "", ""
	}
	return g.Check(s)
}

// Regexp is a regular expression that is compiled when it is used first. Most are in few commands, and together they
// would cost each command some 5 ms of its start.
func Regexp(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

// Quote quotes a user's text for a message: without control characters, and shortened.
func Quote(s string) string {
	const limit = 80
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return strconv.Quote(s)
}

// HiddenRune names a character that makes text look other than it is: bidirectional controls (Unicode TR 9), what has
// no width, and line separators that are not "\n". It returns "" for any other character.
func HiddenRune(r rune) string {
	const replacement = '\uFFFD'
	switch {
	case r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x200e, r == 0x200f, r == 0x061c:
		return "bidirectional control character"
	case r == 0x200b, r == 0x2060, r == 0xfeff, r >= 0xe0000 && r <= 0xe007f:
		return "invisible character"
	case r == 0x2028, r == 0x2029, r == 0x85:
		return "line separator"
	case unicode.IsControl(r) && r != '\n' && r != '\t' && r != '\r':
		return "control character"
	case r == replacement:
		return "replacement character"
	}
	return ""
}

// OneLine is the check of printable text in one line.
func OneLine(s string) (message, fix string) {
	for _, r := range s {
		if what := HiddenRune(r); what != "" {
			return fmt.Sprintf("%s U+%04X", what, r), "remove it"
		}
		if r == '\n' || r == '\r' || r == '\t' {
			return "more than one line, or a tab", "write it in one line"
		}
	}
	return "", ""
}

// Lines is the check of printable text with line breaks and tabs.
func Lines(s string) (message, fix string) {
	for _, r := range s {
		if what := HiddenRune(r); what != "" {
			return fmt.Sprintf("%s U+%04X", what, r), "remove it"
		}
		if r == '\r' {
			return "carriage return U+000D", `save the file with "\n" line ends`
		}
	}
	return "", ""
}
