// Package show puts values into the form in which people read them.
package show

import (
	"fmt"
	"strconv"
	"strings"
)

// Size is a number of bytes, as "70.1 MB": units of 1000.
func Size(n int64) string {
	const k = 1000
	if n < k {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/k, 0
	for value >= k && unit < 4 {
		value, unit = value/k, unit+1
	}
	return fmt.Sprintf("%.1f %cB", value, "kMGTP"[unit])
}

// Short is the beginning of a digest, as people compare them: 12 characters, without the algorithm.
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

// Printable escapes what a terminal would act on. Text that comes from an image or a registry goes
// through it before it is shown.
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
