package layers

import (
	"slices"
	"strings"

	"github.com/raybuild/raybuild/internal/pylock"
)

// normalMarker checks a PEP 508 marker and writes it with single spaces. It returns "" for what is none, for one that
// asks for an extra, which belongs to a package's own metadata, and for texts that mean something to a shell.
func normalMarker(s string) string {
	m, err := pylock.ParseMarker(s)
	if err != nil {
		return ""
	}
	variables, texts := m.Operands()
	for _, v := range variables {
		if v == "extra" || v == "extras" || v == "dependency_groups" {
			return ""
		}
	}
	odd := func(r rune) bool { return r < ' ' || r > '~' || strings.ContainsRune("'\"\\`$", r) }
	if slices.ContainsFunc(texts, func(t string) bool { return strings.ContainsFunc(t, odd) }) {
		return ""
	}
	return m.String()
}
