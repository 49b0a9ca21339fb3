// Package lategc puts a program's first garbage collection off, for programs that mostly end before it would be worth its time. It
// does so when it is initialized. Go initializes packages that need no others in the order of their import paths, so that it comes
// before most packages that need something, whose own initialization fills Go's first 4 MiB.
//
// GOGC and GOMEMLIMIT in the environment are left as they are, and the package does nothing then.
package lategc

import (
	"os"
	"runtime"
	"runtime/debug"
)

// early is the memory under which garbage is not collected, in bytes.
const early = 48 << 20

var _ = unlessChosen()

// unlessChosen puts it off unless the user knows better. It tells whether it did.
func unlessChosen() bool {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return false
	}
	putOff()
	return true
}

// putOff lets the next collection wait for so much memory; from then on all is as it was.
func putOff() {
	limit, percent := debug.SetMemoryLimit(early), debug.SetGCPercent(-1)
	runtime.AddCleanup(new([64]byte), func(struct{}) {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	}, struct{}{})
}
