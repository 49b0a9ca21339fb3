// Package lategc puts a program's first garbage collection off, for programs that mostly end before it would be worth its time. It
// does so when it is initialized, because the packages that a large program is made of may fill Go's first 4 MiB before main runs. Go
// initializes again and again the first by import path of those packages whose imports are ready, and this one imports little: in
// raybuild it comes when 2 of the 5 MB are used that are used before main (GODEBUG=inittrace=1 tells).
//
// Where GOGC or GOMEMLIMIT are in the environment it does nothing.
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
