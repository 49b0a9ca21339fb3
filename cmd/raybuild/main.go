// Command raybuild builds Ray images without Dockerfiles, pushes them, and runs Ray clusters from them.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
)

// version is set by the linker (see the Makefile).
var version = "dev"

func main() {
	ctx := context.Background()
	if len(os.Args) < 2 || os.Args[1] != engineCommand { // the engine has its own way with signals
		interrupted, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		context.AfterFunc(interrupted, stop) // a second ^C ends the program at once
		ctx = interrupted
		collectLate()
	}
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// early is the memory under which garbage is not collected: most calls end before, and a collection is a good part of what they
// compute.
const early = 48 << 20

// collectLate lets the first collection wait for so much memory; from then on all is as Go does it.
func collectLate() {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return // the user knows better
	}
	limit, percent := debug.SetMemoryLimit(early), debug.SetGCPercent(-1)
	runtime.AddCleanup(new([64]byte), func(struct{}) {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	}, struct{}{})
}
