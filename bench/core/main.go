// Command core measures what raybuild's core costs, in the offline package world: engine start,
// up-to-date check, cached and cold builds, memory, sizes. Where that compares it measures
// BuildKit's own client, buildctl, beside it, with an equal Dockerfile (bench/core/Dockerfile) on
// an engine of the same version with a state of its own. make bench-core calls it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// options say what is measured with what, and how often.
type options struct {
	raybuild, buildctl, dockerfile, dir, out string
	runs, cold                               int
}

func main() {
	var o options
	flag.StringVar(&o.raybuild, "raybuild", "bin/raybuild", "the raybuild to measure")
	flag.StringVar(&o.buildctl, "buildctl", "build/tools/buildctl", "the buildctl to compare it with")
	flag.StringVar(&o.dockerfile, "dockerfile", "bench/core", "directory of the Dockerfile that buildctl builds")
	flag.StringVar(&o.dir, "dir", "build/bench-core", "scratch directory, emptied first and removed at the end")
	flag.StringVar(&o.out, "out", "build/bench-core.json", "file for the results")
	flag.IntVar(&o.runs, "runs", 11, "how often what takes less than a few seconds is measured")
	flag.IntVar(&o.cold, "cold", 2, "how often cold builds are measured")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench-core:", err)
		os.Exit(1) //nolint:gocritic // the process ends, and the signal handler with it
	}
}
