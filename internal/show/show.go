// Package show formats values for people.
package show

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/docker/go-units"
)

// Size formats a number of bytes as "70.1 MB", in units of 1000.
func Size(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	return units.CustomSize("%.1f %s", float64(n), 1000, []string{"B", "kB", "MB", "GB", "TB", "PB"})
}

// Short returns the beginning of a digest for people to compare: 12 characters, without the algorithm.
func Short(digest string) string {
	_, hex, ok := strings.Cut(digest, ":")
	if !ok {
		hex = digest
	}
	return hex[:min(len(hex), 12)]
}

// OneLine shortens text to one line of at most n characters.
func OneLine(text string, n int) string {
	runes := []rune(strings.Join(strings.Fields(text), " "))
	if len(runes) > n {
		return string(runes[:n-1]) + "…"
	}
	return string(runes)
}

// Printable escapes characters that a terminal would act on. Text from an image or a registry must
// go through it before it is shown.
func Printable(text string) string {
	var b strings.Builder
	for _, r := range text {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}
